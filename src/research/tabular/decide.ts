/**
 * From probabilities to decisions (paper 6.4): the class with the highest w[c] * m[context][c] * p[c].
 * A binary threshold t is the weight (1 - t) / t on the second class; per-context offsets of the
 * log-odds are the multipliers m, drawn towards 1, under the one global w; per-context thresholds
 * (the control) replace w in each context. Fitted on rows that are not decided on.
 */
import type { DecisionOptions } from "./configuration.ts";
import { exactExp, exactLog, PROBABILITY_MIN } from "./exact-math.ts";
import { type ConfusionScore, type Labelled, meanProbabilities } from "./labelled.ts";

/** Fitted decision rule; `byContext` is row-major (contexts, classes), null without contexts. */
export interface DecisionRule {
  readonly weights: Float64Array;
  readonly byContext: Float64Array | null;
}

/** Rounds of coordinate search over the class weights; the gain of a third is below the noise. */
const SWEEPS = 2;
/**
 * Rows of a class at which its tuned weight and the one from the mean probabilities count the same.
 * On 13 real sets the latter alone beats any tuning without it, by most where classes are several
 * and small; these two values are the best of 0 to 1000, if by little.
 */
const TUNED_ROWS_HALF = { two: 100, several: 300 };
/** Iterations of the offsets' scaling; each at least halves the remaining error in practice. */
const SCALING_ROUNDS = 30;
/** Change of every multiplier, as a share of it, below which scaling ends. */
const SCALED = 1e-3;

/** Decides one row. p holds the row's probabilities from `at` on. */
export function decideRow(
  rule: DecisionRule,
  p: Float32Array,
  at: number,
  classes: number,
  context: number,
): number {
  let best = 0;
  let bestValue = -1;
  const base = context * classes;
  for (let c = 0; c < classes; c++) {
    const m = rule.byContext === null || context < 0 ? 1 : rule.byContext[base + c]!;
    const value = rule.weights[c]! * m * p[at + c]!;
    if (value > bestValue) {
      bestValue = value;
      best = c;
    }
  }
  return best;
}

/** Fits the rule on `rows`; argmax needs nothing unless contexts move it. */
export function fitDecision(
  data: Labelled,
  rows: Uint32Array,
  options: DecisionOptions,
  score: ConfusionScore,
): DecisionRule {
  const flat = new Float64Array(data.classes).fill(1);
  if (options.context === "thresholds") return contextThresholds(data, rows, options, score);
  if (options.context === "none" || data.context === null) {
    const weights = options.rule === "tuned" ? tuneWeights(data, rows, score) : flat;
    return { weights, byContext: null };
  }
  const byContext = fitOffsets(data, rows, options.shrinkage);
  if (options.rule === "argmax") return { weights: flat, byContext };
  const moved = applyMultipliers(data, rows, byContext);
  return { weights: tuneWeights({ ...data, probabilities: moved }, rows, score), byContext };
}

/** Probabilities times their context's multipliers, summing to 1 again; other rows are left 0. */
function applyMultipliers(data: Labelled, rows: Uint32Array, byContext: Float64Array) {
  const { classes, probabilities, context } = data;
  const moved = new Float32Array(probabilities.length);
  for (const i of rows) {
    let sum = 0;
    for (let c = 0; c < classes; c++) {
      const value = probabilities[i * classes + c]! * byContext[context![i]! * classes + c]!;
      moved[i * classes + c] = value;
      sum += value;
    }
    if (sum > 0) for (let c = 0; c < classes; c++) moved[i * classes + c]! /= sum;
  }
  return moved;
}

/**
 * Multipliers by context at which the mean probability of each class equals its share there, with
 * `shrinkage` further rows whose labels are as the model says: they draw small contexts to 1.
 * Iterative scaling (Darroch and Ratcliff 1972), whose likelihood never falls; + * / only.
 */
