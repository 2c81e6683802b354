/** Block headers as Cancun encodes and hashes them. */
import { RLP } from "@ethereumjs/rlp";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { bytesToQuantity, quantityBytes } from "./hex.ts";
import { EMPTY_ROOT } from "./trie.ts";

export interface Header {
  parent_hash: Uint8Array;
  state_root: Uint8Array;
  transactions_root: Uint8Array;
  receipts_root: Uint8Array;
  logs_bloom: Uint8Array;
  number: bigint;
  gas_limit: bigint;
  gas_used: bigint;
  /** Seconds since the Unix epoch. */
  timestamp: bigint;
  /**
   * What PREVRANDAO gives. One authority makes the blocks, so nothing here can be random to it:
   * the value is the keccak of the parent's hash, and contracts must not draw from it.
   */
  prevrandao: Uint8Array;
  base_fee: bigint;
}

/** Keccak of the RLP of an empty list: a block after the merge has no uncles. */
export const NO_UNCLES: Uint8Array = keccak_256(RLP.encode([]));
export const ZERO_ADDRESS: Uint8Array = new Uint8Array(20);
export const ZERO_WORD: Uint8Array = new Uint8Array(32);
const NONCE = new Uint8Array(8);
const NOTHING = new Uint8Array(0);

/** RLP of the header: what a block's hash is taken of. */
export function encodeHeader(header: Header): Uint8Array {
  return RLP.encode([
    ...[header.parent_hash, NO_UNCLES, ZERO_ADDRESS],
    ...[header.state_root, header.transactions_root, header.receipts_root, header.logs_bloom],
    NOTHING, // difficulty
    ...[header.number, header.gas_limit, header.gas_used, header.timestamp].map(quantityBytes),
    NOTHING, // extra data
    ...[header.prevrandao, NONCE, quantityBytes(header.base_fee)],
    EMPTY_ROOT, // withdrawals
    ...[NOTHING, NOTHING], // blob gas used, excess blob gas
    ZERO_WORD, // the beacon block's root: there is none
  ]);
}

/** The header that `encodeHeader` wrote. */
export function decodeHeader(bytes: Uint8Array): Header {
  const items = RLP.decode(bytes) as Uint8Array[];
  const number = (i: number) => bytesToQuantity(items[i]!);
  return {
    parent_hash: items[0]!,
    state_root: items[3]!,
    transactions_root: items[4]!,
    receipts_root: items[5]!,
    logs_bloom: items[6]!,
    number: number(8),
    gas_limit: number(9),
    gas_used: number(10),
    timestamp: number(11),
    prevrandao: items[13]!,
    base_fee: number(15),
  };
}

export const headerHash = (header: Header): Uint8Array => keccak_256(encodeHeader(header));
