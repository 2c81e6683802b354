/**
 * Which sequences a training step sees: a permutation of the windows of a token file, computed from
 * (seed, data pass, position) without a table, so that any position can be asked for and a resumed
 * run continues exactly. Slices of one file are disjoint within a data pass and together cover it.
 */
import { invariant, MagnetError } from "../core/errors.ts";
import { seededRandom } from "../core/random.ts";

export interface BatchOrderOptions {
  /** Tokens in the file. */
  token_count: number;
  /** Tokens of a sequence; a window has one more, its last target. */
  context: number;
  seed: number | bigint;
  /** This node's part: windows whose rank in the pass is slice_index modulo slice_count. */
  slice_index?: number;
  slice_count?: number;
}

const FEISTEL_ROUNDS = 8;

/** MurmurHash3's finaliser: mixes all 32 bits. */
function mix(value: number): number {
  let h = value;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/**
 * A pseudo-random permutation of [0, n) by a balanced Feistel network with cycle walking (Black and
 * Rogaway 2002): O(1) memory. Not for secrets. n is at most 2^50.
 */
export function permutation(n: number, seed: bigint): (index: number) => number {
  invariant(Number.isSafeInteger(n) && n >= 1 && n <= 2 ** 50, "permutation of 1 to 2^50 elements");
  const random = seededRandom(seed);
  const keys = Array.from({ length: FEISTEL_ROUNDS }, () => random.below(2 ** 32));
  let half = 1;
  while (2 ** (2 * half) < n) half++;
  const base = 2 ** half;
  const once = (x: number) => {
    let left = Math.floor(x / base);
    let right = x % base;
    for (const key of keys) [left, right] = [right, (left ^ mix((right ^ key) >>> 0)) & (base - 1)];
    return left * base + right;
  };
  return (index) => {
    invariant(index >= 0 && index < n, "index outside the permutation");
    let x = once(index);
    while (x >= n) x = once(x); // the domain is at most 4n, so a few steps on average
    return x;
  };
}

/** Deterministic order of windows; position counts the sequences that this slice has consumed. */
export class BatchOrder {
  /**
   * Windows of one data pass over the whole file: window w is tokens [w*context,
   * w*context+context].
   */
  readonly windows: number;
  /** Windows of one data pass in this slice. */
  readonly windows_in_slice: number;
  readonly context: number;
  readonly slice_index: number;
  readonly slice_count: number;
  private readonly seed: bigint;
  private pass = -1;
  private place: (index: number) => number = (index) => index;

  /** Throws DATA_TOO_SMALL where the file or the slice holds no whole window. */
  constructor(options: BatchOrderOptions) {
    const { token_count, context, seed, slice_index = 0, slice_count = 1 } = options;
    invariant(Number.isSafeInteger(context) && context >= 1, "context is at least 1");
    invariant(
      Number.isSafeInteger(slice_count) && slice_index >= 0 && slice_index < slice_count,
      "slice_index lies in [0, slice_count)",
    );
    this.context = context;
    this.seed = BigInt(seed);
    this.slice_index = slice_index;
    this.slice_count = slice_count;
    this.windows = Math.max(0, Math.floor((token_count - 1) / context));
    this.windows_in_slice = Math.max(0, Math.ceil((this.windows - slice_index) / slice_count));
    if (this.windows_in_slice === 0)
      throw new MagnetError(
        "DATA_TOO_SMALL",
        `${token_count} tokens hold ${this.windows} sequences of ${context} tokens for ${slice_count} slice(s)`,
        { hint: "give more text, or a smaller --context" },
      );
  }

  /** Data pass that a position belongs to, from 0. */
  passOf(position: number): number {
    return Math.floor(position / this.windows_in_slice);
  }

  /** The window at a position of this slice. */
  windowAt(position: number): number {
    invariant(Number.isSafeInteger(position) && position >= 0, "position is a count");
    const pass = this.passOf(position);
    if (pass !== this.pass) {
      this.pass = pass;
      // Odd multiplier: distinct passes get distinct streams for every seed.
      const stream = BigInt.asUintN(64, this.seed + BigInt(pass) * 0xd1342543de82ef95n);
      this.place = permutation(this.windows, stream);
    }
    const rank = (position % this.windows_in_slice) * this.slice_count + this.slice_index;
    return this.place(rank);
  }
}
