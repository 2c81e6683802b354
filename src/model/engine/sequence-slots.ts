/**
 * Numbers of sequences for a library that keeps keys and values by sequence, from the scheduler's
 * plan, which keeps them by block. Without a prefix cache a block belongs to one sequence, so a
 * sequence is known by its first block, and its number is free as soon as one of its blocks turns
 * up in another. Invariant: the blocks of numbers in use are disjoint, so their positions never
 * exceed those of the pool.
 *
 * Nobody says when a sequence ends, so the least recently used number is taken when all are in use.
 * It belongs to an ended sequence: between two steps of a running one only older ones compute, and
 * there are twice as many numbers as sequences that run.
 */
import { invariant } from "../../core/errors.ts";
import type { StepArrays } from "./step-arrays.ts";

export interface SlotPlan {
  /** Number of each sequence of the step. */
  slots: Int32Array;
  /** Pairs: number, position from which on it is to be forgotten before the step. */
  forgets: Int32Array;
}

interface Slot {
  /** In order of position; empty: the number is free. */
  blocks: Set<number>;
  first: number;
  used: number;
}
const ROW_WORDS = 4;

/** Position of each sequence's first row; rows of a sequence stand together. */
function starts({ rows, n_rows, n_sequences }: StepArrays): number[] {
  const positions: number[] = new Array(n_sequences).fill(-1);
  for (let r = n_rows - 1; r >= 0; r--)
    positions[rows[ROW_WORDS * r + 2]!] = rows[ROW_WORDS * r + 1]!;
  return positions;
}

export class SequenceSlots {
  readonly #slots: Slot[];
  /** By block. */
  readonly #owners = new Map<number, number>();
  #steps = 0;

  constructor(count: number) {
    this.#slots = Array.from({ length: count }, () => ({
      blocks: new Set(),
      first: -1,
      used: 0,
    }));
  }

  /** Numbers for a step's sequences; every step must come by here. */
  assign(arrays: StepArrays): SlotPlan {
    this.#steps++;
    const { n_sequences } = arrays;
    const positions = starts(arrays);
    const slots = new Int32Array(n_sequences).fill(-1);
    const forgets: number[] = [];
    const blocksOf = (s: number) => arrays.tables.subarray(arrays.starts[s], arrays.starts[s + 1]);
    for (let s = 0; s < n_sequences; s++) {
      const slot = this.#owners.get(blocksOf(s)[0]!);
      if (positions[s] === 0 || slot === undefined) continue;
      if (this.#slots[slot]!.first !== blocksOf(s)[0]) continue;
      slots[s] = slot;
      this.#slots[slot]!.used = this.#steps;
      // What a cancelled step has left behind.
      forgets.push(slot, positions[s]!);
    }
    for (let s = 0; s < n_sequences; s++)
      for (const block of blocksOf(s)) {
        const owner = this.#owners.get(block);
        if (owner !== undefined && owner !== slots[s]) this.#end(owner, forgets);
      }
    for (let s = 0; s < n_sequences; s++) {
      if (slots[s]! < 0) {
        invariant(positions[s] === 0, `position ${positions[s]} of a sequence without a number`);
        slots[s] = this.#take(forgets);
        this.#slots[slots[s]!]!.first = blocksOf(s)[0]!;
      }
      for (const block of blocksOf(s)) {
        this.#owners.set(block, slots[s]!);
        this.#slots[slots[s]!]!.blocks.add(block);
      }
    }
    return { slots, forgets: Int32Array.from(forgets) };
  }

  #take(forgets: number[]): number {
    const free = this.#slots.findIndex(({ blocks }) => blocks.size === 0);
    let oldest = free;
    if (free < 0) {
      oldest = this.#slots.reduce((a, { used }, i) => (used < this.#slots[a]!.used ? i : a), 0);
      invariant(this.#slots[oldest]!.used < this.#steps, "a step has more sequences than numbers");
      this.#end(oldest, forgets);
    }
    this.#slots[oldest]!.used = this.#steps;
    return oldest;
  }

  #end(slot: number, forgets: number[]): void {
    const ended = this.#slots[slot]!;
    invariant(ended.used < this.#steps, "two sequences of a step share a block");
    for (const block of ended.blocks) this.#owners.delete(block);
    ended.blocks.clear();
    forgets.push(slot, 0);
  }
}
