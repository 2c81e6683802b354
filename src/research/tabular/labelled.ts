/**
 * Out-of-fold probabilities beside the labels: what thresholds, offsets, calibration and blend
 * weights are fitted on. Rows are numbers within the part, 0 to n - 1.
 */

export interface Labelled {
  readonly classes: number;
  /** Row-major (rows, classes). */
  readonly probabilities: Float32Array;
  /** Class index by row. */
  readonly label: Int32Array;
  /** Context index by row, -1 = unknown; null without contexts. */
  readonly context: Int32Array | null;
  /** Number of contexts; 0 without. */
  readonly contexts: number;
}

/** A score of decisions, from counts[truth * classes + decided]; higher is better. */
export interface ConfusionScore {
  /** Each class counts the same: its best weights are 1 / share. */
  readonly balanced: boolean;
  of(counts: Float64Array): number;
}

/** Mean probability of each class over `rows`. */
export function meanProbabilities(data: Labelled, rows: Uint32Array): Float64Array {
  const mean = new Float64Array(data.classes);
  for (const i of rows)
    for (let c = 0; c < data.classes; c++) mean[c]! += data.probabilities[i * data.classes + c]!;
  for (let c = 0; c < data.classes; c++) mean[c]! /= Math.max(1, rows.length);
  return mean;
}
