/**
 * One set of probabilities from the members' (paper 6.4, 9): a weighted mean, a vote of their
 * decisions, or weights by greedy selection with replacement (Caruana et al. 2004), which starts
 * with the best member and adds the one that helps most until none does.
 */
import type { TabularConfiguration } from "./configuration.ts";
import { type DecisionRule, decideRow, fitOffsets, tuneWeights } from "./decide.ts";
import { exactExp, exactLog, PROBABILITY_MIN } from "./exact-math.ts";
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
  /**
   * By member the power of its probabilities with the best log loss: forests are too unsure and
   * long boosting too sure of itself, and the surer one would decide alone.
   */
  readonly powers: Float64Array;
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
  const one = new Float64Array(members.length).fill(1);
  if (members.length === 1)
    return { weights: Float64Array.of(1), levels: [], powers: one, votes: null };
  const none = { context: new Int32Array(data.label.length), contexts: 1 };
  const powers = Float64Array.from(members, (p) => fitPower(p, data, rows));
  const sharp = members.map((p, m) => sharpened(p, powers[m]!, data.classes, rows));
  const levels = sharp.map((p) => fitOffsets({ ...data, ...none, probabilities: p }, rows, 0));
  if (configuration.combination === "greedy") {
    const weights = greedyWeights(sharp, levels, data, rows);
    return { weights, levels, powers, votes: null };
  }
  const total = given.reduce((a, b) => a + b, 0);
  const weights = given.map((w) => w / total);
  if (configuration.combination === "weighted") return { weights, levels, powers, votes: null };
  const tuned = configuration.decision.rule === "tuned";
  const votes = sharp.map((probabilities) => ({
    weights: tuned
      ? tuneWeights({ ...data, probabilities }, rows, score)
      : new Float64Array(data.classes).fill(1),
    byContext: null,
  }));
  return { weights, levels, powers, votes };
}

/** Powers tried: from much flatter to much sharper. */
const POWER_RANGE = [exactLog(0.2), exactLog(6)] as const;
const POWER_STEPS = 12;
/** Rows that a power is fitted on at most: one number needs no more. */
const POWER_ROWS_MAX = 2000;
const GOLDEN = (Math.sqrt(5) - 1) / 2;

/** The power with the least log loss on `rows`, by golden section over its logarithm. */
function fitPower(
  p: Float32Array,
  data: Omit<Labelled, "probabilities">,
  rows: Uint32Array,
): number {
  const { classes, label } = data;
  const step = Math.max(1, Math.ceil(rows.length / POWER_ROWS_MAX));
  const some = rows.filter((_, i) => i % step === 0);
  const logs = new Float64Array(some.length * classes);
  some.forEach((row, i) => {
    for (let c = 0; c < classes; c++)
      logs[i * classes + c] = exactLog(Math.max(PROBABILITY_MIN, p[row * classes + c]!));
  });
  const loss = (logPower: number) => {
    const power = exactExp(logPower);
    let total = 0;
    for (let i = 0; i < some.length; i++) {
      const own = logs[i * classes + label[some[i]!]!]!;
      let sum = 0;
      for (let c = 0; c < classes; c++) sum += exactExp(power * (logs[i * classes + c]! - own));
      total += exactLog(sum);
    }
    return total;
  };
  let [low, high]: [number, number] = [...POWER_RANGE];
  let a = high - GOLDEN * (high - low);
  let b = low + GOLDEN * (high - low);
  let [atA, atB] = [loss(a), loss(b)];
  for (let k = 0; k < POWER_STEPS; k++) {
    if (atA <= atB) {
      high = b;
      [b, atB] = [a, atA];
      a = high - GOLDEN * (high - low);
      atA = loss(a);
    } else {
      low = a;
      [a, atA] = [b, atB];
      b = low + GOLDEN * (high - low);
      atB = loss(b);
    }
  }
  return exactExp((low + high) / 2);
}

/** `rows` of the probabilities to a power, summing to 1 again; the others are 0. */
function sharpened(p: Float32Array, power: number, classes: number, rows: Uint32Array) {
  const out = new Float32Array(p.length);
  for (const row of rows) {
    const at = row * classes;
    let sum = 0;
    for (let c = 0; c < classes; c++) {
      const value = exactExp(power * exactLog(Math.max(PROBABILITY_MIN, p[at + c]!)));
      out[at + c] = value;
      sum += value;
    }
    for (let c = 0; c < classes; c++) out[at + c]! /= sum;
  }
  return out;
}

/** Writes the combined probabilities of `rows` into `out`. */
export function applyCombination(
  combination: Combination,
  members: readonly Float32Array[],
  classes: number,
  rows: Uint32Array,
  out: Float32Array,
): void {
  const { weights, levels, powers, votes } = combination;
  if (members.length === 1) {
    for (const row of rows)
      out.set(members[0]!.subarray(row * classes, (row + 1) * classes), row * classes);
    return;
  }
  for (const row of rows) out.fill(0, row * classes, (row + 1) * classes);
  members.forEach((raw, m) => {
    if (weights[m] === 0) return;
    const p = sharpened(raw, powers[m]!, classes, rows);
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
