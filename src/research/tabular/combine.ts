/**
 * One set of probabilities from the members' (paper 6.4, 9): a weighted mean, a vote of their
 * decisions, or weights by greedy selection with replacement (Caruana et al. 2004), which starts
 * with the best member and adds the one that helps most until none does.
 */
import type { TabularConfiguration } from "./configuration.ts";
import { type DecisionRule, decideRow, fitOffsets, tuneWeights } from "./decide.ts";
import { exactLog, PROBABILITY_MIN } from "./exact-math.ts";
import type { ConfusionScore, Labelled } from "./labelled.ts";

/** Fitted combination. */
export interface Combination {
  /** By member; sum 1. */
  readonly weights: Float64Array;
  /**
   * By member a multiplier of each class's probability at which the means equal the classes'
   * shares: else a member fitted on weighted classes could not be averaged with one that is not.
   */
  readonly levels: readonly Float64Array[];
  /** For voting each member's own rule; else null. */
  readonly votes: readonly DecisionRule[] | null;
}

/** Picks of greedy selection: weights in steps of 1/20 at the finest. */
const GREEDY_PICKS = 20;
/** A pick must lower the loss by this share, else selection ends. */
const GREEDY_GAIN_MIN = 1e-4;
/** Part of a vote that the probability keeps: it breaks ties between equal votes. */
const TIE_SHARE = 0.01;

/** Fits the combination on `rows` of the members' probabilities. */
export function fitCombination(
  configuration: TabularConfiguration,
  members: readonly Float32Array[],
  data: Omit<Labelled, "probabilities">,
  rows: Uint32Array,
  score: ConfusionScore,
): Combination {
  const given = Float64Array.from(configuration.members, (m) => m.weight);
  if (members.length === 1) return { weights: Float64Array.of(1), levels: [], votes: null };
  const none = { context: new Int32Array(data.label.length), contexts: 1 };
  const levels = members.map((p) => fitOffsets({ ...data, ...none, probabilities: p }, rows, 0));
  if (configuration.combination === "greedy")
    return { weights: greedyWeights(members, levels, data, rows), levels, votes: null };
  const total = given.reduce((a, b) => a + b, 0);
  const weights = given.map((w) => w / total);
  if (configuration.combination === "weighted") return { weights, levels, votes: null };
  const tuned = configuration.decision.rule === "tuned";
  const votes = members.map((probabilities) => ({
    weights: tuned
      ? tuneWeights({ ...data, probabilities }, rows, score)
      : new Float64Array(data.classes).fill(1),
    byContext: null,
  }));
  return { weights, levels, votes };
}

/** Writes the combined probabilities of `rows` into `out`. */
export function applyCombination(
  combination: Combination,
  members: readonly Float32Array[],
  classes: number,
  rows: Uint32Array,
  out: Float32Array,
): void {
  const { weights, levels, votes } = combination;
  if (members.length === 1) {
    for (const row of rows)
      out.set(members[0]!.subarray(row * classes, (row + 1) * classes), row * classes);
    return;
  }
  for (const row of rows) out.fill(0, row * classes, (row + 1) * classes);
  members.forEach((p, m) => {
    if (weights[m] === 0) return;
    const share = weights[m]! * (votes === null ? 1 : TIE_SHARE);
    for (const row of rows) {
      const at = row * classes;
      let sum = 0;
      for (let c = 0; c < classes; c++) sum += levels[m]![c]! * p[at + c]!;
      if (sum <= 0) sum = 1;
      for (let c = 0; c < classes; c++) out[at + c]! += (share * levels[m]![c]! * p[at + c]!) / sum;
      if (votes !== null)
        out[at + decideRow(votes[m]!, p, at, classes, -1)]! += weights[m]! * (1 - TIE_SHARE);
    }
  });
}

/** A member's probability of each row's own class, at its level. */
function ownClass(p: Float32Array, level: Float64Array, label: Int32Array, rows: Uint32Array) {
  const classes = level.length;
  return Float64Array.from(rows, (row) => {
    let sum = 0;
    for (let c = 0; c < classes; c++) sum += level[c]! * p[row * classes + c]!;
    const y = label[row]!;
    return sum > 0 ? (level[y]! * p[row * classes + y]!) / sum : 1 / classes;
  });
}

/**
 * Weights that lower the log loss in which each class counts the same: it follows the balanced
 * accuracy but moves smoothly, so that few rows do not decide a pick.
 */
function greedyWeights(
  members: readonly Float32Array[],
  levels: readonly Float64Array[],
  data: Omit<Labelled, "probabilities">,
  rows: Uint32Array,
): Float64Array {
  const { classes, label } = data;
  const counts = new Float64Array(classes);
  for (const row of rows) counts[label[row]!]! += 1;
  const own = members.map((p, m) => ownClass(p, levels[m]!, label, rows));
  const rowWeight = Float64Array.from(rows, (row) => 1 / counts[label[row]!]!);
  const sum = new Float64Array(rows.length);
  const lossWith = (m: number, picks: number) => {
    let loss = 0;
    const p = own[m]!;
    for (let k = 0; k < sum.length; k++)
      loss -= rowWeight[k]! * exactLog(Math.max(PROBABILITY_MIN, (sum[k]! + p[k]!) / (picks + 1)));
    return loss;
  };
  const picked = new Float64Array(members.length);
  let best = Infinity;
  for (let picks = 0; picks < GREEDY_PICKS; picks++) {
    let chosen = -1;
    let bound = best * (1 - GREEDY_GAIN_MIN);
    for (let m = 0; m < members.length; m++) {
      const loss = lossWith(m, picks);
      if (loss < bound) {
        bound = loss;
        chosen = m;
      }
    }
    if (chosen < 0) break;
    best = bound;
    picked[chosen]! += 1;
    for (let k = 0; k < sum.length; k++) sum[k]! += own[chosen]![k]!;
  }
  const total = picked.reduce((a, b) => a + b, 0);
  return total === 0 ? picked.fill(1 / members.length) : picked.map((w) => w / total);
}
