/**
 * Metrics of predicted classes and probabilities. All scores are "higher is better": log loss has a
 * minus. Each is also given as values of single rows whose weighted means by stratum are the score
 * (`unitValues`), which is what the bootstrap resamples.
 */
import { MagnetError } from "../../core/errors.ts";
import { exactLog } from "../tabular/exact-math.ts";

export const CLASSIFICATION_METRICS = [
  "balanced_accuracy",
  "accuracy",
  "hit_rate",
  "log_loss",
  "auc",
] as const;
export type ClassificationMetric = (typeof CLASSIFICATION_METRICS)[number];

/** What a score can be. */
export const rangeOf = (metric: ClassificationMetric): readonly [number, number] =>
  metric === "log_loss" ? [Number.NEGATIVE_INFINITY, 0] : [0, 1];

/** What a model says of some rows. */
export interface Predictions {
  /** Class probabilities, row-major (rows, classes). */
  readonly probabilities: Float32Array;
  /** Decided class by row; null: the most probable. */
  readonly decisions: Int32Array | null;
}

/** A score as offset + sum over strata of weight x mean of the values in the stratum. */
export interface UnitValues {
  readonly values: Float64Array;
  /** Stratum by row, from 0; null = one. */
  readonly strata: Int32Array | null;
  /** By stratum. */
  readonly weights: readonly number[];
  readonly offset: number;
}

/** Least probability that log loss reckons with: one sure and wrong row must not be infinite. */
const PROBABILITY_MIN = 1e-7;
/** The same bits on every machine: a score that is computed again elsewhere must be this one. */
const logOf = (p: number): number => (Number.isNaN(p) ? p : exactLog(Math.max(PROBABILITY_MIN, p)));

/** Class with the highest probability by row; the first of equals. */
export function argmax(probabilities: Float32Array, classes: number): Int32Array {
  const out = new Int32Array(probabilities.length / classes);
  for (let row = 0; row < out.length; row++) {
    const at = row * classes;
    let best = 0;
    for (let c = 1; c < classes; c++)
      if (probabilities[at + c]! > probabilities[at + best]!) best = c;
    out[row] = best;
  }
  return out;
}

export const decisionsOf = (predictions: Predictions, classes: number): Int32Array =>
  predictions.decisions ?? argmax(predictions.probabilities, classes);

export function accuracy(label: Int32Array, decided: Int32Array): number {
  let right = 0;
  for (let row = 0; row < label.length; row++) if (decided[row] === label[row]) right++;
  return right / label.length;
}

/** Rows by true class (rows) and decided class (columns), row-major. */
export function confusion(label: Int32Array, decided: Int32Array, classes: number): Float64Array {
  const out = new Float64Array(classes * classes);
  for (let row = 0; row < label.length; row++) out[label[row]! * classes + decided[row]!]!++;
  return out;
}

/** Area under the ROC curve; several classes: the mean of one against the rest. */
export function auc(label: Int32Array, probabilities: Float32Array, classes: number): number {
  return scoreOf(aucValues(label, probabilities, classes));
}

/** The score that unit values stand for. */
export function scoreOf({ values, strata, weights, offset }: UnitValues): number {
  const sums = new Float64Array(weights.length);
  const counts = new Float64Array(weights.length);
  for (let i = 0; i < values.length; i++) {
    const s = strata === null ? 0 : strata[i]!;
    sums[s]! += values[i]!;
    counts[s]!++;
  }
  let score = offset;
  for (let s = 0; s < weights.length; s++)
    if (weights[s] !== 0) score += (weights[s]! * sums[s]!) / counts[s]!;
  return score;
}

export function score(
  metric: ClassificationMetric,
  label: Int32Array,
  predictions: Predictions,
  classes: number,
): number {
  return scoreOf(unitValues(metric, label, predictions, classes));
}

export function unitValues(
  metric: ClassificationMetric,
  label: Int32Array,
  predictions: Predictions,
  classes: number,
): UnitValues {
  if (label.length === 0)
    throw new MagnetError("NO_ROWS", "no rows to score", { hint: "give more rows" });
  if (metric === "log_loss") {
    const { probabilities } = predictions;
    const values = Float64Array.from(label, (c, row) => logOf(probabilities[row * classes + c]!));
    return { values, strata: null, weights: [1], offset: 0 };
  }
  if (metric === "auc") return aucValues(label, predictions.probabilities, classes);
  const decided = decisionsOf(predictions, classes);
  const values = Float64Array.from(label, (c, row) => (decided[row] === c ? 1 : 0));
  if (metric !== "balanced_accuracy") return { values, strata: null, weights: [1], offset: 0 };
  const present = new Uint8Array(classes);
  for (const c of label) present[c] = 1;
  const count = present.reduce((sum, one) => sum + one, 0);
  return {
    values,
    strata: label,
    weights: Array.from(present, (one) => one / count),
    offset: 0,
  };
}

/**
 * Placement values (DeLong 1988): for a row of the class the share of others that it ranks above,
 * for another row the share of the class that ranks above it. Both means are the area, so that their
 * sum less the area resamples it to first order.
 */
function aucValues(label: Int32Array, probabilities: Float32Array, classes: number): UnitValues {
  const rows = label.length;
  const counts = new Float64Array(classes);
  for (const c of label) counts[c]!++;
  const targets = classes === 2 ? [1] : [...counts.keys()];
  const ranked = targets.filter((c) => counts[c]! > 0 && counts[c]! < rows);
  const values = new Float64Array(rows);
  let area = 0;
  for (const c of ranked) {
    const order = Float64Array.from(
      { length: rows },
      (_, row) => probabilities[row * classes + c]!,
    );
    const inside = order.filter((_, row) => label[row] === c).sort();
    const outside = order.filter((_, row) => label[row] !== c).sort();
    for (let row = 0; row < rows; row++) {
      const p = order[row]!;
      if (label[row] === c) {
        const placement = shareBelow(outside, p);
        values[row]! += placement;
        area += placement / inside.length;
      } else {
        // Weighted by the row's class within "the rest", whose mean is taken by stratum.
        values[row]! += (1 - shareBelow(inside, p)) * (counts[label[row]!]! / outside.length);
      }
    }
  }
  const n = ranked.length;
  const weights = Array.from(counts, (count) => (count > 0 && n > 0 ? 1 / n : 0));
  return { values, strata: label, weights, offset: n > 0 ? -area / n : 0.5 };
}

/** Share of sorted values below p, equals counted half. */
function shareBelow(sorted: Float64Array, p: number): number {
  return (bound(sorted, p, false) + bound(sorted, p, true)) / (2 * sorted.length);
}

function bound(sorted: Float64Array, p: number, above: boolean): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const value = sorted[middle]!;
    if (value < p || (above && value === p)) low = middle + 1;
    else high = middle;
  }
  return low;
}