export function fitOffsets(data: Labelled, rows: Uint32Array, shrinkage: number): Float64Array {
  const { classes, probabilities, label, context } = data;
  const out = new Float64Array(data.contexts * classes).fill(1);
  const byContext: number[][] = Array.from({ length: data.contexts }, () => []);
  for (const i of rows) if (context![i]! >= 0) byContext[context![i]!]!.push(i);
  byContext.forEach((members, g) => {
    if (members.length === 0) return;
    const target = new Float64Array(classes);
    const prior = new Float64Array(classes);
    for (const i of members) {
      target[label[i]!]! += 1;
      for (let c = 0; c < classes; c++) prior[c]! += probabilities[i * classes + c]!;
    }
    for (let c = 0; c < classes; c++) {
      prior[c] = Math.max(PROBABILITY_MIN, prior[c]! / members.length);
      target[c]! += shrinkage * prior[c]!;
    }
    const m = out.subarray(g * classes, (g + 1) * classes);
    for (let round = 0; round < SCALING_ROUNDS; round++)
      if (scaleOnce(m, members, probabilities, target, prior, shrinkage) < SCALED) break;
  });
  return out;
}

/** One step of the scaling; returns the largest relative change of a multiplier. */
function scaleOnce(
  m: Float64Array,
  members: readonly number[],
  probabilities: Float32Array,
  target: Float64Array,
  prior: Float64Array,
  shrinkage: number,
): number {
  const classes = m.length;
  const expected = new Float64Array(classes);
  const add = (p: Float32Array | Float64Array, at: number, weight: number) => {
    let sum = 0;
    for (let c = 0; c < classes; c++) sum += m[c]! * p[at + c]!;
    if (sum <= 0) return;
    for (let c = 0; c < classes; c++) expected[c]! += (weight * m[c]! * p[at + c]!) / sum;
  };
  for (const i of members) add(probabilities, i * classes, 1);
  add(prior, 0, shrinkage);
  let moved = 0;
  for (let c = 0; c < classes; c++) {
    if (expected[c] === 0) continue;
    const factor = Math.max(1e-3, target[c]! / expected[c]!);
    m[c]! *= factor;
    moved = Math.max(moved, Math.abs(factor - 1));
  }
  return moved;
}

/** The control: each context's own tuned weights; contexts without two classes get the global. */
function contextThresholds(
  data: Labelled,
  rows: Uint32Array,
  options: DecisionOptions,
  score: ConfusionScore,
): DecisionRule {
  const { classes, context, label } = data;
  const weights =
    options.rule === "tuned" ? tuneWeights(data, rows, score) : new Float64Array(classes).fill(1);
  const byContext = new Float64Array(data.contexts * classes).fill(1);
  for (let g = 0; g < data.contexts; g++) {
    const own = rows.filter((i) => context![i] === g);
    if (new Set(own.length > 1 ? Array.from(own, (i) => label[i]!) : []).size < 2) continue;
    const tuned = tuneWeights(data, own, score, 0);
    for (let c = 0; c < classes; c++) byContext[g * classes + c] = tuned[c]! / weights[c]!;
  }
  return { weights, byContext };
}

/**
 * Weights that are best for the score on `rows`: exact line searches over one class's weight at a
 * time, from 1 / mean probability (the best weights of calibrated probabilities for the balanced
 * accuracy), towards which few rows draw the result again.
 */
