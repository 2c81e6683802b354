/**
 * Bootstrap intervals of scores and of paired differences. Rows are resampled within their stratum
 * (for balanced accuracy: the class). Rows with equal values are drawn together as exact multinomial
 * counts, so that a comparison of classes costs a few milliseconds whatever the number of rows.
 * Percentile intervals (Efron and Tibshirani 1993, chapter 13).
 */
import { invariant } from "../../core/errors.ts";
import type { PairedDifference, ScoreInterval } from "../types.ts";
import { Binomial, Draw, seedFor } from "./draw.ts";
import { scoreOf, type UnitValues } from "./metrics.ts";

/** Resamples: the bounds of a 95% interval then rest on 50 draws each side. */
export const DRAWS = 2000;
export const LEVEL = 0.95;
/** Up to so many different values in a stratum they are drawn as counts. */
const CELLS_MAX = 64;

export interface BootstrapOptions {
  readonly seed: number;
  readonly draws?: number;
  readonly level?: number;
}

/** Paired difference b - a on the same rows, from values of the same metric. */
export function pairedBootstrap(
  a: UnitValues,
  b: UnitValues,
  options: BootstrapOptions,
): PairedDifference {
  const difference = subtract(a, b);
  const level = options.level ?? LEVEL;
  return { ...summary(difference, resample(difference, options), level), level };
}

/** The score with its interval. */
export function scoreInterval(values: UnitValues, options: BootstrapOptions): ScoreInterval {
  const { difference, low, high } = summary(
    values,
    resample(values, options),
    options.level ?? LEVEL,
  );
  return { score: difference, low, high, units: values.values.length };
}

/** Values of b - a; the same rows in the same strata. */
export function subtract(a: UnitValues, b: UnitValues): UnitValues {
  invariant(a.values.length === b.values.length, "a paired difference needs the same rows");
  return {
    values: b.values.map((value, i) => value - a.values[i]!),
    strata: a.strata,
    weights: a.weights,
    offset: b.offset - a.offset,
  };
}

/** Mean, spread and percentile bounds of draws. */
export function summary(of: UnitValues, draws: Float64Array, level: number) {
  const difference = scoreOf(of);
  let mean = 0;
  for (const value of draws) mean += value / draws.length;
  let square = 0;
  for (const value of draws) square += (value - mean) ** 2;
  const sorted = draws.slice().sort();
  const at = (q: number) =>
    sorted[Math.min(sorted.length - 1, Math.max(0, Math.floor(q * sorted.length)))]!;
  return {
    difference,
    standard_error: Math.sqrt(square / Math.max(1, draws.length - 1)),
    low: at((1 - level) / 2),
    high: at((1 + level) / 2),
  };
}

/** Scores of the resamples. */
export function resample(of: UnitValues, options: BootstrapOptions): Float64Array {
  const count = options.draws ?? DRAWS;
  const random = new Draw(seedFor(options.seed, "bootstrap"));
  const out = new Float64Array(count).fill(of.offset);
  of.weights.forEach((weight, s) => {
    if (weight === 0) return;
    const values = of.strata === null ? of.values : of.values.filter((_, i) => of.strata![i] === s);
    const means = resampledMeans(values, count, random);
    for (let d = 0; d < count; d++) out[d]! += weight * means[d]!;
  });
  return out;
}

/** Means of samples with replacement, as many as the values. */
export function resampledMeans(values: Float64Array, draws: number, random: Draw): Float64Array {
  const cells = new Map<number, number>();
  for (const value of values) {
    cells.set(value, (cells.get(value) ?? 0) + 1);
    if (cells.size > CELLS_MAX) return drawnMeans(values, draws, random);
  }
  const n = values.length;
  // The rarest first: their conditional counts take few values, so that few tables are built.
  const list = [...cells].sort((x, y) => x[1] - y[1] || x[0] - y[0]);
  let rest = n;
  const steps = list.map(([value, count]) => {
    const chance = new Binomial(rest === count ? 1 : count / rest);
    rest -= count;
    return { value, chance };
  });
  const out = new Float64Array(draws);
  for (let d = 0; d < draws; d++) {
    let left = n;
    let sum = 0;
    for (const { value, chance } of steps) {
      const drawn = chance.draw(left, random);
      sum += value * drawn;
      left -= drawn;
    }
    out[d] = sum / n;
  }
  return out;
}

function drawnMeans(values: Float64Array, draws: number, random: Draw): Float64Array {
  const n = values.length;
  return Float64Array.from({ length: draws }, () => {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += values[random.below(n)]!;
    return sum / n;
  });
}

/**
 * Block bootstrap for rows in the order of time: blocks of `block` neighbours (circular), so that
 * what overlapping labels share is resampled together (Politis and Romano 1992).
 */
export function blockResample(
  of: UnitValues,
  block: number,
  options: BootstrapOptions,
): Float64Array {
  const n = of.values.length;
  const length = Math.max(1, Math.min(block, n));
  const count = options.draws ?? DRAWS;
  const random = new Draw(seedFor(options.seed, "blocks"));
  const strata = of.weights.length;
  const sums = prefixes(of, length, strata, (i) => of.values[i]!);
  const counts = prefixes(of, length, strata, () => 1);
  return Float64Array.from({ length: count }, () => {
    const starts = Array.from({ length: Math.ceil(n / length) }, () => random.below(n));
    let value = of.offset;
    for (let s = 0; s < strata; s++) {
      if (of.weights[s] === 0) continue;
      let sum = 0;
      let rows = 0;
      for (let i = 0; i < starts.length; i++) {
        const from = starts[i]!;
        const to = from + (i === starts.length - 1 ? n - i * length : length);
        sum += sums[s]![to]! - sums[s]![from]!;
        rows += counts[s]![to]! - counts[s]![from]!;
      }
      value += rows === 0 ? 0 : (of.weights[s]! * sum) / rows;
    }
    return value;
  });
}

/** Running sums by stratum over the rows, and once more around by a block's length. */
function prefixes(
  of: UnitValues,
  length: number,
  strata: number,
  value: (row: number) => number,
): Float64Array[] {
  const n = of.values.length;
  return Array.from({ length: strata }, (_, s) => {
    const out = new Float64Array(n + length + 1);
    for (let i = 0; i < n + length; i++) {
      const row = i % n;
      const mine = of.strata === null || of.strata[row] === s;
      out[i + 1] = out[i]! + (mine ? value(row) : 0);
    }
    return out;
  });
}

/** The paired difference b - a with blocks. */
export function pairedBlockBootstrap(
  a: UnitValues,
  b: UnitValues,
  block: number,
  options: BootstrapOptions,
): PairedDifference {
  const difference = subtract(a, b);
  const level = options.level ?? LEVEL;
  return { ...summary(difference, blockResample(difference, block, options), level), level };
}

/** The score with its interval, with blocks. */
export function blockScoreInterval(
  values: UnitValues,
  block: number,
  options: BootstrapOptions,
): ScoreInterval & { readonly standard_error: number } {
  const draws = blockResample(values, block, options);
  const { difference, ...rest } = summary(values, draws, options.level ?? LEVEL);
  return { score: difference, ...rest, units: values.values.length };
}
