/**
 * Intervals for rows that come in clusters: contexts that are held out whole, or copies of a row.
 * What varies from one draw to the next is then which clusters there are, so whole clusters are
 * resampled. A class may be missing from a draw of few clusters; so the score is taken to first
 * order (each cluster's influence on it), which keeps every class's weight. Few clusters spread less
 * than their source: deviations are widened by sqrt(G / (G - 1)) and from the normal to Student's t
 * (Hesterberg 2015, "What teachers should know about the bootstrap": expanded percentiles), with
 * degrees of freedom from how many equally large clusters these are worth (Kish 1965).
 */
import { invariant } from "../../core/errors.ts";
import type { PairedDifference, ScoreInterval } from "../types.ts";
import {
  type BootstrapOptions,
  DRAWS,
  LEVEL,
  resampledMeans,
  subtract,
  summary,
} from "./bootstrap.ts";
import { Draw, seedFor } from "./draw.ts";
import { scoreOf, type UnitValues } from "./metrics.ts";
import { normalQuantile, tQuantile } from "./quantiles.ts";

/** Number of clusters, and the degrees of freedom that an interval of them has. */
export interface ClusterCount {
  readonly clusters: number;
  /** 0: a single cluster, of which no interval can be made. */
  readonly degrees: number;
}

export function countClusters(clusters: Int32Array): ClusterCount {
  const sizes = new Map<number, number>();
  for (const c of clusters) sizes.set(c, (sizes.get(c) ?? 0) + 1);
  let squares = 0;
  for (const n of sizes.values()) squares += n * n;
  const worth = (clusters.length * clusters.length) / Math.max(1, squares);
  const degrees = sizes.size < 2 ? 0 : Math.max(1, Math.floor(worth) - 1);
  return { clusters: sizes.size, degrees };
}

/** What each cluster adds to the score's deviation from its expectation; the sum is 0. */
function influences(of: UnitValues, clusters: Int32Array): Float64Array {
  const sums = new Float64Array(of.weights.length);
  const counts = new Float64Array(of.weights.length);
  const stratum = (row: number) => (of.strata === null ? 0 : of.strata[row]!);
  of.values.forEach((value, row) => {
    sums[stratum(row)]! += value;
    counts[stratum(row)]!++;
  });
  const by = new Map<number, number>();
  of.values.forEach((value, row) => {
    const s = stratum(row);
    const own = (of.weights[s]! * (value - sums[s]! / counts[s]!)) / counts[s]!;
    by.set(clusters[row]!, (by.get(clusters[row]!) ?? 0) + own);
  });
  return Float64Array.from(by.values());
}

function bounds(of: UnitValues, clusters: Int32Array, options: BootstrapOptions) {
  invariant(clusters.length === of.values.length, "every row needs its cluster");
  const { degrees } = countClusters(clusters);
  invariant(degrees > 0, "a single cluster has no spread");
  const own = influences(of, clusters);
  const n = own.length;
  const count = options.draws ?? DRAWS;
  const level = options.level ?? LEVEL;
  const random = new Draw(seedFor(options.seed, "clusters"));
  const unbiased = Math.sqrt(n / (n - 1));
  const score = scoreOf(of);
  const draws = resampledMeans(own, count, random).map((mean) => score + n * unbiased * mean);
  const found = summary(of, draws, level);
  const tail = (1 + level) / 2;
  const wider = tQuantile(tail, degrees) / normalQuantile(tail);
  return {
    ...found,
    low: score + wider * (found.low - score),
    high: score + wider * (found.high - score),
    level,
  };
}

/** The score with its interval; `range`: what the metric can be at all. */
export function clusterScoreInterval(
  values: UnitValues,
  clusters: Int32Array,
  range: readonly [number, number],
  options: BootstrapOptions,
): ScoreInterval {
  const { difference, low, high } = bounds(values, clusters, options);
  return {
    score: difference,
    low: Math.max(range[0], low),
    high: Math.min(range[1], high),
    units: values.values.length,
  };
}

/** Paired difference b - a on the same rows. */
export function pairedClusterBootstrap(
  a: UnitValues,
  b: UnitValues,
  clusters: Int32Array,
  range: readonly [number, number],
  options: BootstrapOptions,
): PairedDifference {
  const found = bounds(subtract(a, b), clusters, options);
  const widest = range[1] - range[0];
  return { ...found, low: Math.max(-widest, found.low), high: Math.min(widest, found.high) };
}
