/**
 * A chain in this process: takes signed transactions, makes blocks of them, keeps them durably and
 * answers from them. A transaction's hash is returned only when the block it is in, or its place
 * among the waiting, has reached the disk; all that arrive while a block is made share the next one
 * and its one fsync. The host is an authority: it alone decides what is in a block and in which
 * order. For development and private clusters.
 */
import type { Common } from "@ethereumjs/common";
import type { VM } from "@ethereumjs/vm";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { type Clock, systemClock } from "../../core/clock.ts";
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import { roomLog } from "../../core/log.ts";
import { BlockTime } from "./block-time.ts";
import { type BlockSetting, executeBlock, openVm } from "./execute.ts";
import {
  type Alloc,
  type FeeRule,
  type Genesis,
  genesisOf,
  genesisText,
  makeGenesis,
} from "./genesis.ts";
import type { Header } from "./header.ts";
import { type Hex, toHex } from "./hex.ts";
import { CHAIN_LIMITS } from "./limits.ts";
import { Pool } from "./pool.ts";
import { RpcError, refused } from "./rpc-error.ts";
import { commonRules, nextBaseFee } from "./rules.ts";
import { genesisBlock } from "./seed-state.ts";
import { ChainState } from "./state.ts";
import { type Batch, ChainStore } from "./store.ts";
import { decodeTransaction, type SignedTransaction } from "./transaction.ts";

const log = roomLog("chain");

export interface ChainOptions {
  /** Where the chain is kept; undefined: in memory only, gone at the end. */
  folder?: string | undefined;
  /** 31337 for a new chain. */
  chain_id?: number | undefined;
  /** Who owns what in block 0. */
  alloc?: Alloc | undefined;
  fees?: FeeRule | undefined;
  base_fee?: bigint | undefined;
  gas_limit?: bigint | undefined;
  /** Seconds between blocks; 0: a block at once for what arrives. */
  block_time_s?: number | undefined;
  /** Reads only: makes no block of what waits, and keeps nothing. */
  read_only?: boolean | undefined;
  /** Allows the methods that move the chain's time; for tests. */
  allow_time_travel?: boolean | undefined;
  clock?: Clock | undefined;
}

export const DEFAULT_CHAIN_ID = 31_337;

/** The newest block. */
export interface Head {
  header: Header;
  hash: Uint8Array;
}

interface Waiter {
  transaction: SignedTransaction;
  resolve(): void;
  reject(error: unknown): void;
}

/** The stored genesis, or a new one. Throws CHAIN_DIFFERS where the options contradict it. */
function genesisFor(store: ChainStore, options: ChainOptions, now: bigint): Genesis {
  const text = store.meta("genesis");
  const { chain_id, alloc, fees, base_fee, gas_limit } = options;
  if (text === undefined)
    return makeGenesis({
      ...{ chain_id: chain_id ?? DEFAULT_CHAIN_ID, timestamp: now, alloc, fees },
      ...{ base_fee, gas_limit },
    });
  const genesis = genesisOf(text);
  const wanted = makeGenesis({
    ...{ chain_id: chain_id ?? genesis.chain_id, timestamp: genesis.timestamp },
    ...{ alloc: alloc ?? genesis.alloc, fees: fees ?? genesis.fees },
    ...{ base_fee: base_fee ?? genesis.base_fee, gas_limit: gas_limit ?? genesis.gas_limit },
  });
  if (genesisText(wanted) === text) return genesis;
  const what = wanted.chain_id === genesis.chain_id ? "another genesis" : "another chain id";
  throw new MagnetError("CHAIN_DIFFERS", `this folder holds a chain with ${what}`, {
    hint: `chain ${genesis.chain_id} is kept there; choose another --data-dir for a new one`,
    exit: "config",
  });
}

