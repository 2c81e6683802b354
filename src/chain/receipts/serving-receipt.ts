/**
 * Serving receipts (paper 13, the serving axis): the customer of a paid answer signs which server
 * answered it, with how many tokens, and by which payment it was paid. One payment, one receipt: its
 * identity is (chain, asset, payer, nonce). A receipt proves that the payer said so, and nothing
 * else; whether the payment is on the chain is looked up in receipt-payment.ts. Payers are keys, not
 * contracts, so that anyone verifies a receipt without a chain.
 */
import { type Address, type Hex, hashTypedData, isAddressEqual, recoverAddress } from "viem";
import { z } from "zod";
import { MagnetError } from "../../core/errors.ts";

/** Lower case: two spellings of one address would be two receipts. */
const address = z.string().regex(/^0x[0-9a-f]{40}$/, "an address in lower case");
const bytes32 = z.string().regex(/^0x[0-9a-f]{64}$/, "32 bytes in lower-case hex");
/** More tokens than any answer has are a mistake. */
const TOKENS_MAX = 2 ** 40;

export const receiptSchema = z.strictObject({
  schema: z.literal("magnet.serving_receipt/1"),
  chain_id: z.int().positive(),
  asset: address,
  /** The node's own address: whoever answered. */
  server: address,
  payer: address,
  /** Of the EIP-3009 authorization. */
  nonce: bytes32,
  /** Of prompt and answer together. */
  tokens: z.int().min(1).max(TOKENS_MAX),
  /** r | s | v with v = 27 or 28: 0 and 1 would be a second way to write the same. */
  signature: z.string().regex(/^0x[0-9a-f]{128}(1b|1c)$/, "65 bytes in lower-case hex"),
});
export type ServingReceipt = z.infer<typeof receiptSchema>;
export type UnsignedReceipt = Omit<ServingReceipt, "schema" | "signature">;

const TYPES = {
  ServingReceipt: [
    { name: "server", type: "address" },
    { name: "payer", type: "address" },
    { name: "nonce", type: "bytes32" },
    { name: "tokens", type: "uint64" },
  ],
} as const;

const typedData = ({ chain_id, asset, server, payer, nonce, tokens }: UnsignedReceipt) => ({
  domain: {
    ...{ name: "Magnet receipts", version: "1" },
    ...{ chainId: chain_id, verifyingContract: asset as Address },
  },
  types: TYPES,
  primaryType: "ServingReceipt" as const,
  message: {
    server: server as Address,
    payer: payer as Address,
    nonce: nonce as Hex,
    tokens: BigInt(tokens),
  },
});

/** What signs typed data with the payer's key; viem's accounts do. */
export interface TypedDataSigner {
  readonly address: Address;
  signTypedData(data: ReturnType<typeof typedData>): Promise<Hex>;
}

/** Signs with the payer's key. */
export async function signReceipt(
  receipt: UnsignedReceipt,
  signer: TypedDataSigner,
): Promise<ServingReceipt> {
  const signature = (await signer.signTypedData(typedData(receipt))).toLowerCase();
  return { schema: "magnet.serving_receipt/1", ...receipt, signature };
}

/** s above half the order: the same signature written a second way, which MagToken refuses too. */
const HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0n;

/** The receipt, shape and signature checked. Throws BAD_RECEIPT, saying what is wrong. */
export async function checkedReceipt(value: unknown): Promise<ServingReceipt> {
  const parsed = receiptSchema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw bad(`${issue?.path.join(".") || "the receipt"}: ${issue?.message}`);
  }
  const receipt = parsed.data;
  const s = BigInt(`0x${receipt.signature.slice(66, 130)}`);
  if (s > HALF_ORDER) throw bad("its signature has a high s");
  const signer = await recoverAddress({
    hash: hashTypedData(typedData(receipt)),
    signature: receipt.signature as Hex,
  }).catch(() => undefined);
  if (signer === undefined || !isAddressEqual(signer, receipt.payer as Address))
    throw bad("the payer did not sign it");
  return receipt;
}

const bad = (what: string) =>
  new MagnetError("BAD_RECEIPT", `this is no serving receipt: ${what}`, {
    hint: "a receipt is signed by the payer of the answer, in the form magnet.serving_receipt/1",
    exit: "verification",
  });

/** What a receipt is counted by: once for each payment. */
export const receiptKey = (r: Pick<ServingReceipt, "chain_id" | "asset" | "payer" | "nonce">) =>
  `${r.chain_id}/${r.asset}/${r.payer}/${r.nonce}`;

/** A receipt as a contribution report lists it; server, chain and token are the report's own. */
export interface ServingFact {
  payer: `0x${string}`;
  payment_nonce: `0x${string}`;
  tokens: number;
  /** 130 hex digits, as every signature of the protocol. */
  signature: string;
}

export const servingFact = ({ payer, nonce, tokens, signature }: ServingReceipt): ServingFact => ({
  ...{ payer: payer as Address, payment_nonce: nonce as Hex, tokens },
  signature: signature.slice(2),
});

/** The receipt that a fact in the report of `server` stands for; to be checked by `checkedReceipt`. */
export const receiptOfFact = (
  place: { chain_id: number; asset: string; server: string },
  { payer, payment_nonce, tokens, signature }: ServingFact,
): ServingReceipt => ({
  schema: "magnet.serving_receipt/1",
  chain_id: place.chain_id,
  asset: place.asset.toLowerCase(),
  server: place.server.toLowerCase(),
  ...{ payer, nonce: payment_nonce, tokens, signature: `0x${signature}` },
});
