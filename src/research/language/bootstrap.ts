/**
 * Intervals over documents. The score is a ratio (bits over bytes), so documents are drawn with both;
 * two models are compared on the same draws.
 */
import { seededRandom } from "../../core/random.ts";
import type { PairedDifference, ScoreInterval } from "../types.ts";

/** Enough for a 95% bound to two digits. */
const DRAWS = 2000;
export const LEVEL = 0.95;

/** Bits per byte over all documents. */
export function bitsPerByte(bits: ArrayLike<number>, bytes: ArrayLike<number>): number {
  let all_bits = 0;
  let all_bytes = 0;
  for (let i = 0; i < bits.length; i++) {
    all_bits += bits[i]!;
    all_bytes += bytes[i]!;
  }
  return all_bits / all_bytes;
}

/** Sorted ratios of draws of documents, with replacement. */
function ratios(tops: ArrayLike<number>, bytes: ArrayLike<number>, seed: number): Float64Array {
  const random = seededRandom(seed);
  const count = tops.length;
  const out = new Float64Array(DRAWS);
  for (let draw = 0; draw < DRAWS; draw++) {
    let top = 0;
    let below = 0;
    for (let i = 0; i < count; i++) {
      const unit = random.below(count);
      top += tops[unit]!;
      below += bytes[unit]!;
    }
    out[draw] = top / below;
  }
  return out.sort();
}

function bounds(sorted: Float64Array): [low: number, high: number] {
  const tail = (1 - LEVEL) / 2;
  const at = (share: number) => sorted[Math.round(share * (sorted.length - 1))]!;
  return [at(tail), at(1 - tail)];
}

function deviation(values: Float64Array): number {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const squares = values.reduce((sum, x) => sum + (x - mean) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1));
}

/** b - a of the score (-bits per byte): above 0 where b is better. */
export function pairedDifference(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  bytes: ArrayLike<number>,
  seed: number,
): PairedDifference {
  const gains = Float64Array.from({ length: a.length }, (_, i) => a[i]! - b[i]!);
  const drawn = ratios(gains, bytes, seed);
  const [low, high] = bounds(drawn);
  const difference = bitsPerByte(gains, bytes);
  return { difference, standard_error: deviation(drawn), low, high, level: LEVEL };
}

/** The score of one model with its interval. */
export function scoreInterval(
  bits: ArrayLike<number>,
  bytes: ArrayLike<number>,
  seed: number,
): ScoreInterval {
  const drawn = ratios(bits, bytes, seed);
  const [low, high] = bounds(drawn);
  return { score: -bitsPerByte(bits, bytes), low: -high, high: -low, units: bits.length };
}
