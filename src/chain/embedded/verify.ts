/**
 * Re-executes a chain's log from its genesis and compares every block with the kept one: header,
 * hash, receipts. Whoever has the log can do this and need not trust the host's word for the state.
 */
import type { EmbeddedChain } from "./chain.ts";
import { type BlockSetting, executeBlock, openVm } from "./execute.ts";
import type { Header } from "./header.ts";
import { toHex } from "./hex.ts";
import { packReceipts } from "./receipt.ts";
import { nextBaseFee } from "./rules.ts";
import { genesisBlock } from "./seed-state.ts";
import { ChainState } from "./state.ts";
import { ChainStore, type LogEntry, type StoredBlock } from "./store.ts";
import { decodeTransaction } from "./transaction.ts";

export interface VerifyReport {
  blocks: number;
  transactions: number;
  gas_used: bigint;
  head_hash: string;
  state_root: string;
  /** The first block that differs, and in what; undefined: all are the same. */
  difference: { number: number; field: string; kept: string; computed: string } | undefined;
}

export interface VerifyOptions {
  onBlock?(done: number, total: number): void;
  signal?: AbortSignal;
}

const equal = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;
const shown = (value: bigint | Uint8Array) =>
  typeof value === "bigint" ? value.toString() : toHex(value);

/** The first field in which the headers differ, or the receipts. */
function differenceOf(
  kept: StoredBlock,
  computed: { header: Header; receipts: Uint8Array },
): Omit<NonNullable<VerifyReport["difference"]>, "number"> | undefined {
  for (const field of Object.keys(computed.header) as (keyof Header)[]) {
    const [a, b] = [shown(kept.header[field]), shown(computed.header[field])];
    if (a !== b) return { field, kept: a, computed: b };
  }
  if (!equal(packReceipts(kept.receipts), computed.receipts))
    return { field: "receipts", kept: "other contents", computed: "" };
  return undefined;
}

/** Replays `chain`'s log in memory. The chain must not be making blocks meanwhile. */
export async function verifyChain(
  chain: EmbeddedChain,
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  const { genesis, common, store } = chain;
  const memory = new ChainStore(undefined);
  const hashes: Uint8Array[] = [];
  const total = Number(chain.head.header.number) + 1;
  const report: VerifyReport = {
    ...{ blocks: 0, transactions: 0, gas_used: 0n, head_hash: "", state_root: "" },
    difference: undefined,
  };
  try {
    const state = new ChainState(memory);
    const vm = await openVm(state, common, (n) => hashes[n] ?? new Uint8Array(32));
    let parent = await genesisBlock(genesis, state);
    for (const entry of store.log()) {
      options.signal?.throwIfAborted();
      if (entry.number > 0) {
        const setting: BlockSetting = settingOf(entry, parent.header, parent.hash, chain);
        const transactions = entry.raws.map((raw) => decodeTransaction(raw, common));
        const { block, rejected } = await executeBlock(vm, setting, transactions);
        const refused = rejected[0];
        if (refused !== undefined)
          return {
            ...report,
            difference: {
              ...{ number: entry.number, field: `transaction ${refused.transaction.hash}` },
              ...{ kept: "in the block", computed: refused.reason },
            },
          };
        parent = block;
      }
      memory.commit({ block: parent });
      hashes[entry.number] = parent.hash;
      const kept = store.block(entry.number)!;
      const receipts = packReceipts(parent.receipts);
      const difference = differenceOf(kept, { header: parent.header, receipts });
      if (difference !== undefined)
        return { ...report, difference: { number: entry.number, ...difference } };
      report.blocks++;
      report.transactions += entry.raws.length;
      report.gas_used += parent.header.gas_used;
      report.head_hash = toHex(parent.hash);
      report.state_root = toHex(parent.header.state_root);
      options.onBlock?.(report.blocks, total);
    }
    return report;
  } finally {
    memory.close();
  }
}

function settingOf(
  { number, timestamp }: LogEntry,
  parent: Header,
  parent_hash: Uint8Array,
  { genesis }: EmbeddedChain,
): BlockSetting {
  return {
    ...{ parent_hash, number: BigInt(number), timestamp, gas_limit: genesis.gas_limit },
    base_fee: nextBaseFee(genesis, parent),
  };
}
