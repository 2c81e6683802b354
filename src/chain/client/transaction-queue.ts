/**
 * The durable queue of the node's transactions: each key is sent once, across restarts, replaced
 * fees and reorganisations. `tick` compares what is stored with what the chain shows and acts;
 * nothing is remembered in between, so being killed at any point costs nothing but time.
 */
import type { Address } from "viem";
import type { Clock } from "../../core/clock.ts";
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import type { Signer } from "../../network/signer.ts";
import { addressOf } from "./account.ts";
import { chainError } from "./errors.ts";
import { checkChainId } from "./ledger.ts";
import { QueueRound } from "./queue-round.ts";
import { QueueStore } from "./queue-store.ts";
import {
  type Entry,
  QUEUE_LIMITS,
  type QueueEvent,
  type QueueLimits,
  type Reason,
  type Submission,
} from "./queue-types.ts";
import { type Rpc, RpcFailure, type RpcHealth } from "./rpc.ts";
import { Sender } from "./sender.ts";

/** How long `wait` and `run` leave the chain alone in between. */
const POLL_MS = 1000;
const FIRST_POLL_MS = 10;

export interface QueueOptions {
  rpc: Rpc;
  chain_id: number;
  signer: Signer;
  /** In the data folder; ":memory:" forgets. */
  file: string;
  clock: Clock;
  limits?: Partial<QueueLimits>;
  onEvent?: (event: QueueEvent) => void;
}

export interface QueueStatus {
  queued: number;
  sent: number;
  /** In blocks, and not deep enough yet. */
  unconfirmed: number;
  /** Why nothing goes on; null where it does. */
  blocked: Reason | null;
  rpc: RpcHealth;
}

/** An error as it is stored and shown. */
export const reasonOf = ({ code, message, hint }: MagnetError): Reason => ({
  code,
  message,
  ...(hint !== undefined && { hint }),
});

const isGivenUp = ({ state }: Entry) => state === "failed" || state === "dropped";
const sameCall = (entry: Entry, submission: Submission) =>
  entry.to === submission.to &&
  entry.data === submission.data &&
  entry.value === (submission.value ?? 0n);

export class TransactionQueue {
  readonly address: Address;
  private readonly store: QueueStore;
  private readonly options: QueueOptions;
  private readonly round: QueueRound;
  private blocked: Reason | null = null;
  private running: Promise<void> | undefined;
  /** The RPC's state in which its chain id was asked for: asked again when it comes back. */
  private checked_since_ms = -1;
  private last_event: number;

  /** Throws QUEUE_FILE. */
  constructor(options: QueueOptions) {
    const { rpc, chain_id, signer, file, clock } = options;
    this.options = options;
    this.address = addressOf(signer.public_key);
    this.store = new QueueStore(file);
    const limits = { ...QUEUE_LIMITS, ...options.limits };
    const common = { rpc, address: this.address, store: this.store, limits };
    const sender = new Sender({ ...common, chain_id, signer });
    this.round = new QueueRound({ ...common, sender, clock });
    this.last_event = this.store.lastEventId();
    this.store.prune(limits.kept);
  }

  /**
   * Adds a transaction; the same key with the same call is the one that is there already. A key
   * that was given up may be used again. Throws KEY_TAKEN where the key stands for another call.
   */
  submit(submission: Submission): Entry {
    const entry = this.store.exclusively(() => {
      const known = this.store.get(submission.key);
      if (known !== undefined && !(known.final && isGivenUp(known))) {
        if (sameCall(known, submission)) return known;
        throw new MagnetError("KEY_TAKEN", `${submission.key} stands for another transaction`, {
          hint: "a key names one transaction for good",
          exit: "chain",
        });
      }
      if (known !== undefined) this.store.remove(submission.key);
      const at_ms = this.options.clock.now_ms();
      this.store.add(submission, at_ms);
      this.store.addEvent(submission, { at_ms, kind: "queued", tx_hash: null, reason: null });
      return this.store.get(submission.key)!;
    });
    this.emit();
    return entry;
  }

  /** Gives up what was not signed yet; false where it may be on its way. */
  cancel(key: string): boolean {
    const cancelled = this.store.exclusively(() => {
      const entry = this.store.get(key);
      if (entry?.state !== "queued") return false;
      const why: Reason = { code: "CANCELLED", message: `${entry.what} was given up` };
      this.store.update(key, { state: "dropped", final: true, reason: entry.reason ?? why });
      const at_ms = this.options.clock.now_ms();
      this.store.addEvent(entry, { at_ms, kind: "dropped", tx_hash: null, reason: why });
      return true;
    });
    this.emit();
    return cancelled;
  }

