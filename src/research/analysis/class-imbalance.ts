/**
 * class_imbalance: does the decision rule sit in the wrong place for the score? Probabilities
 * divided by a power of the class shares move every threshold on one line; the power is chosen on
 * one half of the rows and judged on the other, so that a good place is not found by luck.
 */
import type { Failure } from "../types.ts";
import {
  type AnalysisInput,
  argmaxRows,
  classCounts,
  rightDecisions,
  rowWeights,
} from "./input.ts";
import { type Effect, pairedEffect, partOfRow } from "./statistics.ts";

/** Powers of the class shares; 1 decides as if all classes were equally frequent. */
const POWERS = [-0.5, -0.25, 0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1, 1.125, 1.25, 1.5];
const PARTS = 2;

function decide(input: AnalysisInput, shares: readonly number[], power: number): Int32Array {
  const classes = input.classes.length;
  const scale = shares.map((s) => (s > 0 ? s ** -power : 0));
  const out = new Int32Array(input.rows);
  for (let i = 0; i < input.rows; i++) {
    let top = 0;
    let best = -1;
    for (let c = 0; c < classes; c++) {
      const value = input.outputs[i * classes + c]! * scale[c]!;
      if (value > best) {
        best = value;
        top = c;
      }
    }
    out[i] = top;
  }
  return out;
}

/** Gain of the cross-fitted decision rule over the present one, and the powers chosen. */
function shiftedRule(input: AnalysisInput): { gain: Effect; powers: number[] } {
  const weight = rowWeights(input);
  const counts = classCounts(input);
  const shares = counts.map((n) => n / input.rows);
  // Outputs are means over repeats, and decisions are not: like is compared with like.
  const now = rightDecisions(input, argmaxRows(input.outputs, input.classes.length));
  const tried = POWERS.map((power) => rightDecisions(input, decide(input, shares, power)));
  const scores = POWERS.map(() => new Float64Array(PARTS));
  for (let i = 0; i < input.rows; i++) {
    const part = partOfRow(i, PARTS);
    for (let k = 0; k < tried.length; k++) scores[k]![part]! += weight[i]! * tried[k]![i]!;
  }
  const present = new Float64Array(PARTS);
  for (let i = 0; i < input.rows; i++) present[partOfRow(i, PARTS)]! += weight[i]! * now[i]!;
  // Chosen for a part by the other parts' rows; the present rule (-1) wins ties.
  const chosen = [...Array(PARTS).keys()].map((part) => {
    const other = (sums: Float64Array) =>
      sums.reduce((sum, value, p) => (p === part ? sum : sum + value), 0);
    let best = -1;
    let top = other(present);
    scores.forEach((sums, k) => {
      if (other(sums) > top + 1e-12) {
        top = other(sums);
        best = k;
      }
    });
    return best;
  });
  const d = new Float64Array(input.rows);
  for (let i = 0; i < input.rows; i++) {
    const k = chosen[partOfRow(i, PARTS)]!;
    d[i] = k < 0 ? 0 : tried[k]![i]! - now[i]!;
  }
  const gain = pairedEffect(d, weight, input.label, input.classes.length);
  return { gain, powers: chosen.map((k) => (k < 0 ? 0 : POWERS[k]!)) };
}

/** Recall by class and the two classes most often confused. */
function confusion(input: AnalysisInput): { recalls: number[]; worst: string } {
  const classes = input.classes.length;
  const table = new Float64Array(classes * classes);
  for (let i = 0; i < input.rows; i++) table[input.label[i]! * classes + input.decisions[i]!]!++;
  const counts = classCounts(input);
  const recalls = counts.map((n, c) => (n > 0 ? table[c * classes + c]! / n : Number.NaN));
  let worst = "";
  let share = 0;
  for (let a = 0; a < classes; a++) {
    for (let b = 0; b < classes; b++) {
      const part = counts[a]! > 0 ? table[a * classes + b]! / counts[a]! : 0;
      if (a !== b && part > share) {
        share = part;
        worst = `${input.classes[a]} as ${input.classes[b]} in ${(100 * part).toFixed(1)}%`;
      }
    }
  }
  return { recalls, worst };
}

export function findClassImbalance(input: AnalysisInput): Failure | null {
  // A rule that was tuned for the score sits where it should as far as the rows can tell.
  const { rule, context } = input.configuration.decision;
  if (input.score_kind === "log_loss" || rule === "tuned" || context !== "none") return null;
  const { gain, powers } = shiftedRule(input);
  const { recalls, worst } = confusion(input);
  const counts = classCounts(input);
  return {
    kind: "class_imbalance",
    strength: gain.z,
    potential: Math.max(0, gain.difference + gain.standard_error),
    text:
      `The decision rule is misplaced for classes of ${counts.join(" / ")} rows: moving it gains ` +
      `${gain.difference.toFixed(4)} +- ${gain.standard_error.toFixed(4)}` +
      (worst ? `; worst: ${worst}.` : "."),
    evidence: {
      gain: gain.difference,
      standard_error: gain.standard_error,
      powers,
      recalls: recalls.map((r) => (Number.isNaN(r) ? null : r)),
      counts,
    },
  };
}