export function tuneWeights(
  data: Labelled,
  rows: Uint32Array,
  score: ConfusionScore,
  rowsHalf = data.classes === 2 ? TUNED_ROWS_HALF.two : TUNED_ROWS_HALF.several,
): Float64Array {
  const { classes } = data;
  const mean = meanProbabilities(data, rows);
  const centre = Float64Array.from(mean, (p) => 1 / Math.max(PROBABILITY_MIN, p));
  const start = score.balanced ? centre : new Float64Array(classes).fill(1);
  const weights = Float64Array.from(start);
  const counts = new Float64Array(classes);
  for (const i of rows) counts[data.label[i]!]! += 1;
  const order = Array.from({ length: classes }, (_, c) => c).sort(
    (a, b) => counts[a]! - counts[b]!,
  );
  const moving = classes === 2 ? [1] : order;
  for (let sweep = 0; sweep < (classes === 2 ? 1 : SWEEPS); sweep++)
    for (const c of moving) {
      if (counts[c] === 0) continue;
      const found = lineSearch(data, rows, weights, c, score);
      const part = counts[c]! / (counts[c]! + rowsHalf);
      weights[c] = exactExp(part * exactLog(found) + (1 - part) * exactLog(weights[c]!));
    }
  return weights;
}

/**
 * The weight of class c that is best with the others fixed. Row i becomes c once the weight passes
 * the ratio of its best other value to its own p: all rows sorted by it, one walk tries every cut.
 * The score along the walk is averaged over neighbouring cuts, since its highest single point is
 * mostly luck.
 */
function lineSearch(
  data: Labelled,
  rows: Uint32Array,
  weights: Float64Array,
  c: number,
  score: ConfusionScore,
): number {
  const { classes, probabilities, label } = data;
  const n = rows.length;
  const ratio = new Float64Array(n);
  const other = new Int32Array(n);
  for (let k = 0; k < n; k++) {
    const at = rows[k]! * classes;
    let best = -1;
    for (let j = 0; j < classes; j++) {
      if (j === c) continue;
      const value = weights[j]! * probabilities[at + j]!;
      if (value > best) {
        best = value;
        other[k] = j;
      }
    }
    ratio[k] = Math.max(best, PROBABILITY_MIN) / Math.max(probabilities[at + c]!, PROBABILITY_MIN);
  }
  const order = sortedOrder(ratio);
  const counts = new Float64Array(classes * classes);
  for (let k = 0; k < n; k++) counts[label[rows[k]!]! * classes + other[k]!]! += 1;
  const along = new Float64Array(n + 1);
  along[0] = score.of(counts);
  for (let step = 0; step < n; step++) {
    const k = order[step]!;
    const truth = label[rows[k]!]! * classes;
    counts[truth + other[k]!]! -= 1;
    counts[truth + c]! += 1;
    along[step + 1] = score.of(counts);
  }
  const cut = bestSmoothed(along, order, ratio);
  const low = cut === 0 ? ratio[order[0]!]! / 2 : ratio[order[cut - 1]!]!;
  const high = cut === n ? ratio[order[n - 1]!]! * 2 : ratio[order[cut]!]!;
  return Math.sqrt(low * high);
}

/** Indices by ascending key; equal keys by index. */
function sortedOrder(key: Float64Array): Uint32Array {
  const order = new Uint32Array(key.length);
  for (let i = 0; i < order.length; i++) order[i] = i;
  return order.sort((a, b) => key[a]! - key[b]! || a - b);
}

/** Half width of the window over cuts, as a share of the rows' square root. */
const WINDOW = 0.5;

/** The cut with the best windowed mean, among cuts that separate different ratios. */
function bestSmoothed(along: Float64Array, order: Uint32Array, ratio: Float64Array): number {
  const n = order.length;
  const half = Math.floor(WINDOW * Math.sqrt(n));
  const sums = new Float64Array(n + 2);
  for (let i = 0; i <= n; i++) sums[i + 1] = sums[i]! + along[i]!;
  let best = 0;
  let bestValue = -Infinity;
  for (let cut = 0; cut <= n; cut++) {
    if (cut > 0 && cut < n && ratio[order[cut - 1]!] === ratio[order[cut]!]) continue;
    const from = Math.max(0, cut - half);
    const to = Math.min(n, cut + half);
    const value = (sums[to + 1]! - sums[from]!) / (to - from + 1);
    if (value > bestValue) {
      bestValue = value;
      best = cut;
    }
  }
  return best;
}
