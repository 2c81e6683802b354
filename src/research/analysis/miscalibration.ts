/**
 * miscalibration: would a slope and an offset a class, fitted on other rows, make the
 * probabilities cost less logarithmic loss? Thresholds do not care, but blends, offsets by context
 * and anyone who reads a probability do.
 */
import type { Failure } from "../types.ts";
import { type AnalysisInput, argmaxRows, logLosses, rightDecisions, rowWeights } from "./input.ts";
import { LOSS_MIN, LOSS_PART_MIN } from "./limits.ts";
import { applyRecalibration, fitRecalibration, logOutputs } from "./recalibrate.ts";
import { pairedEffect, partOfRow } from "./statistics.ts";

const PARTS = 2;

export function findMiscalibration(input: AnalysisInput): Failure | null {
  const classes = input.classes.length;
  const logs = logOutputs(input.outputs);
  const better = new Float64Array(logs.length);
  const slopes: number[] = [];
  for (let part = 0; part < PARTS; part++) {
    const map = fitRecalibration(logs, input.label, classes, (i) => partOfRow(i, PARTS) !== part);
    slopes.push(map.slope);
    const mapped = applyRecalibration(logs, map);
    for (let i = 0; i < input.rows; i++) {
      if (partOfRow(i, PARTS) !== part) continue;
      for (let c = 0; c < classes; c++) better[i * classes + c] = mapped[i * classes + c]!;
    }
  }
  const before = logLosses(input.outputs, input.label, classes);
  const after = logLosses(better, input.label, classes);
  const even = new Float64Array(input.rows).fill(1 / input.rows);
  const none = new Int32Array(input.rows);
  const gain = pairedEffect(
    before.map((loss, i) => loss - after[i]!),
    even,
    none,
    1,
  );
  const mean = before.reduce((a, b) => a + b, 0) / input.rows;
  const margin = Math.max(LOSS_PART_MIN * mean, LOSS_MIN);
  const slope = slopes.reduce((a, b) => a + b, 0) / slopes.length;
  return {
    kind: "miscalibration",
    strength: gain.standard_error > 0 ? (gain.difference - margin) / gain.standard_error : 0,
    potential: input.score_kind === "log_loss" ? Math.max(0, gain.difference) : decisionGain(),
    text:
      `Probabilities are ${slope < 1 ? "too sure" : "too timid"} (slope ${slope.toFixed(2)}): ` +
      `recalibration saves ${gain.difference.toFixed(4)} +- ${gain.standard_error.toFixed(4)} ` +
      "of logarithmic loss a row.",
    evidence: { slope, loss_gain: gain.difference, standard_error: gain.standard_error },
  };

  /** What the recalibrated largest class would bring over the present decisions. */
  function decisionGain(): number {
    const now = rightDecisions(input, input.decisions);
    const then = rightDecisions(input, argmaxRows(better, classes));
    const d = then.map((right, i) => right - now[i]!);
    return Math.max(0, pairedEffect(d, rowWeights(input), input.label, classes).difference);
  }
}
