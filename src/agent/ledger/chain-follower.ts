/**
 * Follows the chain for the ledger's state machine: polls the head, reads new logs, and hands on what
 * the chain says now, as snapshots. An RPC that is down is said once and asked again, slower; nothing
 * else of the node waits for it.
 */
import type { Ledger } from "../../chain/client/ledger.ts";
import { RpcFailure } from "../../chain/client/rpc.ts";
import type { Address, EpochView, LedgerEvent } from "../../chain/ledger/ledger-types.ts";
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { ChainReader } from "./chain-reader.ts";
import type { LogIndex } from "./log-index.ts";

/** Looks per epoch, so that no window of it is missed; bounded for very short and long epochs. */
const LOOKS_PER_EPOCH = 60;
const POLL_MIN_MS = 250;
const POLL_MAX_MS = 4000;
/** An RPC that is down is asked again after so long, growing to the second. */
const DOWN_MIN_MS = 500;
const DOWN_MAX_MS = 10_000;
/** Epochs whose last view is kept for people. */
const VIEWS_KEPT = 64;

export interface FollowerOptions {
  ledger: Ledger;
  index: LogIndex;
  reader: ChainReader;
  self: Address;
  log: Log;
  /** Events for the machine, in order. */
  feed(event: LedgerEvent): void;
  /** Epochs and disputes of which the machine needs to hear. */
  wanted(): { epochs: readonly number[]; disputes: readonly number[] };
  /** The newest view of the epoch that runs. */
  epochRuns(view: EpochView): void;
  /** Transactions are looked after at the same pace. */
  beforeLook(): Promise<void>;
}

export class ChainFollower {
  readonly #options: FollowerOptions;
  readonly #views = new Map<number, EpochView>();
  /** Disputes whose end has not been told yet. */
  readonly #open_disputes = new Set<number>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #looking: Promise<void> | undefined;
  #down_ms = 0;
  #checked = false;
  #stopped = false;

  constructor(options: FollowerOptions) {
    this.#options = options;
  }

  /** The newest views, by epoch. */
  get views(): ReadonlyMap<number, EpochView> {
    return this.#views;
  }

  start(): void {
    this.#timer = setTimeout(() => {
      this.look().finally(() => {
        if (!this.#stopped) this.start();
      });
    }, this.#wait_ms());
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#looking;
  }

  #wait_ms(): number {
    const { epoch_seconds } = this.#options.ledger.deployment;
    const pace_ms = (epoch_seconds * 1000) / LOOKS_PER_EPOCH;
    return this.#down_ms || Math.min(POLL_MAX_MS, Math.max(POLL_MIN_MS, pace_ms));
  }

  /** One look at the chain; never throws for its sake. Calls that overlap share one. */
  look(): Promise<void> {
    this.#looking ??= this.#lookOnce()
      .then(
        () => {
          this.#down_ms = 0;
        },
        (error) => this.#failed(error),
      )
      .finally(() => {
        this.#looking = undefined;
      });
    return this.#looking;
  }

  #failed(error: unknown): void {
    const known =
      error instanceof RpcFailure
        ? new MagnetError("RPC_ERROR", `${error.method}: ${error.message}`, { exit: "chain" })
        : toMagnetError(error);
    const { code, message } = known;
    if (this.#down_ms === 0) this.#options.log.warn("chain_down", { code, reason: message });
    this.#down_ms = Math.min(DOWN_MAX_MS, Math.max(DOWN_MIN_MS, 2 * this.#down_ms));
    this.#checked = false; // another chain may answer under this address next
    if (!this.#stopped) this.#options.feed({ type: "chain_down", reason: message });
  }

  async #lookOnce(): Promise<void> {
    const { ledger, index, feed } = this.#options;
    if (!this.#checked) await ledger.check();
    this.#checked = true;
    await this.#options.beforeLook();
    // The time before the head, and told after the views: whoever sees a window closed has then seen
    // every block of it. (Records were computed without the reveals of a window's last block.)
    const time_s = await ledger.time();
    const head = await ledger.head();
    const timestamp_s = Math.max(time_s, head.timestamp);
    await index.advance(head);
    this.#options.reader.logsRead();
    await this.#readEpochs(timestamp_s);
    await this.#readDisputes();
    const view = await this.#options.reader.accountView(timestamp_s);
    if (this.#stopped) return;
    feed({ type: "account_view", view });
    feed({ type: "block", number: Number(head.number), hash: head.hash, timestamp_s });
  }

  async #readEpochs(time_s: number): Promise<void> {
    const { reader, ledger, feed, epochRuns, wanted } = this.#options;
    const { genesis, epoch_seconds } = ledger.deployment;
    const current = Math.max(0, Math.floor((time_s - genesis) / epoch_seconds));
    const panel = await reader.panel();
    const open = wanted().epochs.filter((epoch) => epoch <= current);
    for (const epoch of new Set([...open, current])) {
      const view = await reader.epochView(epoch, panel, time_s);
      if (this.#stopped) return;
      this.#views.set(epoch, view);
      if (epoch === current) epochRuns(view);
      feed({ type: "epoch_view", view });
    }
    for (const epoch of this.#views.keys())
      if (epoch < current - VIEWS_KEPT) this.#views.delete(epoch);
  }

  async #readDisputes(): Promise<void> {
    const told = new Set([...this.#open_disputes, ...this.#options.wanted().disputes]);
    const views = await this.#options.reader.disputeViews(told);
    if (this.#stopped) return;
    for (const view of views) {
      this.#options.feed({ type: "dispute_view", view });
      if (ENDED.has(view.phase)) this.#open_disputes.delete(view.id);
      else this.#open_disputes.add(view.id);
    }
  }
}

const ENDED = new Set(["guilty", "dismissed", "inconclusive"]);
