/**
 * Which source each training sequence comes from: shares of a fixed fraction, spread evenly and
 * computed from the position alone. Of the first p sequences each of n sources has given its share
 * to within n/2, so a batch already has the mixture, and a resumed run or a node that is asked for
 * any position needs no history. Integers only: the same on every machine.
 */
import { invariant } from "../core/errors.ts";

/** Weights are rounded to multiples of 2^-20; none that is above 0 vanishes. */
export const WEIGHT_STEPS = 2 ** 20;
/** More sources are better put into one folder. */
export const SOURCES_MAX = 1024;

/**
 * Integer parts of WEIGHT_STEPS in proportion to `weights` (largest remainders, ties to the first);
 * each at least 1.
 */
export function weightParts(weights: readonly number[]): number[] {
  const total = weights.reduce((sum, w) => sum + w, 0);
  invariant(weights.length >= 1 && weights.length <= SOURCES_MAX, "1 to 1024 sources");
  invariant(weights.every((w) => w > 0) && Number.isFinite(total), "weights are above 0");
  const exact = weights.map((w) => (w / total) * WEIGHT_STEPS);
  const parts = exact.map((x) => Math.max(1, Math.floor(x)));
  const by_remainder = exact
    .map((x, i) => ({ i, remainder: x - Math.floor(x) }))
    .sort((a, b) => b.remainder - a.remainder || a.i - b.i);
  let left = WEIGHT_STEPS - parts.reduce((sum, n) => sum + n, 0);
  for (let k = 0; left > 0; k = (k + 1) % parts.length, left--) parts[by_remainder[k]!.i]!++;
  // Raising tiny weights to 1 may have taken too much: the largest part gives it back.
  while (left < 0) {
    const largest = parts.indexOf(Math.max(...parts));
    parts[largest]!--;
    left++;
  }
  return parts;
}

/** round(position * part / whole), ties up; exact, as position is cut into blocks of `whole`. */
function sharedCount(position: number, part: number, whole: number): number {
  const inside = position % whole;
  const blocks = (position - inside) / whole;
  return blocks * part + Math.floor((2 * inside * part + whole) / (2 * whole));
}

export class MixtureOrder {
  /** Of WEIGHT_STEPS, for each source. */
  readonly parts: readonly number[];
  /** WEIGHT_STEPS less the parts before each source. */
  readonly #rests: readonly number[];

  /** `weights`: one above 0 for each source; only their proportion counts. */
  constructor(weights: readonly number[]) {
    this.parts = weightParts(weights);
    let rest = WEIGHT_STEPS;
    this.#rests = this.parts.map((part) => {
      const before = rest;
      rest -= part;
      return before;
    });
  }

  /** Share of each source, as used. */
  get shares(): number[] {
    return this.parts.map((part) => part / WEIGHT_STEPS);
  }

  /** Sequences of each source among the first `position`. */
  counts(position: number): number[] {
    invariant(Number.isSafeInteger(position) && position >= 0, "position is a count");
    let left = position;
    return this.parts.map((part, i) => {
      const count = sharedCount(left, part, this.#rests[i]!);
      left -= count;
      return count;
    });
  }

  /** The source of the sequence at a position, and how many of that source came before it. */
  at(position: number): { source: number; position: number } {
    invariant(Number.isSafeInteger(position) && position >= 0, "position is a count");
    let left = position;
    for (const [source, part] of this.parts.entries()) {
      const before = sharedCount(left, part, this.#rests[source]!);
      if (sharedCount(left + 1, part, this.#rests[source]!) > before)
        return { source, position: before };
      left -= before;
    }
    throw new Error("the last source takes what is left"); // its part is the whole rest
  }
}
