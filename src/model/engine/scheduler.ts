/**
 * Which rows the next step computes: a pure state machine without clock or I/O.
 *
 * Every decoding sequence gets its row in every step; prompts are computed in chunks beside them,
 * few rows at a time so that a decoding reader is not kept waiting, many where nobody decodes.
 * Blocks are given out as they are needed. When none is left the youngest running sequence gives
 * its own back and waits to be computed again (its drawn tokens stay); waiting sequences are
 * admitted by arrival and nobody passes the first. So the oldest always goes on, which with a pool
 * that holds one whole context means that everything ends.
 */
import { invariant, MagnetError } from "../../core/errors.ts";
import { BLOCK_TOKENS, BlockStore, blocksFor, ROOT } from "./block-store.ts";
import { Sequence } from "./sequence.ts";

/** MG_BATCH_ROWS of magnet_infer.h. */
export const BATCH_ROWS = 512;
/** Rows of prompts in a step in which others decode: bounds the time between two of their tokens. */
const MIXED_PROMPT_ROWS = 64;
/**
 * The oldest prompt gets most of a step's rows, the next ones the rest, so that a short question
 * behind a long document need not wait for all of it.
 */
const FIRST_PROMPT_SHARE = 0.75;

export interface SchedulerOptions {
  blocks: number;
  sequences_max: number;
  waiting_max: number;
  prefix_cache: boolean;
  /** Most rows of a step, up to BATCH_ROWS (the default). */
  batch_rows?: number;
  mixed_prompt_rows?: number;
}

/** What a step does for one sequence: computes tokens [start, start + count). */
export interface StepPart {
  sequence: Sequence;
  start: number;
  count: number;
  /** Of the part's rows: a token drawn after the last, the hidden state of all, or nothing. */
  output: "none" | "token" | "hidden";
  /** Number of its first output among the step's drawn tokens or hidden rows (step-arrays.ts). */
  first_output: number;
}
export type StepPlan = StepPart[];

const byArrival = (list: Sequence[], sequence: Sequence): void => {
  let at = list.length;
  while (at > 0 && list[at - 1]!.number > sequence.number) at--;
  list.splice(at, 0, sequence);
};
const without = (list: Sequence[], sequence: Sequence): void => {
  const at = list.indexOf(sequence);
  invariant(at >= 0, "a sequence is not where its state says");
  list.splice(at, 1);
};

export class Scheduler {
  readonly store: BlockStore;
  readonly #options: Required<SchedulerOptions>;
  /** Both by arrival. */
  readonly #waiting: Sequence[] = [];
  readonly #running: Sequence[] = [];
  #paused = 0;
  #arrivals = 0;
  #step: StepPlan | null = null;
  /** How often a sequence gave its blocks back for an older one. */
  preemptions = 0;

  constructor(options: SchedulerOptions) {
    const defaults = { batch_rows: BATCH_ROWS, mixed_prompt_rows: MIXED_PROMPT_ROWS };
    this.#options = { ...defaults, ...options };
    const { sequences_max, batch_rows, mixed_prompt_rows } = this.#options;
    invariant(batch_rows >= 1 && batch_rows <= BATCH_ROWS, "rows of a step out of range");
    invariant(sequences_max >= 1 && sequences_max <= batch_rows, "a step has a row for everyone");
    invariant(mixed_prompt_rows >= 1, "prompts get no rows");
    this.store = new BlockStore(options.blocks, { caching: options.prefix_cache });
  }

  /** Longest sequence that the pool can hold. */
  get tokens_max(): number {
    return this.store.total * BLOCK_TOKENS;
  }
  get running(): number {
    return this.#running.length;
  }
  get waiting(): number {
    return this.#waiting.length + this.#paused;
  }

