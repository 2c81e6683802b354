/** The noise floor, and paired differences averaged over seeds. */
import { normalQuantile, tQuantile } from "../evaluation/quantiles.ts";
import type { PairedDifference } from "../types.ts";
import type { NoiseFloor } from "./events.ts";
import { LOOP_LIMITS } from "./limits.ts";

/**
 * How much the baseline's score moves with the seed alone. Seeds also draw the folds, which two
 * candidates at one seed share, so the floor is on the safe side of a paired difference's noise.
 */
export function noiseFloor(scores: readonly number[]): NoiseFloor {
  const n = scores.length;
  const mean = scores.reduce((a, b) => a + b, 0) / Math.max(1, n);
  const squares = scores.reduce((sum, s) => sum + (s - mean) ** 2, 0);
  const deviation = n > 1 ? Math.sqrt(squares / (n - 1)) : 0;
  const floor = n > 1 ? tQuantile(LOOP_LIMITS.noise_level, n - 1) * deviation : 0;
  return { seeds: n, mean, deviation, floor };
}

/** The floor for a difference of means over so many seeds. */
export const floorOfMeans = (floor: NoiseFloor, seeds: number): number =>
  floor.floor / Math.sqrt(Math.max(1, seeds));

/**
 * One paired difference of several at different seeds. The units are the same rows each time, so
 * errors of the mean are no smaller than the mean of the errors; bounds are averaged as they are.
 */
export function meanDifference(parts: readonly PairedDifference[]): PairedDifference {
  const mean = (pick: (p: PairedDifference) => number) =>
    parts.reduce((sum, p) => sum + pick(p), 0) / parts.length;
  return {
    difference: mean((p) => p.difference),
    standard_error: mean((p) => p.standard_error),
    low: mean((p) => p.low),
    high: mean((p) => p.high),
    level: parts[0]?.level ?? 0.95,
  };
}

/** The one-sided lower bound at `level`, the bootstrap's own two-sided bound rescaled to it. */
export function lowerBound(difference: PairedDifference, level: number): number {
  const own = normalQuantile((1 + difference.level) / 2);
  const below = difference.difference - difference.low;
  return difference.difference - (below * normalQuantile(level)) / own;
}
