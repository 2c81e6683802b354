/**
 * Intervals for rows that come in clusters: contexts that are held out whole, or copies of a row.
 * What varies from one draw to the next is then which clusters there are, so whole clusters are
 * resampled. A class may be missing from a draw of few clusters; so the score is taken to first
 * order (each cluster's influence on it), which keeps every class's weight. Few clusters spread less
 * than their source: deviations are widened by sqrt(G / (G - 1)) and from the normal to Student's t
 * (Hesterberg 2015, "What teachers should know about the bootstrap": expanded percentiles), with
 * degrees of freedom from how many equally large clusters these are worth (Kish 1965), in the class
 * that has the fewest. A class of a single cluster says nothing of others: its rows stand for
 * themselves, and no interval is narrower than that of rows.
 */
import { invariant } from "../../core/errors.ts";
import type { PairedDifference, ScoreInterval } from "../types.ts";
import {
  type BootstrapOptions,
  DRAWS,
  LEVEL,
  resample,
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
  /** Of the strata that several clusters have, the least; 0: there is none. */
  readonly degrees: number;
  /** Strata that one cluster alone has. */
  readonly lone: readonly number[];
}

/** `strata`: by row, those with a weight of their own in the score; null: one. */
export function countClusters(clusters: Int32Array, strata: Int32Array | null): ClusterCount {
  const sizes = new Map<number, Map<number, number>>();
  clusters.forEach((c, row) => {
    const s = strata === null ? 0 : strata[row]!;
    const own = sizes.get(s) ?? new Map<number, number>();
    sizes.set(s, own.set(c, (own.get(c) ?? 0) + 1));
  });
  let degrees = Number.POSITIVE_INFINITY;
  const lone: number[] = [];
  for (const [stratum, own] of sizes) {
    let [rows, squares] = [0, 0];
    for (const n of own.values()) [rows, squares] = [rows + n, squares + n * n];
    if (own.size < 2) lone.push(stratum);
    else degrees = Math.min(degrees, Math.max(1, Math.floor((rows * rows) / squares) - 1));
  }
  const count = new Set(clusters).size;
  return { clusters: count, degrees: Number.isFinite(degrees) ? degrees : 0, lone };
}

/**
 * What each cluster, and each row of a stratum that one cluster alone has, adds to the score's
 * deviation from its expectation; the sum of either is 0.
 */
function influences(of: UnitValues, clusters: Int32Array, lone: readonly number[]): Float64Array {
  const sums = new Float64Array(of.weights.length);
  const counts = new Float64Array(of.weights.length);
  const stratum = (row: number) => (of.strata === null ? 0 : of.strata[row]!);
  of.values.forEach((value, row) => {
    sums[stratum(row)]! += value;
    counts[stratum(row)]!++;
  });
  const by = new Map<number, number>();
  const rows: number[] = [];
  of.values.forEach((value, row) => {
    const s = stratum(row);
    const own = (of.weights[s]! * (value - sums[s]! / counts[s]!)) / counts[s]!;
    if (lone.includes(s)) rows.push(own);
    else by.set(clusters[row]!, (by.get(clusters[row]!) ?? 0) + own);
  });
  const unbiased = Math.sqrt(by.size / (by.size - 1));
  return Float64Array.from([...Array.from(by.values(), (own) => unbiased * own), ...rows]);
}

function bounds(of: UnitValues, clusters: Int32Array, options: BootstrapOptions) {
  invariant(clusters.length === of.values.length, "every row needs its cluster");
  const { degrees, lone } = countClusters(clusters, of.strata);
  invariant(degrees > 0, "a single cluster has no spread");
  const own = influences(of, clusters, lone);
  const count = options.draws ?? DRAWS;
  const level = options.level ?? LEVEL;
  const random = new Draw(seedFor(options.seed, "clusters"));
  const score = scoreOf(of);
  const draws = resampledMeans(own, count, random).map((mean) => score + own.length * mean);
  const found = summary(of, draws, level);
  const tail = (1 + level) / 2;
  const wider = tQuantile(tail, degrees) / normalQuantile(tail);
  const rows = summary(of, resample(of, options), level);
  return {
    ...found,
    standard_error: Math.max(found.standard_error, rows.standard_error),
    low: Math.min(rows.low, score + wider * (found.low - score)),
    high: Math.max(rows.high, score + wider * (found.high - score)),
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
