/**
 * Credits: a payment that was taken and not answered is owed. The server says so in a signed
 * statement, and the payer redeems it with a signature of its own over one request. The statement
 * is no bearer token: an authorization can be read on the chain by anyone, so whoever merely shows
 * a payment again gets nothing.
 */
import { type Address, type Hex, isAddressEqual, recoverTypedDataAddress } from "viem";
import { z } from "zod";
import { ApiError, badRequest } from "../serve/api-error.ts";
import { CREDIT_HEADER_CHARS_MAX, REDEMPTION_VALID_S_MAX } from "./limits.ts";
import type { Till } from "./offer.ts";
import { decodeHeader } from "./payment-header.ts";
import type { PaymentRecord } from "./payment-store.ts";

/** Response header with the server's signed statement, base64 of JSON. */
export const CREDIT_HEADER = "magnet-credit";
/** Request header with the payer's redemption, base64 of JSON. */
export const REDEEM_HEADER = "magnet-redeem";

const CREDIT_TYPES = {
  Credit: [
    { name: "server", type: "address" },
    { name: "payer", type: "address" },
    { name: "nonce", type: "bytes32" },
    { name: "amount", type: "uint256" },
  ],
} as const;
const REDEMPTION_TYPES = {
  Redemption: [
    { name: "server", type: "address" },
    { name: "payer", type: "address" },
    { name: "nonce", type: "bytes32" },
    { name: "requestHash", type: "bytes32" },
    { name: "validBefore", type: "uint256" },
  ],
} as const;

export interface Credit {
  schema: "magnet.credit/1";
  chain_id: number;
  asset: string;
  server: string;
  payer: string;
  nonce: string;
  /** What a request may cost that it pays for; nothing is given back of the rest. */
  amount: string;
  signature: string;
}

/** Where statements and redemptions are valid: one token on one chain. */
export type CreditPlace = Pick<Till, "chain_id" | "asset" | "server">;

const domain = ({ chain_id, asset }: CreditPlace) => ({
  ...{ name: "Magnet credits", version: "1" },
  ...{ chainId: chain_id, verifyingContract: asset },
});

/** viem's accounts. */
export interface Account {
  readonly address: Address;
  signTypedData(data: never): Promise<Hex>;
}

/** The server's statement. */
export async function signCredit(
  place: CreditPlace,
  { payer, nonce, amount }: Pick<PaymentRecord, "payer" | "nonce" | "amount">,
  account: Account,
): Promise<Credit> {
  const message = { server: place.server, payer, nonce, amount: BigInt(amount) };
  const data = { domain: domain(place), types: CREDIT_TYPES, primaryType: "Credit", message };
  return {
    schema: "magnet.credit/1",
    chain_id: place.chain_id,
    asset: place.asset.toLowerCase(),
    server: place.server.toLowerCase(),
    ...{ payer, nonce, amount },
    signature: await account.signTypedData(data as never),
  };
}

const address = z.string().regex(/^0x[0-9a-f]{40}$/);
const bytes32 = z.string().regex(/^0x[0-9a-f]{64}$/);
const signature = z.string().regex(/^0x[0-9a-fA-F]{130}$/);
export const creditSchema = z.strictObject({
  schema: z.literal("magnet.credit/1"),
  chain_id: z.int().positive(),
  ...{ asset: address, server: address, payer: address, nonce: bytes32, signature },
  amount: z.string().regex(/^[1-9][0-9]{0,77}$/),
});

/** Whether `credit` is a statement of this server. Never throws. */
export async function isSignedCredit(place: CreditPlace, value: unknown): Promise<boolean> {
  const parsed = creditSchema.safeParse(value);
  if (!parsed.success) return false;
  const { payer, nonce, amount, signature: signed, chain_id, asset } = parsed.data;
  if (chain_id !== place.chain_id || !isAddressEqual(asset as Address, place.asset)) return false;
  const signer = await recoverTypedDataAddress({
    ...{ domain: domain(place), types: CREDIT_TYPES, primaryType: "Credit" as const },
    message: {
      server: place.server,
      payer: payer as Address,
      nonce: nonce as Hex,
      amount: BigInt(amount),
    },
    signature: signed as Hex,
  }).catch(() => undefined);
  return signer !== undefined && isAddressEqual(signer, place.server);
}

const redemptionSchema = z.strictObject({
  payer: address,
  nonce: bytes32,
  valid_before: z.int().positive(),
  signature,
});
export type Redemption = z.infer<typeof redemptionSchema>;

const redemptionData = (place: CreditPlace, r: Omit<Redemption, "signature">, hash: string) => ({
  ...{ domain: domain(place), types: REDEMPTION_TYPES, primaryType: "Redemption" as const },
  message: {
    server: place.server,
    payer: r.payer as Address,
    nonce: r.nonce as Hex,
    requestHash: hash as Hex,
    validBefore: BigInt(r.valid_before),
  },
});

/** The payer's redemption for one request. request_hash: SHA-256 of its body, 0x and hex. */
export async function signRedemption(
  place: CreditPlace,
  redemption: Omit<Redemption, "signature">,
  request_hash: string,
  account: Account,
): Promise<Redemption> {
  const data = redemptionData(place, redemption, request_hash);
  return { ...redemption, signature: await account.signTypedData(data as never) };
}

const refused = (message: string) => new ApiError(402, "bad_redemption", message);

/** The redemption in a header, signed by its payer for this request and moment. Throws 400, 402. */
export async function checkedRedemption(
  place: CreditPlace,
  header: string,
  request_hash: string,
  now_s: number,
): Promise<Redemption> {
  const parsed = redemptionSchema.safeParse(
    decodeHeader(header, CREDIT_HEADER_CHARS_MAX, "bad_redemption"),
  );
  if (!parsed.success) throw badRequest("bad_redemption", "the redemption has not its form");
  const { valid_before, payer } = parsed.data;
  if (valid_before < now_s) throw refused("the redemption is no longer valid");
  if (valid_before > now_s + REDEMPTION_VALID_S_MAX)
    throw refused(`a redemption is valid for ${REDEMPTION_VALID_S_MAX} s at most`);
  const data = redemptionData(place, parsed.data, request_hash);
  const signed = parsed.data.signature as Hex;
  const signer = await recoverTypedDataAddress({ ...data, signature: signed }).catch(
    () => undefined,
  );
  if (signer === undefined || !isAddressEqual(signer, payer as Address))
    throw refused("the payer did not sign this redemption for this request");
  return parsed.data;
}