  /** What is known of a key; undefined where it was never submitted, or long ago. */
  get(key: string): Entry | undefined {
    return this.store.get(key);
  }

  /** Everything that can still change, oldest first. */
  live(): Entry[] {
    return this.store.live();
  }

  /** The newest transactions, newest first. */
  recent(count: number): Entry[] {
    return this.store.recent(count);
  }

  /** Outcomes after the event with this id: what happened while nobody listened. */
  eventsAfter(id: number): QueueEvent[] {
    return this.store.eventsAfter(id);
  }

  status(): QueueStatus {
    const live = this.store.live();
    const count = (state: Entry["state"]) => live.filter((e) => e.state === state).length;
    const [queued, sent] = [count("queued"), count("sent")];
    const unconfirmed = live.length - queued - sent;
    return { queued, sent, unconfirmed, blocked: this.blocked, rpc: this.options.rpc.health() };
  }

  /**
   * One look at the chain and what follows from it. Never throws for the chain's or the RPC's sake:
   * `status().blocked` says what stands in the way. Calls that overlap share one look.
   */
  tick(): Promise<void> {
    this.running ??= this.oneTick().finally(() => {
      this.running = undefined;
    });
    return this.running;
  }

  private async oneTick(): Promise<void> {
    const live = this.store.live();
    if (live.length === 0) {
      this.blocked = null;
      return;
    }
    try {
      await this.checkChain();
      const blocked = await this.round.run(live);
      // Where nothing keeps others back, one that is refused again and again says why.
      const waiting = this.store.live().find(({ state, reason }) => state === "sent" && reason);
      this.blocked = blocked === undefined ? (waiting?.reason ?? null) : reasonOf(blocked);
    } catch (error) {
      const known = error instanceof RpcFailure ? chainError(error, "queue") : toMagnetError(error);
      if (known.code === "INTERNAL" || known.exit !== "chain") throw error;
      this.blocked = reasonOf(known);
    } finally {
      this.emit();
    }
  }

  private async checkChain(): Promise<void> {
    const { rpc, chain_id } = this.options;
    const health = rpc.health();
    if (health.state === "up" && health.since_ms === this.checked_since_ms) return;
    await checkChainId(rpc, chain_id);
    this.checked_since_ms = rpc.health().since_ms;
  }

  private emit(): void {
    const { onEvent } = this.options;
    if (onEvent === undefined) return;
    for (const event of this.store.eventsAfter(this.last_event)) {
      this.last_event = event.id;
      onEvent(event);
    }
  }

  /**
   * Drives the queue until the key is in a block (`mined`, `reverted`) or given up, or `final`.
   * Throws the signal's reason when it aborts; the transaction stays in the queue.
   */
  async wait(
    key: string,
    { signal, until = "mined", poll_ms = POLL_MS, onBlocked }: WaitOptions = {},
  ): Promise<Entry> {
    // Chains that mine on demand have it at once: the first looks come soon after each other.
    for (let pause_ms = Math.min(FIRST_POLL_MS, poll_ms); ; ) {
      await this.tick();
      const entry = this.store.get(key);
      if (entry === undefined)
        throw new MagnetError("UNKNOWN_KEY", `no transaction ${key}`, { exit: "chain" });
      const in_block = entry.state !== "queued" && entry.state !== "sent";
      if (entry.final || (in_block && until === "mined")) return entry;
      onBlocked?.(this.blocked);
      signal?.throwIfAborted();
      await pause(pause_ms, signal);
      pause_ms = Math.min(2 * pause_ms, poll_ms);
    }
  }

  /** Drives the queue until the signal. */
  async run(signal: AbortSignal, poll_ms = POLL_MS): Promise<void> {
    while (!signal.aborted) {
      await this.tick();
      await pause(poll_ms, signal).catch(() => undefined);
    }
  }

  /** Waits for a look that is on its way, then closes the file. */
  async close(): Promise<void> {
    await this.running?.catch(() => undefined);
    this.store.close();
  }
}

export interface WaitOptions {
  signal?: AbortSignal;
  until?: "mined" | "final";
  poll_ms?: number;
  /** Told after each look what stands in the way, null where nothing does. */
  onBlocked?: (reason: Reason | null) => void;
}

/** Resolves after `ms`; rejects with the signal's reason. */
async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  const stop = () => reject(signal!.reason as Error);
  signal?.addEventListener("abort", stop, { once: true });
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}
