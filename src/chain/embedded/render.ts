/** Blocks, transactions, receipts and logs as JSON-RPC writes them. */
import type { Common } from "@ethereumjs/common";
import { RLP } from "@ethereumjs/rlp";
import { createTxFromRLP, type TypedTransaction } from "@ethereumjs/tx";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { blockSize } from "./execute.ts";
import { type Header, NO_UNCLES, ZERO_ADDRESS, ZERO_WORD } from "./header.ts";
import { type Hex, quantity, quantityBytes, toHex } from "./hex.ts";
import { bloomOf, type EventLog, type Receipt } from "./receipt.ts";
import type { StoredBlock } from "./store.ts";
import { effectivePrice } from "./transaction.ts";
import { EMPTY_ROOT } from "./trie.ts";

export type Json = Record<string, unknown>;

/** Where a transaction lies; undefined while it waits. */
interface Place {
  hash: Uint8Array;
  header: Header;
  index: number;
}

/** The block's header; `hash` is null for a block that is still to be made. */
export function headerJson(header: Header, hash: Uint8Array | undefined): Json {
  return {
    number: quantity(header.number),
    hash: hash === undefined ? null : toHex(hash),
    parentHash: toHex(header.parent_hash),
    nonce: hash === undefined ? null : "0x0000000000000000",
    sha3Uncles: toHex(NO_UNCLES),
    logsBloom: toHex(header.logs_bloom),
    transactionsRoot: toHex(header.transactions_root),
    stateRoot: toHex(header.state_root),
    receiptsRoot: toHex(header.receipts_root),
    miner: toHex(ZERO_ADDRESS),
    difficulty: "0x0",
    totalDifficulty: "0x0",
    extraData: "0x",
    gasLimit: quantity(header.gas_limit),
    gasUsed: quantity(header.gas_used),
    timestamp: quantity(header.timestamp),
    mixHash: toHex(header.prevrandao),
    baseFeePerGas: quantity(header.base_fee),
    withdrawalsRoot: toHex(EMPTY_ROOT),
    blobGasUsed: "0x0",
    excessBlobGas: "0x0",
    parentBeaconBlockRoot: toHex(ZERO_WORD),
  };
}

export function blockJson(block: StoredBlock, common: Common, full: boolean): Json {
  const { header, hash, raws, receipts } = block;
  const transactions = raws.map((raw, index) =>
    full
      ? transactionJson(raw, toHex(receipts[index]!.sender), common, { hash, header, index })
      : toHex(keccak_256(raw)),
  );
  return {
    ...headerJson(header, hash),
    size: quantity(blockSize(header, raws)),
    ...{ transactions, uncles: [], withdrawals: [] },
  };
}

function feesJson(tx: TypedTransaction): Json {
  if ("maxFeePerGas" in tx)
    return {
      maxFeePerGas: quantity(tx.maxFeePerGas),
      maxPriorityFeePerGas: quantity(tx.maxPriorityFeePerGas),
    };
  return {};
}

const feeLimits = (tx: TypedTransaction) =>
  "maxFeePerGas" in tx
    ? { max_fee: tx.maxFeePerGas, max_tip: tx.maxPriorityFeePerGas }
    : {
        max_fee: (tx as { gasPrice: bigint }).gasPrice,
        max_tip: (tx as { gasPrice: bigint }).gasPrice,
      };

function accessListJson(tx: TypedTransaction): Json {
  if (!("accessList" in tx)) return {};
  const list = tx.accessList as [Uint8Array, Uint8Array[]][];
  return {
    accessList: list.map(([address, slots]) => ({
      address: toHex(address),
      storageKeys: slots.map(toHex),
    })),
  };
}

/** The transaction; `place` is undefined while it waits for a block. */
export function transactionJson(
  raw: Uint8Array,
  sender: Hex,
  common: Common,
  place: Place | undefined,
): Json {
  const tx = createTxFromRLP(raw, { common });
  const limits = feeLimits(tx);
  const price =
    place === undefined ? limits.max_fee : effectivePrice(limits, place.header.base_fee);
  const typed = tx.type !== 0;
  return {
    type: quantity(tx.type),
    chainId: quantity(common.chainId()),
    nonce: quantity(tx.nonce),
    gas: quantity(tx.gasLimit),
    gasPrice: quantity(price),
    ...feesJson(tx),
    to: tx.to?.toString() ?? null,
    value: quantity(tx.value),
    ...accessListJson(tx),
    input: toHex(tx.data),
    v: quantity(tx.v!),
    ...(typed ? { yParity: quantity(tx.v!) } : {}),
    ...{ r: quantity(tx.r!), s: quantity(tx.s!) },
    hash: toHex(tx.hash()),
    blockHash: place === undefined ? null : toHex(place.hash),
    blockNumber: place === undefined ? null : quantity(place.header.number),
    transactionIndex: place === undefined ? null : quantity(place.index),
    ...(place === undefined ? {} : { blockTimestamp: quantity(place.header.timestamp) }),
    from: sender,
  };
}

/** The address of a contract that `sender` creates with this nonce. */
export function createdAddress(sender: Uint8Array, nonce: bigint): Hex {
  return toHex(keccak_256(RLP.encode([sender, quantityBytes(nonce)])).slice(12));
}

/** `first` is the number of logs in the block before this transaction's. */
export function logsJson(block: StoredBlock, index: number, first: number): Json[] {
  const transaction_hash = toHex(keccak_256(block.raws[index]!));
  return block.receipts[index]!.logs.map(({ address, topics, data }: EventLog, i) => ({
    address: toHex(address),
    topics: topics.map(toHex),
    data: toHex(data),
    blockHash: toHex(block.hash),
    blockNumber: quantity(block.header.number),
    blockTimestamp: quantity(block.header.timestamp),
    transactionHash: transaction_hash,
    transactionIndex: quantity(index),
    logIndex: quantity(first + i),
    removed: false,
  }));
}

/** Number of logs of the block before the transaction at `index`. */
export const logsBefore = (receipts: readonly Receipt[], index: number): number =>
  receipts.slice(0, index).reduce((sum, { logs }) => sum + logs.length, 0);

export function receiptJson(block: StoredBlock, index: number, common: Common): Json {
  const receipt = block.receipts[index]!;
  const tx = createTxFromRLP(block.raws[index]!, { common });
  return {
    type: quantity(tx.type),
    status: receipt.succeeded ? "0x1" : "0x0",
    cumulativeGasUsed: quantity(receipt.cumulative_gas),
    logs: logsJson(block, index, logsBefore(block.receipts, index)),
    logsBloom: toHex(bloomOf(receipt.logs)),
    transactionHash: toHex(tx.hash()),
    transactionIndex: quantity(index),
    blockHash: toHex(block.hash),
    blockNumber: quantity(block.header.number),
    gasUsed: quantity(receipt.gas_used),
    effectiveGasPrice: quantity(effectivePrice(feeLimits(tx), block.header.base_fee)),
    from: toHex(receipt.sender),
    to: tx.to?.toString() ?? null,
    contractAddress: tx.to === undefined ? createdAddress(receipt.sender, tx.nonce) : null,
  };
}

/** A slot's value in 32 bytes. */
export function wordJson(value: Uint8Array): Hex {
  const padded = new Uint8Array(32);
  padded.set(value, 32 - value.length);
  return toHex(padded);
}