export class EmbeddedChain {
  readonly genesis: Genesis;
  readonly common: Common;
  readonly store: ChainStore;
  readonly pool = new Pool();
  readonly time: BlockTime;
  readonly block_time_s: number;
  readonly allow_time_travel: boolean;
  #state: ChainState;
  #vm!: VM;
  #head!: Head;
  #view: ChainState | undefined;
  #view_of: Head | undefined;
  #waiters: Waiter[] = [];
  /** Waiting transactions that replaced others, or were dropped: to forget with the next commit. */
  #forget: string[] = [];
  /** Base fee after the block that is being committed. */
  #fee_after = 0n;
  #automine = true;
  #working: Promise<void> | undefined;
  /** Empty blocks to make although nothing waits. */
  #timer: ReturnType<typeof setInterval> | undefined;
  #closing = false;
  #closed = false;

  private constructor(store: ChainStore, genesis: Genesis, options: ChainOptions) {
    this.store = store;
    this.genesis = genesis;
    this.common = commonRules(genesis.chain_id);
    const offset = BigInt(store.meta("time_offset") ?? "0");
    this.time = new BlockTime(options.clock ?? systemClock, offset);
    this.block_time_s = options.block_time_s ?? 0;
    this.allow_time_travel = options.allow_time_travel ?? false;
    this.#state = new ChainState(store);
    this.#closing = options.read_only ?? false;
  }

  /**
   * Opens the folder's chain or begins a new one. Throws CHAIN_DIFFERS, CHAIN_IN_USE,
   * CHAIN_DATABASE, BAD_GENESIS.
   */
  static async open(options: ChainOptions = {}): Promise<EmbeddedChain> {
    const store = new ChainStore(options.folder);
    try {
      const clock = options.clock ?? systemClock;
      const now = BigInt(Math.floor(clock.now_ms() / 1000));
      const chain = new EmbeddedChain(store, genesisFor(store, options, now), options);
      await chain.#start();
      return chain;
    } catch (error) {
      store.close();
      throw error;
    }
  }

  async #start(): Promise<void> {
    const height = this.store.height();
    if (height === undefined) {
      const block = await genesisBlock(this.genesis, this.#state);
      this.store.commit({ block, meta: { genesis: genesisText(this.genesis) } });
      this.#head = { header: block.header, hash: block.hash };
    } else {
      this.#head = this.store.header(height)!;
    }
    await this.#reset();
    if (this.#closing) return; // it only reads
    const dropped: string[] = [];
    for (const raw of this.store.waiting()) {
      try {
        this.pool.add(decodeTransaction(raw, this.common));
      } catch (error) {
        const hash = toHex(keccak_256(raw));
        log.warn("waiting_dropped", { hash, reason: (error as Error).message });
        dropped.push(hash);
      }
    }
    if (dropped.length > 0) this.store.commit({ drop: dropped });
    if (this.block_time_s > 0)
      this.#timer = setInterval(() => this.#work(1), this.block_time_s * 1000);
    else if (this.pool.size > 0) this.#work(0);
  }

  /** A fresh state at the head: what an unfinished block changed is gone. */
  async #reset(): Promise<void> {
    this.store.discard();
    this.#state = new ChainState(this.store, this.#head.header.state_root);
    this.#vm = await openVm(this.#state, this.common, (number) => this.hashOf(number));
  }

  get head(): Head {
    return this.#head;
  }

  get chain_id(): number {
    return this.genesis.chain_id;
  }

  /** Whether a transaction gets its block at once. */
  get automine(): boolean {
    return this.#automine && this.block_time_s === 0;
  }

  set automine(on: boolean) {
    this.#automine = on;
    if (this.automine && this.pool.size > 0) this.#work(0);
  }

  /** Hash of a block, zeros where there is none. */
  hashOf(number: number): Uint8Array {
    return this.store.header(number)?.hash ?? new Uint8Array(32);
  }

