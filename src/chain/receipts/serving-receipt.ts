/**
 * Serving receipts (paper 13, the serving axis): the customer of a paid answer signs which server
 * answered, with how many tokens, and by which payment it was paid. One payment, one receipt: its
 * identity is (chain, asset, payer, nonce). A receipt proves that the payer said so, and nothing
 * else; whether the payment is on the chain is checked in receipt-payment.ts. Payers are keys, not
 * contracts: a receipt is verified by anyone without a chain.
 */
import { type Address, type Hex, hashTypedData, isAddressEqual, recoverAddress } from "viem";
import { z } from "zod";
import { MagnetError } from "../../core/errors.ts";

/** Lower case: two spellings of one address would be two receipts. */
const address = z.string().regex(/^0x[0-9a-f]{40}$/, "an address in lower case");
const bytes32 = z.string().regex(/^0x[0-9a-f]{64}$/, "32 bytes in lower-case hex");
/** Base units of the token; uint256 has at most 78 digits. */
const amount = z.string().regex(/^(0|[1-9][0-9]{0,77})$/, "a decimal number");
/** More tokens than any context holds are a mistake. */
const tokens = z.int().min(0).max(1e9);

export const receiptSchema = z.strictObject({
  schema: z.literal("magnet.serving_receipt/1"),
  chain_id: z.int().positive(),
  asset: address,
  /** The node's own address: whoever answered. */
  server: address,
  /** Where the payment went: the server's till, or the server itself. */
  pay_to: address,
  payer: address,
  /** Of the EIP-3009 authorization. */
  nonce: bytes32,
  amount,
  /** Of the transaction that carried the payment. */
  transaction: bytes32,
  model: z.string().min(1).max(256),
  prompt_tokens: tokens,
  completion_tokens: tokens,
  /** Seconds since the Unix epoch, by the customer's clock. */
  served_s: z.int().min(0).max(4_102_444_800),
  /** r | s | v with v = 27 or 28: 0 and 1 would be a second way to write the same. */
  signature: z.string().regex(/^0x[0-9a-f]{128}(1b|1c)$/, "65 bytes in lower-case hex"),
});
export type ServingReceipt = z.infer<typeof receiptSchema>;
export type UnsignedReceipt = Omit<ServingReceipt, "schema" | "signature">;

const TYPES = {
  ServingReceipt: [
    { name: "server", type: "address" },
    { name: "payTo", type: "address" },
    { name: "payer", type: "address" },
    { name: "nonce", type: "bytes32" },
    { name: "amount", type: "uint256" },
    { name: "transaction", type: "bytes32" },
    { name: "model", type: "string" },
    { name: "promptTokens", type: "uint64" },
    { name: "completionTokens", type: "uint64" },
    { name: "servedAt", type: "uint64" },
  ],
} as const;

const typedData = (receipt: UnsignedReceipt) => ({
  domain: {
    name: "Magnet receipts",
    version: "1",
    chainId: receipt.chain_id,
    verifyingContract: receipt.asset as Address,
  },
  types: TYPES,
  primaryType: "ServingReceipt" as const,
  message: {
    server: receipt.server as Address,
    payTo: receipt.pay_to as Address,
    payer: receipt.payer as Address,
    nonce: receipt.nonce as Hex,
    amount: BigInt(receipt.amount),
    transaction: receipt.transaction as Hex,
    model: receipt.model,
    promptTokens: BigInt(receipt.prompt_tokens),
    completionTokens: BigInt(receipt.completion_tokens),
    servedAt: BigInt(receipt.served_s),
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
