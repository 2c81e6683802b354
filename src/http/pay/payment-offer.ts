/**
 * What a server asks for in its 402, read as from a stranger: only the scheme exact over EIP-3009,
 * only the token and network that the customer has chosen, and no authorization that stays good for
 * long. Everything else is refused before anything is signed.
 */
import type { PaymentRequirements } from "@x402/core/types";
import { z } from "zod";
import { MagnetError } from "../../core/errors.ts";

/** The one token that may be paid with. */
export interface AllowedToken {
  chain_id: number;
  /** Lower case. */
  asset: string;
}

/** Base64 of an offer; larger ones are no offers. */
const OFFER_CHARS_MAX = 64 << 10;
/** Longest validity that is signed: an authorization that was refused can be used until then. */
const TIMEOUT_S_MAX = 600;

const address = z.string().regex(/^0x[0-9a-fA-F]{40}$/);
const offerSchema = z.object({
  x402Version: z.literal(2),
  error: z.string().max(4096).nullish(),
  accepts: z
    .array(
      z.object({
        scheme: z.string(),
        network: z.string().max(64),
        amount: z.string().max(128),
        asset: z.string().max(128),
        payTo: z.string().max(128),
        maxTimeoutSeconds: z.number(),
        extra: z.record(z.string(), z.unknown()).nullish(),
      }),
    )
    .min(1)
    .max(32),
});
const takenSchema = z.object({
  scheme: z.literal("exact"),
  amount: z.string().regex(/^[1-9][0-9]{0,77}$/),
  asset: address,
  payTo: address,
  maxTimeoutSeconds: z.int().min(1).max(TIMEOUT_S_MAX),
  extra: z.object({
    name: z.literal("Magnet"),
    version: z.literal("1"),
    assetTransferMethod: z.literal("eip3009").optional(),
    /** Of our servers: their address on the chain, for credits and receipts. */
    server: address.optional(),
  }),
});

export interface PaymentOffer {
  /** As the server wrote it: it goes back with the payment. */
  requirements: PaymentRequirements;
  amount: bigint;
  pay_to: string;
  /** The server's address on the chain, lower case; of another kind of server where it is paid. */
  server: string;
}

const bad = (message: string, hint: string, cause?: unknown) =>
  new MagnetError("BAD_OFFER", message, { hint, cause });

/** The offer in a payment-required header that may be taken. Throws BAD_OFFER. */
export function readOffer(header: string, allowed: AllowedToken): PaymentOffer {
  let parsed: z.infer<typeof offerSchema>;
  try {
    if (header.length > OFFER_CHARS_MAX) throw new Error("too long");
    parsed = offerSchema.parse(JSON.parse(Buffer.from(header, "base64").toString("utf8")));
  } catch (cause) {
    throw bad("the server asks for a payment in no form of x402", "is it an x402 server?", cause);
  }
  const network = `eip155:${allowed.chain_id}`;
  const ours = parsed.accepts.filter(
    (one) => one.network === network && one.asset.toLowerCase() === allowed.asset,
  );
  for (const requirements of ours) {
    const { data } = takenSchema.safeParse(requirements);
    if (data === undefined) continue;
    const { amount, payTo, extra } = data;
    return {
      requirements: requirements as PaymentRequirements,
      amount: BigInt(amount),
      pay_to: payTo.toLowerCase(),
      server: (extra.server ?? payTo).toLowerCase(),
    };
  }
  const asked = parsed.accepts.map(({ network: on, asset }) => `${asset} on ${on}`).join(", ");
  if (ours.length === 0)
    throw bad(
      `the server takes ${asked}; only ${allowed.asset} on ${network} may be spent`,
      "choose another token with --pay-token CHAIN_ID:ADDRESS if you trust this server's",
    );
  throw bad(
    "the server asks for a payment that is not signed here",
    `only the scheme exact over EIP-3009, of "Magnet" version "1", for up to ${TIMEOUT_S_MAX} s`,
  );
}
