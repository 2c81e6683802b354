/**
 * Residuals of the best model after recalibration: what is left of each class's indicator, with
 * its variance under the model. Score tests (context, drift, interactions, pipeline) ask whether
 * something the model did not use still tells these residuals; none of them needs a fit.
 */
import { recalibrated } from "./recalibrate.ts";
import { solvePositive } from "./statistics.ts";

export interface Residuals {
  readonly rows: number;
  readonly classes: number;
  /** 1[label = c] - q, row-major (rows, classes). */
  readonly values: Float64Array;
  /** q (1 - q), same shape. */
  readonly variances: Float64Array;
  /** Recalibrated probabilities q, same shape. */
  readonly probabilities: Float64Array;
}

/** Least probability in a variance: a row that was sure and wrong must not count as infinite. */
const PROBABILITY_MIN = 0.005;

export function residualsOf(
  outputs: ArrayLike<number>,
  label: Int32Array,
  classes: number,
): Residuals {
  const probabilities = recalibrated(outputs, label, classes);
  const values = new Float64Array(probabilities.length);
  const variances = new Float64Array(probabilities.length);
  for (let i = 0; i < label.length; i++) {
    for (let c = 0; c < classes; c++) {
      const k = i * classes + c;
      const q = Math.min(1 - PROBABILITY_MIN, Math.max(PROBABILITY_MIN, probabilities[k]!));
      values[k] = (label[i] === c ? 1 : 0) - probabilities[k]!;
      variances[k] = q * (1 - q);
    }
  }
  return { rows: label.length, classes, values, variances, probabilities };
}

/** Classes whose residuals are looked at: the second of two is the first's mirror. */
export const freeClasses = (classes: number): number[] =>
  classes === 2 ? [1] : [...Array(classes).keys()];

/**
 * Residuals of one class with every linear trend in `columns` (and a constant) taken out, as one
 * weighted least-squares step: main effects that the model left are not mistaken for the products
 * of their features.
 */
export function withoutMainEffects(
  residuals: Residuals,
  of: number,
  columns: readonly Float32Array[],
): Float64Array {
  const { rows, classes, values, variances } = residuals;
  const d = columns.length + 1;
  const at = (j: number, i: number) => (j === 0 ? 1 : columns[j - 1]![i]!);
  const matrix = new Float64Array(d * d);
  const right = new Float64Array(d);
  const row = new Float64Array(d);
  for (let i = 0; i < rows; i++) {
    const v = variances[i * classes + of]!;
    const r = values[i * classes + of]!;
    for (let j = 0; j < d; j++) row[j] = at(j, i);
    for (let a = 0; a < d; a++) {
      right[a]! += r * row[a]!;
      const va = v * row[a]!;
      for (let b = 0; b <= a; b++) matrix[a * d + b]! += va * row[b]!;
    }
  }
  const beta = solvePositive(matrix, right, 1e-6);
  const out = new Float64Array(rows);
  for (let i = 0; i < rows; i++) {
    let fit = beta[0]!;
    for (let j = 1; j < d; j++) fit += beta[j]! * columns[j - 1]![i]!;
    out[i] = values[i * classes + of]! - variances[i * classes + of]! * fit;
  }
  return out;
}
