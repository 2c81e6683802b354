/**
 * The logs of the ledger's contracts up to the chain's head, in this process's memory: read once
 * from the deployment's block on, then only what is new. Blocks that a reorganisation replaced are
 * noticed by their hash and their logs are forgotten, so what is in here is always of one chain.
 */
import { type ContractEventName, type Hex, numberToHex, parseEventLogs } from "viem";
import { type AbiOf, CONTRACTS } from "../../chain/client/abis.ts";
import type { ChainHead, Ledger, LedgerEvent } from "../../chain/client/ledger.ts";

/** Contracts whose events the ledger's state follows from. */
const WATCHED = ["nodes", "epochs", "disputes", "dataRegistry"] as const;
export type Watched = (typeof WATCHED)[number];
export type AnyLog<N extends Watched> = LedgerEvent<N, ContractEventName<AbiOf<N>>>;

/** Public RPCs refuse wider ranges of blocks. */
const RANGE_BLOCKS = 9_000n;
/** Heads remembered to find the fork of a reorganisation; deeper ones start from the beginning. */
const MARKS_MAX = 128;

interface RawLog extends Record<string, unknown> {
  address: Hex;
  blockNumber: Hex;
  blockHash: Hex;
  logIndex: Hex;
  transactionIndex: Hex;
}

interface Mark {
  number: bigint;
  hash: Hex;
}

/** Bun's ABI types of one contract differ from the others'; each list holds its contract's only. */
type Lists = { [N in Watched]: AnyLog<N>[] };
const emptyLists = (): Lists => ({ nodes: [], epochs: [], disputes: [], dataRegistry: [] });

export class LogIndex {
  readonly #ledger: Ledger;
  #lists = emptyLists();
  /** Heads up to which everything was read, rising. */
  #marks: Mark[] = [];
  readonly #times = new Map<Hex, number>();

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** Another text for every other list of logs. */
  version(): string {
    return WATCHED.map((name) => {
      const list = this.#lists[name];
      return `${list.length} ${list.at(-1)?.blockHash ?? ""}`;
    }).join(" ");
  }

  /** Logs of one contract in the order of the chain. */
  of<N extends Watched>(name: N): readonly AnyLog<N>[] {
    return this.#lists[name];
  }

  /**
   * Reads up to the head. False where nothing has changed since the last call. Throws RPC_DOWN,
   * RPC_ERROR; what was read before stays.
   */
  async advance(head: ChainHead): Promise<boolean> {
    const last = this.#marks.at(-1);
    if (last && last.hash === head.hash) return false;
    await this.#rewind(head);
    const from = (this.#marks.at(-1)?.number ?? BigInt(this.#ledger.deployment.block) - 1n) + 1n;
    const fresh: RawLog[] = [];
    for (let at = from; at <= head.number; at += RANGE_BLOCKS) {
      const end = at + RANGE_BLOCKS - 1n;
      fresh.push(...(await this.#read(at, end < head.number ? end : head.number)));
    }
    for (const name of WATCHED) this.#append(name, fresh);
    this.#marks.push({ number: head.number, hash: head.hash });
    if (this.#marks.length > MARKS_MAX) this.#marks.shift();
    return true;
  }

  /** Drops every head, and its logs, that is no longer of this chain. */
  async #rewind(head: ChainHead): Promise<void> {
    const before = this.#marks.length;
    for (let mark = this.#marks.at(-1); mark; mark = this.#marks.at(-1)) {
      if (mark.number <= head.number && (await this.#hashAt(mark.number)) === mark.hash) break;
      this.#marks.pop();
    }
    if (this.#marks.length === before) return;
    const kept = this.#marks.at(-1)?.number ?? -1n;
    for (const name of WATCHED)
      this.#lists[name] = this.#lists[name].filter((log) => log.blockNumber <= kept) as never;
  }

  async #hashAt(number: bigint): Promise<Hex | undefined> {
    const block = await this.#ledger.rpc.request<{ hash: Hex } | null>("eth_getBlockByNumber", [
      numberToHex(number),
      false,
    ]);
    return block?.hash;
  }

  #read(from: bigint, to: bigint): Promise<RawLog[]> {
    const address = WATCHED.map((name) => this.#ledger.address(name));
    const range = { fromBlock: numberToHex(from), toBlock: numberToHex(to) };
    return this.#ledger.rpc.request<RawLog[]>("eth_getLogs", [{ address, ...range }]);
  }

  #append(name: Watched, fresh: readonly RawLog[]): void {
    const address = this.#ledger.address(name).toLowerCase();
    const own = fresh
      .filter((log) => log.address.toLowerCase() === address)
      .map((log) => ({
        ...log,
        blockNumber: BigInt(log.blockNumber),
        logIndex: Number(log.logIndex),
        transactionIndex: Number(log.transactionIndex),
      }));
    const parsed = parseEventLogs({ abi: CONTRACTS[name].abi, logs: own as never });
    (this.#lists[name] as unknown[]).push(...parsed);
  }

  /** Seconds of the block that a log is in. */
  async timeOf(log: { blockHash: Hex | null }): Promise<number> {
    const hash = log.blockHash!;
    const known = this.#times.get(hash);
    if (known !== undefined) return known;
    const { timestamp } = await this.#ledger.rpc.request<{ timestamp: Hex }>("eth_getBlockByHash", [
      hash,
      false,
    ]);
    this.#times.set(hash, Number(timestamp));
    return Number(timestamp);
  }
}
