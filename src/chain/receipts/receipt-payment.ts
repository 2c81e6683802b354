/**
 * Whether a serving receipt's payment is on the chain: its transaction succeeded, used exactly this
 * authorization of exactly this token, and moved exactly this amount from the payer to the address
 * that the receipt names. Anything less counts as no payment. Nothing is believed of the server.
 */
import {
  type Address,
  isAddressEqual,
  type PublicClient,
  parseAbi,
  parseEventLogs,
  TransactionReceiptNotFoundError,
} from "viem";
import type { ServingReceipt } from "./serving-receipt.ts";

const ABI = parseAbi([
  "event Transfer(address indexed from, address indexed to, uint256 value)",
  "event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce)",
]);

/** The payment as the chain has it. */
export interface ReceiptPayment {
  block_number: bigint;
  /** Seconds since the Unix epoch, by the chain: what an epoch is taken from. */
  block_time_s: number;
}

export type PaymentLookup = { paid: ReceiptPayment } | { unpaid: string };

const same = (a: string, b: string) => isAddressEqual(a as Address, b as Address);

/**
 * Looks the payment up. Fails with viem's errors where the chain cannot be asked: then nothing is
 * known, which is not the same as unpaid.
 */
export async function receiptPayment(
  client: Pick<PublicClient, "getTransactionReceipt" | "getBlock">,
  receipt: ServingReceipt,
): Promise<PaymentLookup> {
  let found: Awaited<ReturnType<PublicClient["getTransactionReceipt"]>>;
  try {
    found = await client.getTransactionReceipt({ hash: receipt.transaction as Address });
  } catch (error) {
    if (error instanceof TransactionReceiptNotFoundError)
      return { unpaid: "the chain does not know its transaction" };
    throw error;
  }
  if (found.status !== "success") return { unpaid: "its transaction was reverted" };
  const ours = found.logs.filter((log) => same(log.address, receipt.asset));
  const events = parseEventLogs({ abi: ABI, logs: ours });
  const used = events.some(
    ({ eventName, args }) =>
      eventName === "AuthorizationUsed" &&
      same(args.authorizer, receipt.payer) &&
      args.nonce.toLowerCase() === receipt.nonce,
  );
  if (!used) return { unpaid: "its transaction used another authorization" };
  const moved = events.some(
    ({ eventName, args }) =>
      eventName === "Transfer" &&
      same(args.from, receipt.payer) &&
      same(args.to, receipt.pay_to) &&
      args.value === BigInt(receipt.amount),
  );
  if (!moved) return { unpaid: "its transaction moved another amount, or to another address" };
  const block = await client.getBlock({ blockHash: found.blockHash });
  return { paid: { block_number: found.blockNumber, block_time_s: Number(block.timestamp) } };
}
