/**
 * The outputs of a tabular trial, row-major (search rows, 2 * classes): a row's mean out-of-fold
 * probabilities over the repeats, then by class the share of repeats that decide for it. From them
 * alone scores are compared: decisions are not the most probable class once a threshold is tuned.
 */
import { invariant } from "../../core/errors.ts";
import type { ClassificationMetric, UnitValues } from "../evaluation/metrics.ts";
import { unitValues } from "../evaluation/metrics.ts";

/** Mean out-of-fold probabilities, row-major (rows, classes); NaN in rows no fold has covered. */
export function outputProbabilities(outputs: Float32Array, classes: number): Float32Array {
  const rows = outputs.length / (2 * classes);
  const out = new Float32Array(rows * classes);
  for (let i = 0; i < rows; i++)
    out.set(outputs.subarray(2 * i * classes, (2 * i + 1) * classes), i * classes);
  return out;
}

/** Class that most repeats decide for by row; the first of equals, -1 in rows not covered. */
export function outputDecisions(outputs: Float32Array, classes: number): Int32Array {
  const rows = outputs.length / (2 * classes);
  const out = new Int32Array(rows).fill(-1);
  for (let i = 0; i < rows; i++) {
    const at = (2 * i + 1) * classes;
    let most = 0;
    for (let c = 0; c < classes; c++)
      if (outputs[at + c]! > most) {
        most = outputs[at + c]!;
        out[i] = c;
      }
  }
  return out;
}

/** Rows that some fold has covered: at a fidelity below 1 not all are. */
export function coveredRows(outputs: Float32Array, classes: number): Uint32Array {
  const rows: number[] = [];
  for (let i = 0; i * 2 * classes < outputs.length; i++)
    if (!Number.isNaN(outputs[2 * i * classes]!)) rows.push(i);
  return Uint32Array.from(rows);
}

/** The score as weighted means of values by row, averaged over repeats: what a bootstrap draws. */
export function outputValues(
  metric: ClassificationMetric,
  outputs: Float32Array,
  label: Int32Array,
  classes: number,
  rows: Uint32Array,
): UnitValues {
  invariant(outputs.length === label.length * 2 * classes, "outputs are of the same rows");
  const own = Int32Array.from(rows, (row) => label[row]!);
  const probabilities = new Float32Array(rows.length * classes);
  rows.forEach((row, i) => {
    const at = 2 * row * classes;
    probabilities.set(outputs.subarray(at, at + classes), i * classes);
  });
  const values = unitValues(metric, own, { probabilities, decisions: null }, classes);
  if (metric === "log_loss" || metric === "auc") return values;
  // Hits: the share of repeats that decide for the row's class instead of the most probable one.
  const hits = Float64Array.from(rows, (row, i) => outputs[(2 * row + 1) * classes + own[i]!]!);
  return { ...values, values: hits };
}
