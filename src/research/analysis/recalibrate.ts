/**
 * Probabilities brought to the labels by one slope and one offset a class: what error analysis
 * looks at after this are errors that no monotone correction of the outputs would mend. Class
 * weights in training, for example, shift every probability and are no failure by themselves.
 */
import { SMALLEST_PROBABILITY } from "./input.ts";

export interface Recalibration {
  /** Multiplies the log probabilities; below 1 the model was too sure, above 1 too timid. */
  readonly slope: number;
  /** Added to the log probability of each class. */
  readonly offsets: Float64Array;
}

/** Alternations of offsets and slope; both are convex and near their end after a few. */
const ALTERNATIONS = 12;
const SLOPE_MIN = 0.05;
const SLOPE_MAX = 20;

export function logOutputs(outputs: ArrayLike<number>): Float64Array {
  const logs = new Float64Array(outputs.length);
  for (let i = 0; i < logs.length; i++)
    logs[i] = Math.log(Math.max(outputs[i]!, SMALLEST_PROBABILITY));
  return logs;
}

/** softmax(slope * logs + offsets) of one row into `out`. */
function softmaxRow(
  logs: Float64Array,
  start: number,
  map: Recalibration,
  out: Float64Array,
): void {
  const classes = map.offsets.length;
  let top = Number.NEGATIVE_INFINITY;
  for (let c = 0; c < classes; c++) {
    out[c] = map.slope * logs[start + c]! + map.offsets[c]!;
    top = Math.max(top, out[c]!);
  }
  let sum = 0;
  for (let c = 0; c < classes; c++) {
    out[c] = Math.exp(out[c]! - top);
    sum += out[c]!;
  }
  for (let c = 0; c < classes; c++) out[c]! /= sum;
}

/** Fits by maximum likelihood on the rows that `use` keeps (all without it). */
export function fitRecalibration(
  logs: Float64Array,
  label: Int32Array,
  classes: number,
  use?: (row: number) => boolean,
): Recalibration {
  let slope = 1;
  const offsets = new Float64Array(classes);
  const rows: number[] = [];
  for (let i = 0; i < label.length; i++) if (!use || use(i)) rows.push(i);
  const q = new Float64Array(classes);
  // Half a row a class of prior keeps the offsets of absent classes finite.
  const counts = new Float64Array(classes).fill(0.5);
  for (const i of rows) counts[label[i]!]!++;
  const expected = new Float64Array(classes);
  for (let round = 0; round < ALTERNATIONS; round++) {
    expected.fill(0.5);
    // The prior of the slope: one row's worth of belief in 1.
    let gradient = 1 - slope;
    let curvature = 1;
    for (const i of rows) {
      softmaxRow(logs, i * classes, { slope, offsets }, q);
      let mean = 0;
      let square = 0;
      for (let c = 0; c < classes; c++) {
        const log = logs[i * classes + c]!;
        expected[c]! += q[c]!;
        mean += q[c]! * log;
        square += q[c]! * log * log;
      }
      gradient += logs[i * classes + label[i]!]! - mean;
      curvature += square - mean * mean;
    }
    if (round % 2 === 0) {
      for (let c = 0; c < classes; c++) offsets[c]! += Math.log(counts[c]! / expected[c]!);
    } else {
      slope = Math.min(SLOPE_MAX, Math.max(SLOPE_MIN, slope + gradient / curvature));
    }
  }
  return { slope, offsets };
}

export function applyRecalibration(logs: Float64Array, map: Recalibration): Float64Array {
  const classes = map.offsets.length;
  const out = new Float64Array(logs.length);
  const q = new Float64Array(classes);
  for (let start = 0; start < logs.length; start += classes) {
    softmaxRow(logs, start, map, q);
    out.set(q, start);
  }
  return out;
}

/** Probabilities recalibrated on their own rows: K parameters, so the optimism is K rows' worth. */
export function recalibrated(
  outputs: ArrayLike<number>,
  label: Int32Array,
  classes: number,
): Float64Array {
  const logs = logOutputs(outputs);
  return applyRecalibration(logs, fitRecalibration(logs, label, classes));
}
