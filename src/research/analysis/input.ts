/**
 * What error analysis of a tabular model is given: the out-of-fold outputs of the best trial and
 * of its rivals, the search rows they belong to, and a probe for the few checks that need fits of
 * their own. Positions are 0..rows-1 of the search part; gate and sealed rows are never here.
 */
import { invariant } from "../../core/errors.ts";
import type { TabularConfiguration } from "../tabular/configuration.ts";
import type { Json } from "../types.ts";

/** What the score counts: right decisions (by class or all alike) or the logarithmic loss. */
export type ScoreKind = "balanced_accuracy" | "accuracy" | "log_loss";

/** Another trial of the run with its out-of-fold outputs. */
export interface Rival {
  readonly configuration: TabularConfiguration;
  readonly score: number;
  readonly outputs: Float32Array;
}

/**
 * Out-of-fold probabilities of another configuration on `positions`, row-major (positions,
 * classes), from `folds` stratified fits on these positions alone, before any decision rule. The
 * folds depend on positions and `folds` only, so that two probes can be compared row by row.
 */
export type Probe = (request: ProbeRequest) => Promise<Float32Array>;

export interface ProbeRequest {
  readonly configuration: TabularConfiguration;
  readonly positions: Uint32Array;
  readonly folds: number;
  /** Train on this part of each training side; 1 = all. */
  readonly train_share?: number;
  /** Positions that are predicted but never trained on. */
  readonly without?: Uint32Array;
}

export interface AnalysisInput {
  readonly rows: number;
  readonly classes: readonly string[];
  readonly label: Int32Array;
  readonly score_kind: ScoreKind;
  /** Score of the best trial. */
  readonly score: number;
  /** Score on its own training rows; null where it was not kept. */
  readonly train_score: number | null;
  /** Score where whole contexts were left out; null without contexts. */
  readonly loco_score: number | null;
  /** Out-of-fold probabilities of the best trial, (rows, classes). */
  readonly outputs: Float32Array;
  /** The class that the best trial decides on by row, after thresholds and offsets. */
  readonly decisions: Int32Array;
  /** Configuration of the best trial. */
  readonly configuration: TabularConfiguration;
  readonly rivals: readonly Rival[];
  readonly context: Int32Array | null;
  readonly contexts: readonly string[];
  readonly pipeline: Int32Array | null;
  readonly time: Float64Array | null;
  /** Names and values of the features by column; NaN = missing; categories as their code. */
  readonly feature_names: readonly string[];
  readonly features: readonly Float32Array[];
  /** Number of levels by column; 0 = a number. */
  readonly levels: ArrayLike<number>;
  /** Share of the gain by column in the best model; null where it was not kept. */
  readonly importance: ArrayLike<number> | null;
  readonly probe: Probe | null;
}

/** Evidence of a check: figures by name. */
export type Evidence = { readonly [name: string]: Json };

/** Row weights of the score: they sum to 1, so that a score is a weighted mean of row credits. */
export function rowWeights(input: AnalysisInput): Float64Array {
  const counts = classCounts(input);
  const present = counts.filter((n) => n > 0).length;
  const weight = new Float64Array(input.rows);
  for (let i = 0; i < input.rows; i++) {
    weight[i] =
      input.score_kind === "balanced_accuracy"
        ? 1 / (present * counts[input.label[i]!]!)
        : 1 / input.rows;
  }
  return weight;
}

export function classCounts(input: AnalysisInput): number[] {
  const counts = new Array<number>(input.classes.length).fill(0);
  for (const y of input.label) counts[y]!++;
  return counts;
}

/** Row credits of decisions: 1 where right. */
export function rightDecisions(input: AnalysisInput, decisions: Int32Array): Float64Array {
  const right = new Float64Array(input.rows);
  for (let i = 0; i < input.rows; i++) right[i] = decisions[i] === input.label[i] ? 1 : 0;
  return right;
}

/** Class of the largest output by row; the first of equals. */
export function argmaxRows(outputs: ArrayLike<number>, classes: number): Int32Array {
  const rows = outputs.length / classes;
  const best = new Int32Array(rows);
  for (let i = 0; i < rows; i++) {
    let top = 0;
    for (let c = 1; c < classes; c++) {
      if (outputs[i * classes + c]! > outputs[i * classes + top]!) top = c;
    }
    best[i] = top;
  }
  return best;
}

/** Probabilities below this count as this, so that one row cannot own a logarithmic loss. */
export const SMALLEST_PROBABILITY = 1e-4;

/** -log p(label) by row. */
export function logLosses(
  outputs: ArrayLike<number>,
  label: Int32Array,
  classes: number,
): Float64Array {
  const loss = new Float64Array(label.length);
  for (let i = 0; i < label.length; i++) {
    loss[i] = -Math.log(Math.max(outputs[i * classes + label[i]!]!, SMALLEST_PROBABILITY));
  }
  return loss;
}

export function checkInput(input: AnalysisInput): void {
  const cells = input.rows * input.classes.length;
  invariant(input.outputs.length === cells, "outputs have one probability a row and class");
  invariant(input.label.length === input.rows, "one label a row");
  invariant(input.decisions.length === input.rows, "one decision a row");
  for (const rival of input.rivals) {
    invariant(rival.outputs.length === cells, "rivals' outputs are of the same rows");
  }
  for (const column of input.features) {
    invariant(column.length === input.rows, "one feature value a row");
  }
}
