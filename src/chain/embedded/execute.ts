/**
 * Executes transactions on a state and seals them into a block: real roots, bloom and hash. The same
 * function makes new blocks and replays logged ones, so that a replay proves what was made.
 */
import { createBlock } from "@ethereumjs/block";
import type { Common } from "@ethereumjs/common";
import { createEVM } from "@ethereumjs/evm";
import { RLP } from "@ethereumjs/rlp";
import { createVM, runTx, type VM } from "@ethereumjs/vm";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { encodeHeader, type Header, headerHash, ZERO_WORD } from "./header.ts";
import { fromHex } from "./hex.ts";
import { bloomOf, encodeReceipt, mergeBlooms, type Receipt } from "./receipt.ts";
import type { ChainState } from "./state.ts";
import type { SignedTransaction } from "./transaction.ts";
import { listRoot } from "./trie.ts";

/** What a block's transactions see of the block. */
export interface BlockSetting {
  parent_hash: Uint8Array;
  number: bigint;
  timestamp: bigint;
  gas_limit: bigint;
  base_fee: bigint;
}

export interface SealedBlock {
  header: Header;
  hash: Uint8Array;
  transactions: SignedTransaction[];
  receipts: Receipt[];
}

export interface Execution {
  block: SealedBlock;
  /** Transactions that cannot be part of a block: the sender's balance was spent before them. */
  rejected: { transaction: SignedTransaction; reason: string }[];
}

/** Hash of an earlier block of the chain, for BLOCKHASH. */
export type HashOf = (number: number) => Uint8Array;

/** PREVRANDAO of the block after `parent_hash`; see Header. */
export const prevrandaoAfter = (parent_hash: Uint8Array): Uint8Array => keccak_256(parent_hash);

/** An EVM over the state. */
export async function openVm(state: ChainState, common: Common, hashOf: HashOf): Promise<VM> {
  const blockchain = {
    getBlock: async (number: number) => ({ hash: () => hashOf(number) }),
    putBlock: async () => undefined,
    shallowCopy() {
      return this;
    },
  };
  const evm = await createEVM({ common, stateManager: state, blockchain });
  return createVM({ common, stateManager: state, evm });
}

/** The library's form of a block under construction. */
export function blockOf(setting: BlockSetting, common: Common) {
  const header = {
    ...{ number: setting.number, timestamp: setting.timestamp, gasLimit: setting.gas_limit },
    ...{ baseFeePerGas: setting.base_fee, parentHash: setting.parent_hash },
    ...{ mixHash: prevrandaoAfter(setting.parent_hash), parentBeaconBlockRoot: ZERO_WORD },
  };
  return createBlock({ header }, { common, skipConsensusFormatValidation: true });
}

async function run(vm: VM, block: ReturnType<typeof blockOf>, transaction: SignedTransaction) {
  const { tx } = transaction;
  const { totalGasSpent, execResult } = await runTx(vm, {
    ...{ tx, block, skipBlockGasLimitValidation: true, skipHardForkValidation: true },
  });
  const logs = (execResult.logs ?? []).map(([address, topics, data]) => ({
    address,
    topics,
    data,
  }));
  return { gas_used: totalGasSpent, succeeded: execResult.exceptionError === undefined, logs };
}

function seal(
  setting: BlockSetting,
  state_root: Uint8Array,
  transactions: SignedTransaction[],
  receipts: Receipt[],
): SealedBlock {
  const blooms = receipts.map(({ logs }) => bloomOf(logs));
  const header: Header = {
    ...{ parent_hash: setting.parent_hash, number: setting.number, timestamp: setting.timestamp },
    ...{ gas_limit: setting.gas_limit, base_fee: setting.base_fee, state_root },
    prevrandao: prevrandaoAfter(setting.parent_hash),
    transactions_root: listRoot(transactions.map(({ raw }) => raw)),
    receipts_root: listRoot(
      receipts.map((receipt, i) => encodeReceipt(receipt, blooms[i]!, transactions[i]!.tx.type)),
    ),
    logs_bloom: mergeBlooms(blooms),
    gas_used: receipts.at(-1)?.cumulative_gas ?? 0n,
  };
  return { header, hash: headerHash(header), transactions, receipts };
}

/**
 * Runs the transactions in their order and seals those that can be part of the block. The state is
 * flushed; the caller keeps or drops what was written.
 */
export async function executeBlock(
  vm: VM,
  setting: BlockSetting,
  candidates: readonly SignedTransaction[],
): Promise<Execution> {
  const block = blockOf(setting, vm.common);
  const transactions: SignedTransaction[] = [];
  const receipts: Receipt[] = [];
  const rejected: Execution["rejected"] = [];
  let cumulative_gas = 0n;
  for (const transaction of candidates) {
    try {
      const { gas_used, succeeded, logs } = await run(vm, block, transaction);
      cumulative_gas += gas_used;
      const sender = fromHex(transaction.sender);
      receipts.push({ sender, succeeded, gas_used, cumulative_gas, logs });
      transactions.push(transaction);
    } catch (error) {
      // runTx has undone what it did; what it throws for is a rule about whole transactions, but
      // for a damaged store, which must not be taken for a bad transaction.
      if ((error as Error).message.startsWith("invariant broken")) throw error;
      rejected.push({ transaction, reason: (error as Error).message.split(" (vm hf")[0]! });
    }
  }
  const state = vm.stateManager as ChainState;
  return { block: seal(setting, state.flush(), transactions, receipts), rejected };
}

/** Bytes of the whole block: header, transactions, no uncles, no withdrawals. */
export function blockSize(header: Header, raws: readonly Uint8Array[]): number {
  const transactions = raws.map((raw) =>
    raw[0]! < 0x80 ? raw : (RLP.decode(raw) as Uint8Array[]),
  );
  return RLP.encode([RLP.decode(encodeHeader(header)), transactions, [], []] as never).length;
}