  /** Takes a sequence in. ENGINE_BUSY where too many wait already. */
  add(prompt: Int32Array, wants: Sequence["wants"], scope = ""): Sequence {
    invariant(prompt.length <= this.tokens_max, "a prompt is longer than the pool");
    const most = this.#options.waiting_max;
    // Those that find a place at the next step do not count as waiting.
    const places = Math.max(0, this.#options.sequences_max - this.#running.length);
    if (this.waiting >= most + places)
      throw new MagnetError("ENGINE_BUSY", `${most} requests are waiting already`, {
        hint: "try again in a moment",
        retryable: true,
      });
    const sequence = new Sequence(this.#arrivals++, prompt, wants, scope);
    byArrival(this.#waiting, sequence);
    return sequence;
  }

  /**
   * Ends a sequence in any state, at once or, where the current step computes it, with the step.
   * Returns whether it holds nothing any more.
   */
  end(sequence: Sequence): boolean {
    if (sequence.rows_in_step > 0) {
      sequence.doomed = true;
      return false;
    }
    this.#leave(sequence);
    sequence.state = "ended";
    return true;
  }

  /** Takes a sequence out of the list that its state says, with its blocks. */
  #leave(sequence: Sequence): void {
    if (sequence.state === "waiting") without(this.#waiting, sequence);
    else if (sequence.state === "running") without(this.#running, sequence);
    else if (sequence.state === "paused") this.#paused--;
    this.store.release(sequence.blocks);
    sequence.blocks = [];
    sequence.shared = 0;
    sequence.computed = 0;
  }

  /** For a reader that is far behind: others get its place and blocks. Not within a step. */
  pause(sequence: Sequence): void {
    invariant(sequence.rows_in_step === 0, "a sequence is paused within a step");
    if (sequence.state === "ended" || sequence.state === "paused") return;
    this.#leave(sequence);
    sequence.state = "paused";
    this.#paused++;
  }

  resume(sequence: Sequence): void {
    if (sequence.state !== "paused") return;
    this.#paused--;
    sequence.state = "waiting";
    byArrival(this.#waiting, sequence);
  }

  #preempt(sequence: Sequence): void {
    this.#leave(sequence);
    sequence.state = "waiting";
    byArrival(this.#waiting, sequence);
    this.preemptions++;
  }

  /** The next step, or null where there is nothing to do. It ends by `finish` or `fail`. */
  plan(): StepPlan | null {
    invariant(this.#step === null, "a step is planned within a step");
    this.#grow();
    while (this.#admit());
    const decoding = this.#running.filter((sequence) => sequence.decoding);
    const plan: StepPlan = decoding.map((sequence) => ({
      ...{ sequence, start: sequence.computed, count: 1 },
      output: "token",
      first_output: 0,
    }));
    this.#addPrompts(plan);
    if (plan.length === 0) return null;
    for (const { sequence, count } of plan) sequence.rows_in_step = count;
    this.#step = plan;
    return plan;
  }

  /** Gives every decoding sequence the block of its next position, the oldest first. */
  #grow(): void {
    for (let i = 0; i < this.#running.length; i++) {
      const sequence = this.#running[i]!;
      if (blocksFor(sequence.length) <= sequence.blocks.length) continue;
      while (this.store.available === 0) this.#preempt(this.#running.at(-1)!);
      if (sequence.state === "running") sequence.blocks.push(this.store.take());
    }
  }

  /** Lets the first waiting sequence run if there is room for all of its tokens. */
  #admit(): boolean {
    const sequence = this.#waiting[0];
    if (!sequence || this.#running.length >= this.#options.sequences_max) return false;
    const { store } = this;
    // Of its tokens the last is always computed: its logits are wanted, and are not kept.
    const most = sequence.wants === "hidden" ? 0 : blocksFor(sequence.length) - 1;
    const known = store.find(sequence, most);
    const idle = known.filter((block) => store.holders(block) === 0).length;
    const missing = blocksFor(sequence.length) - known.length;
    // A block in reserve for everyone who runs, or it would be preempted again at once.
    if (store.available - idle < missing + this.#running.length) return false;
    this.#waiting.shift();
    for (const block of known) store.hold(block);
    const fresh = Array.from({ length: missing }, () => store.take());
    sequence.blocks = [...known, ...fresh];
    sequence.shared = known.length;
    sequence.computed = known.length * BLOCK_TOKENS;
    sequence.cached_tokens ??= sequence.computed;
    sequence.state = "running";
    byArrival(this.#running, sequence);
    return true;
  }

  #addPrompts(plan: StepPlan): void {
    const { batch_rows, mixed_prompt_rows } = this.#options;
    const decoding = plan.length;
    const prompts = this.#running.filter((sequence) => !sequence.decoding);
    let left = batch_rows - decoding;
    if (decoding > 0) left = Math.min(left, mixed_prompt_rows);
    const first = prompts.length > 1 ? Math.ceil(left * FIRST_PROMPT_SHARE) : left;
    for (const [i, sequence] of prompts.entries()) {
      if (left === 0) break;
      const start = sequence.computed;
      const rows = Math.min(sequence.length - start, i === 0 ? first : left);
      // The attention works on whole blocks: a chunk that ends within a prompt ends with a block.
      const last = start + rows === sequence.length;
      const aligned = Math.floor((start + rows) / BLOCK_TOKENS) * BLOCK_TOKENS - start;
      const count = last || aligned <= 0 ? rows : aligned;
      const drawn = last ? "token" : "none";
      const output = sequence.wants === "hidden" ? "hidden" : drawn;
      plan.push({ sequence, start, count, output, first_output: 0 });
      left -= count;
    }
  }

  /** Takes a sequence out of the planned step before it is computed, and ends it. */
  withdraw(sequence: Sequence): void {
    invariant(this.#step !== null, "no step is planned");
    this.#step = this.#step.filter((part) => part.sequence !== sequence);
    sequence.rows_in_step = 0;
    this.end(sequence);
  }

  /**
   * The planned step has been computed; `token` gives what was drawn for a part with that output.
   * Full blocks become known to the cache. Sequences that were cancelled meanwhile end here.
   */
  finish(token: (part: StepPart) => number): void {
    for (const part of this.#takeStep()) {
      const { sequence, start, count, output } = part;
      sequence.computed = start + count;
      this.#share(sequence);
      if (sequence.doomed) this.end(sequence);
      else if (output === "token") sequence.append(token(part));
    }
  }

  /** The planned step has failed: what it was to write is not there. Its sequences end. */
  fail(): void {
    for (const { sequence } of this.#takeStep()) this.end(sequence);
  }

  #takeStep(): StepPlan {
    const plan = this.#step;
    invariant(plan !== null, "no step is being computed");
    this.#step = null;
    for (const { sequence } of plan) sequence.rows_in_step = 0;
    return plan;
  }

  #share(sequence: Sequence): void {
    const full = Math.floor(sequence.computed / BLOCK_TOKENS);
    for (; sequence.shared < full; sequence.shared++) {
      const i = sequence.shared;
      const parent = i === 0 ? ROOT : sequence.blocks[i - 1]!;
      const block = sequence.blocks[i]!;
      sequence.blocks[i] = this.store.share(block, parent, sequence, i * BLOCK_TOKENS);
    }
  }
}
