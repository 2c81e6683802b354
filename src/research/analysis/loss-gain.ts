/**
 * Two models' probabilities compared on the same rows: the gain in logarithmic loss after each is
 * recalibrated (so that being too sure is not mistaken for knowing less), less the smallest effect
 * of interest, over its standard error; and what it brings in the score.
 */
import { type AnalysisInput, logLosses } from "./input.ts";
import { LOSS_MIN, LOSS_PART_MIN } from "./limits.ts";
import { recalibrated } from "./recalibrate.ts";
import { pairedEffect } from "./statistics.ts";

export interface LossGain {
  /** (gain - smallest gain of interest) / standard error. */
  readonly z: number;
  /** Logarithmic loss a row saved by b over a. */
  readonly gain: number;
  readonly standard_error: number;
  /** Smallest gain of interest, in the same units. */
  readonly margin: number;
  /** Score of b minus score of a, decided by the largest (class-balanced) probability. */
  readonly score_gain: number;
}

/** Decisions that suit the score: classes weighed alike for balanced accuracy. */
function suitedRight(
  probabilities: Float64Array,
  label: Int32Array,
  counts: Float64Array,
  balanced: boolean,
): Float64Array {
  const classes = counts.length;
  const right = new Float64Array(label.length);
  for (let i = 0; i < label.length; i++) {
    let top = 0;
    let best = -1;
    for (let c = 0; c < classes; c++) {
      const p = probabilities[i * classes + c]! / (balanced ? Math.max(1, counts[c]!) : 1);
      if (p > best) {
        best = p;
        top = c;
      }
    }
    right[i] = top === label[i] ? 1 : 0;
  }
  return right;
}

/** Gain of b over a, both (labels, classes). */
export function lossGain(
  input: Pick<AnalysisInput, "classes" | "score_kind">,
  label: Int32Array,
  a: ArrayLike<number>,
  b: ArrayLike<number>,
): LossGain {
  const classes = input.classes.length;
  const [p, q] = [recalibrated(a, label, classes), recalibrated(b, label, classes)];
  const [before, after] = [logLosses(p, label, classes), logLosses(q, label, classes)];
  const even = new Float64Array(label.length).fill(1 / label.length);
  const gain = pairedEffect(
    before.map((loss, i) => loss - after[i]!),
    even,
    new Int32Array(label.length),
    1,
  );
  const mean = before.reduce((x, y) => x + y, 0) / label.length;
  const margin = Math.max(LOSS_PART_MIN * mean, LOSS_MIN);
  const counts = new Float64Array(classes);
  for (const y of label) counts[y]!++;
  const present = counts.filter((n) => n > 0).length;
  const balanced = input.score_kind === "balanced_accuracy";
  const [rightA, rightB] = [p, q].map((probabilities) =>
    suitedRight(probabilities, label, counts, balanced),
  );
  let score = 0;
  for (let i = 0; i < label.length; i++) {
    const weight = balanced ? 1 / (present * counts[label[i]!]!) : 1 / label.length;
    score += weight * (rightB![i]! - rightA![i]!);
  }
  return {
    z: gain.standard_error > 0 ? (gain.difference - margin) / gain.standard_error : 0,
    gain: gain.difference,
    standard_error: gain.standard_error,
    margin,
    score_gain: input.score_kind === "log_loss" ? gain.difference : score,
  };
}