  /** The newest state, to read accounts from; shared by all readers until the next block. */
  get view(): ChainState {
    const full = (this.#view?.cached_values ?? 0) > CHAIN_LIMITS.cached_values;
    if (this.#view === undefined || this.#view_of !== this.#head || full) {
      this.#view = this.stateAt();
      this.#view_of = this.#head;
    }
    return this.#view;
  }

  /** The state after a block: its own copy, which may be changed and is never kept. */
  stateAt(root: Uint8Array = this.#head.header.state_root): ChainState {
    return new ChainState(this.store, root);
  }

  /** What a block made now would be set in; `timestamp` overrides the time. */
  nextSetting(timestamp = this.time.peek(this.#head.header.timestamp)): BlockSetting {
    const { header, hash } = this.#head;
    return {
      ...{ parent_hash: hash, number: header.number + 1n, timestamp },
      ...{ gas_limit: this.genesis.gas_limit, base_fee: nextBaseFee(this.genesis, header) },
    };
  }

  /** Nonce that the sender's next transaction needs, waiting ones counted. */
  pendingNonce(address: Hex): bigint {
    return this.pool.nextNonce(address, this.view.accountOf(address)?.nonce ?? 0n);
  }

  /**
   * Takes a signed transaction. Fulfilled when it is durable: in a block, or among the waiting.
   * Throws RpcError where it is refused; then nothing of it stays.
   */
  async submit(raw: Uint8Array): Promise<Hex> {
    this.#requireOpen();
    const transaction = decodeTransaction(raw, this.common);
    this.#check(transaction);
    const replaced = this.pool.add(transaction);
    if (replaced !== undefined) this.#forget.push(replaced.hash);
    await new Promise<void>((resolve, reject) => {
      this.#waiters.push({ transaction, resolve, reject });
      this.#work(0);
    });
    return transaction.hash;
  }

  #requireOpen(): void {
    if (this.#closing) throw refused("the chain is closing");
  }

  /** What the sender's account says to it. */
  #check({ sender, nonce, gas, max_fee, max_cost, hash }: SignedTransaction): void {
    if (this.store.find(hash) !== undefined) throw refused("already known");
    const account = this.view.accountOf(sender);
    const next = account?.nonce ?? 0n;
    if (nonce < next) throw refused(`nonce too low: next nonce ${next}, tx nonce ${nonce}`);
    if (nonce > next + CHAIN_LIMITS.nonce_gap)
      throw refused(`nonce too high: next nonce ${next}, tx nonce ${nonce}`);
    if (gas > this.genesis.gas_limit)
      throw refused(`exceeds block gas limit: ${gas}, limit ${this.genesis.gas_limit}`);
    const balance = account?.balance ?? 0n;
    if (balance < max_cost)
      throw refused(
        `insufficient funds for gas * price + value: address ${sender} have ${balance} want ${max_cost}`,
      );
    const { base_fee } = this.nextSetting();
    if (max_fee < base_fee)
      throw refused(
        `max fee per gas less than block base fee: address ${sender}, maxFeePerGas: ${max_fee}, baseFee: ${base_fee}`,
      );
    if (account?.isContract()) throw refused("sender not an eoa: the address has code (EIP-3607)");
  }

  /** Makes blocks although nothing may wait, at least `count`. Fulfilled when they are durable. */
  async mine(count = 1): Promise<void> {
    this.#requireOpen();
    for (let i = 0; i < count; i++) {
      while (this.#working !== undefined) await this.#working;
      const before = this.#head;
      await this.#work(1);
      if (this.#head === before) throw new RpcError("internal", "the block could not be kept");
    }
  }

  /** Begins work unless it goes on already. It ends by itself when nothing more can be done. */
  #work(blocks: number): Promise<void> {
    if (this.#closed) return Promise.resolve();
    this.#working ??= this.#rounds(blocks).finally(() => {
      this.#working = undefined;
      // What came in after the last look at the queue.
      if (this.#waiters.length > 0) this.#work(0);
    });
    return this.#working;
  }

  async #rounds(blocks: number): Promise<void> {
    // Requests of the same turn come in first: they share the block.
    await new Promise<void>((resolve) => setImmediate(resolve));
    let left = blocks;
    try {
      for (;;) {
        const setting = this.nextSetting();
        const wanted = this.automine || left > 0;
        const candidates = wanted
          ? this.pool.select(setting, (sender) => this.#nonceOf(sender))
          : [];
        if (candidates.length === 0 && left <= 0) break;
        if (await this.#produce(setting, candidates)) left--;
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
      if (this.#waiters.length > 0) this.#settle({}, new Map());
    } catch (error) {
      await this.#failed(error);
    }
  }

  #nonceOf(sender: Hex): bigint {
    return this.#state.accountOf(sender)?.nonce ?? 0n;
  }

  /** One block, committed. False where none of the candidates can be in one. */
  async #produce(setting: BlockSetting, candidates: SignedTransaction[]): Promise<boolean> {
    const timestamp = this.time.peek(this.#head.header.timestamp);
    const { block, rejected } = await executeBlock(this.#vm, { ...setting, timestamp }, candidates);
    const reasons = new Map(rejected.map((one) => [one.transaction.hash, one.reason]));
    if (block.transactions.length === 0 && candidates.length > 0) {
      this.#settle({}, reasons);
      return false;
    }
    this.time.use(timestamp);
    this.#fee_after = nextBaseFee(this.genesis, block.header);
    this.#settle({ block }, reasons);
    this.#head = { header: block.header, hash: block.hash };
    return true;
  }

  /** Commits with all that waits to be durable, then answers those who sent it. */
  #settle(batch: Batch, reasons: Map<string, string>): void {
    const done = new Set<string>(batch.block?.transactions.map(({ hash }) => hash));
    const over = (hash: string) => done.has(hash) || reasons.has(hash);
    // Who sent what the next block takes anyway is answered then, when there is a receipt.
    const [later, now] = [[] as Waiter[], [] as Waiter[]];
    for (const waiter of this.#waiters) {
      const { transaction } = waiter;
      const soon =
        batch.block !== undefined && !over(transaction.hash) && this.#isNext(transaction);
      (soon ? later : now).push(waiter);
    }
    const add = now.flatMap(({ transaction }) =>
      !over(transaction.hash) && this.pool.get(transaction.hash) ? [transaction] : [],
    );
    const drop = [...done, ...reasons.keys(), ...this.#forget];
    this.store.commit({ ...batch, add, drop, meta: { time_offset: this.time.offset.toString() } });
    this.#waiters = later;
    this.#forget = [];
    for (const hash of [...done, ...reasons.keys()]) this.pool.remove(hash as Hex);
    for (const [hash, reason] of reasons) log.info("transaction_rejected", { hash, reason });
    for (const { transaction, resolve, reject } of now) {
      const reason = reasons.get(transaction.hash);
      if (reason === undefined) resolve();
      else reject(refused(reason));
    }
  }

  /** Whether blocks are made at once, and nothing keeps the transaction from one of the next. */
  #isNext({ sender, nonce, max_fee }: SignedTransaction): boolean {
    if (!this.automine || max_fee < this.#fee_after) return false;
    return nonce < this.pool.nextNonce(sender, this.#nonceOf(sender));
  }

  /** The disk refused, or the state is damaged: nothing of the block counts, and no one is lied to. */
  async #failed(error: unknown): Promise<void> {
    const failure = toMagnetError(error);
    log.error("block_failed", { code: failure.code, reason: failure.message });
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const { transaction, reject } of waiters) {
      this.pool.remove(transaction.hash);
      reject(new RpcError("internal", `the block could not be kept (${failure.code})`));
    }
    await this.#reset();
  }

  /** Answers who still waits, then closes the file. */
  async close(): Promise<void> {
    this.#closing = true;
    clearInterval(this.#timer);
    while (this.#working !== undefined) await this.#working;
    if (this.#closed) return;
    this.#closed = true;
    this.store.close();
  }
}
