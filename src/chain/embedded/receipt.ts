/**
 * What became of a transaction: its encoding in the block's receipt trie, and the form it is kept in
 * (with the sender, whose recovery from the signature is too slow to repeat at every reading).
 */
import { RLP } from "@ethereumjs/rlp";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { bytesToQuantity, quantityBytes } from "./hex.ts";

export interface EventLog {
  address: Uint8Array;
  topics: Uint8Array[];
  data: Uint8Array;
}

export interface Receipt {
  sender: Uint8Array;
  succeeded: boolean;
  /** Of this transaction alone. */
  gas_used: bigint;
  /** Of the block, up to and including this transaction. */
  cumulative_gas: bigint;
  logs: EventLog[];
}

export const BLOOM_BYTES = 256;

/** Sets the three bits of `value` (an address or a topic), as the yellow paper counts them. */
function addToBloom(bloom: Uint8Array, value: Uint8Array): void {
  const hash = keccak_256(value);
  for (let i = 0; i < 6; i += 2) {
    const bit = ((hash[i]! << 8) | hash[i + 1]!) & 2047;
    bloom[BLOOM_BYTES - 1 - (bit >> 3)]! |= 1 << (bit & 7);
  }
}

export function bloomOf(logs: readonly EventLog[]): Uint8Array {
  const bloom = new Uint8Array(BLOOM_BYTES);
  for (const { address, topics } of logs) {
    addToBloom(bloom, address);
    for (const topic of topics) addToBloom(bloom, topic);
  }
  return bloom;
}

export function mergeBlooms(blooms: readonly Uint8Array[]): Uint8Array {
  const merged = new Uint8Array(BLOOM_BYTES);
  for (const bloom of blooms) for (let i = 0; i < BLOOM_BYTES; i++) merged[i]! |= bloom[i]!;
  return merged;
}

type LogItems = [Uint8Array, Uint8Array[], Uint8Array];
const logItems = ({ address, topics, data }: EventLog): LogItems => [address, topics, data];

/** The consensus encoding: what the receipts root is taken over. */
export function encodeReceipt(receipt: Receipt, bloom: Uint8Array, type: number): Uint8Array {
  const { succeeded, cumulative_gas, logs } = receipt;
  const body = RLP.encode([
    ...[succeeded ? Uint8Array.of(1) : new Uint8Array(0), quantityBytes(cumulative_gas)],
    ...[bloom, logs.map(logItems)],
  ]);
  return type === 0 ? body : Buffer.concat([Uint8Array.of(type), body]);
}

/** All receipts of a block in one blob. */
export function packReceipts(receipts: readonly Receipt[]): Uint8Array {
  return RLP.encode(
    receipts.map(({ sender, succeeded, gas_used, logs }) => [
      ...[sender, succeeded ? Uint8Array.of(1) : new Uint8Array(0)],
      ...[quantityBytes(gas_used), logs.map(logItems)],
    ]),
  );
}

export function unpackReceipts(bytes: Uint8Array): Receipt[] {
  const rows = RLP.decode(bytes) as unknown as [Uint8Array, Uint8Array, Uint8Array, LogItems[]][];
  let cumulative_gas = 0n;
  return rows.map(([sender, status, gas, logs]) => {
    const gas_used = bytesToQuantity(gas);
    cumulative_gas += gas_used;
    return {
      ...{ sender, succeeded: status.length > 0, gas_used, cumulative_gas },
      logs: logs.map(([address, topics, data]) => ({ address, topics, data })),
    };
  });
}
