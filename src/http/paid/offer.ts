/**
 * What a server sells and for what: one token on one network, paid to one address, by x402 version
 * 2's scheme "exact" over EIP-3009, before the work begins. The offer goes out with every 402.
 */
import type { PaymentRequired, PaymentRequirements } from "@x402/core/types";
import type { Address } from "viem";
import { PAYMENT_TIMEOUT_S } from "./limits.ts";

/** The token and where its payments go. */
export interface Till {
  chain_id: number;
  asset: Address;
  /** The token's EIP-712 domain. */
  name: string;
  version: string;
  /** The server's till of `Revenue`, or its own address. */
  pay_to: Address;
  /** The server's own address. */
  server: Address;
}

/** CAIP-2. */
export const networkOf = ({ chain_id }: Pick<Till, "chain_id">): `eip155:${number}` =>
  `eip155:${chain_id}`;

/** What one request must be paid with. */
export const requirements = (till: Till, amount: bigint): PaymentRequirements => ({
  scheme: "exact",
  network: networkOf(till),
  amount: amount.toString(),
  asset: till.asset,
  payTo: till.pay_to,
  maxTimeoutSeconds: PAYMENT_TIMEOUT_S,
  extra: {
    name: till.name,
    version: till.version,
    assetTransferMethod: "eip3009",
    // Clients that know it pay before the work begins; for others nothing differs.
    paymentFlow: "upfront",
    server: till.server,
  },
});

/** The document of a 402. `error`: what was wrong with the payment that came. */
export const paymentRequired = (
  url: string,
  accepts: PaymentRequirements,
  error: string,
): PaymentRequired => ({
  x402Version: 2,
  error,
  resource: { url, description: "an answer of a model", mimeType: "application/json" },
  accepts: [accepts],
});

/** Headers hold one-byte characters; JSON in base64 has no others. */
export const headerValue = (document: object): string =>
  Buffer.from(JSON.stringify(document), "utf8").toString("base64");
