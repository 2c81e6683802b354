/**
 * Whether a serving receipt's payment is on the chain: exactly this authorization of exactly this
 * token was used, and its transaction moved money from the payer to where the server's customers
 * pay. Anything less counts as no payment. Nothing is believed of the server.
 */
import {
  type Address,
  type Hex,
  isAddressEqual,
  type PublicClient,
  parseAbi,
  parseEventLogs,
} from "viem";
import type { ServingReceipt } from "./serving-receipt.ts";

const ABI = parseAbi([
  "event Transfer(address indexed from, address indexed to, uint256 value)",
  "event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce)",
]);

/** The payment as the chain has it. */
export interface ReceiptPayment {
  amount: bigint;
  block_number: bigint;
  /** Seconds since the Unix epoch, by the chain: what an epoch is taken from. */
  block_time_s: number;
  transaction: Hex;
}

export type PaymentLookup = { paid: ReceiptPayment } | { unpaid: string };

export interface LookupPlace {
  /** Where the server's customers pay: its till of `Revenue`, or its own address. */
  pay_to: Address;
  /** No payment is older than the ledger's first block. */
  from_block: bigint;
  to_block?: bigint;
}

const same = (a: string, b: string) => isAddressEqual(a as Address, b as Address);

/**
 * Looks the payment up. Fails with viem's errors where the chain cannot be asked: then nothing is
 * known, which is not the same as unpaid.
 */
export async function receiptPayment(
  client: Pick<PublicClient, "getContractEvents" | "getTransactionReceipt" | "getBlock">,
  receipt: ServingReceipt,
  { pay_to, from_block, to_block }: LookupPlace,
): Promise<PaymentLookup> {
  const [used] = await client.getContractEvents({
    address: receipt.asset as Address,
    abi: ABI,
    eventName: "AuthorizationUsed",
    args: { authorizer: receipt.payer as Address, nonce: receipt.nonce as Hex },
    fromBlock: from_block,
    ...(to_block === undefined ? {} : { toBlock: to_block }),
  });
  if (used === undefined) return { unpaid: "its authorization was not used" };
  const { logs, blockHash } = await client.getTransactionReceipt({ hash: used.transactionHash });
  const ours = logs.filter((log) => same(log.address, receipt.asset));
  // The transfer of an authorization is the next event of the token; others may be in the
  // transaction too, of somebody who settles many at once.
  const after = ours.filter(({ logIndex }) => logIndex > used.logIndex);
  const [moved] = parseEventLogs({ abi: ABI, eventName: "Transfer", logs: after.slice(0, 1) });
  if (moved === undefined || !same(moved.args.from, receipt.payer) || !same(moved.args.to, pay_to))
    return { unpaid: "its authorization paid somebody else" };
  const block = await client.getBlock({ blockHash });
  return {
    paid: {
      amount: moved.args.value,
      block_number: used.blockNumber,
      block_time_s: Number(block.timestamp),
      transaction: used.transactionHash,
    },
  };
}
