/**
 * Evaluators of a series: one part, one set of fitted columns, and for each window the purged
 * walk-forward folds that fit on no more than its newest rows.
 */
import type { Learners } from "../../native/learner-types.ts";
import type { ClassificationMetric } from "../evaluation/metrics.ts";
import { walkForwardFolds } from "../evaluation/walk-forward.ts";
import { Evaluator } from "../tabular/evaluate.ts";
import type { PlacedFold } from "../tabular/folds.ts";
import { allRows, type Part } from "../tabular/part.ts";
import { PartFitter } from "../tabular/part-fitter.ts";
import { embargoOf } from "./series-data.ts";

/** Validation blocks; together they are the newest 60% of the part. */
export const FOLDS = 5;
export const FIRST_SHARE = 0.4;
/** Evaluators kept, each with its own cache of predictions; the oldest goes. */
const KEPT = 8;

export interface WalkTask {
  readonly metric: ClassificationMetric;
  readonly classes: readonly string[];
  readonly horizon: number;
}

/** All folds, or at a lower fidelity the newest ones, two at least. */
export function seriesFolds(
  rows: number,
  window: number,
  horizon: number,
  fidelity: number,
): PlacedFold[] {
  const folds = walkForwardFolds(allRows(rows), {
    folds: FOLDS,
    purge: horizon,
    embargo: embargoOf(horizon),
    window: window === 0 ? undefined : window,
    first_share: FIRST_SHARE,
  });
  const wanted = Math.max(2, Math.ceil(fidelity * folds.length));
  const placed = folds.map((fold, f) => {
    const train_scored = f === folds.length - 1;
    return { ...fold, repeat: 0, key: `w${window}f${f}`, train_scored };
  });
  return placed.slice(-wanted);
}

/** Rows that the last fold can be fitted on: what a window is compared with. */
export const fittedRowsMax = (rows: number, horizon: number): number =>
  seriesFolds(rows, 0, horizon, 1).at(-1)!.train.length;

export class WalkForward {
  readonly fitter: PartFitter;
  private readonly task: WalkTask;
  private readonly evaluators = new Map<number, Evaluator>();

  constructor(learners: Learners, part: Part, task: WalkTask) {
    this.fitter = new PartFitter(learners, part);
    this.task = task;
  }

  /** The evaluator of a window; 0 = all rows. */
  of(window: number): Evaluator {
    const known = this.evaluators.get(window);
    if (known !== undefined) {
      this.evaluators.delete(window); // to the end: the order of the map is the order of use
      this.evaluators.set(window, known);
      return known;
    }
    const { metric, classes, horizon } = this.task;
    const made = new Evaluator(this.fitter, {
      metric,
      classes,
      contexts: [],
      folds: (_seed, fidelity) => seriesFolds(this.fitter.part.rows, window, horizon, fidelity),
      loco: () => [],
    });
    this.evaluators.set(window, made);
    for (const old of this.evaluators.keys()) {
      if (this.evaluators.size <= KEPT) break;
      this.evaluators.delete(old);
    }
    return made;
  }

  close(): void {
    this.fitter.close();
    this.evaluators.clear();
  }
}

/**
 * A trial's outputs without the rows before the first validation block, which no fold covers: blocks
 * follow each other up to the end of the part.
 */
export function coveredOutputs(outputs: Float32Array): Float32Array {
  const first = outputs.findIndex((value) => !Number.isNaN(value));
  return first <= 0 ? outputs : outputs.slice(first);
}

/** The same outputs for all rows of the part; NaN where no fold covers them. */
export function wholeOutputs(outputs: Float32Array, part: Pick<Part, "rows" | "classes">) {
  const whole = new Float32Array(part.rows * 2 * part.classes).fill(Number.NaN);
  whole.set(outputs, whole.length - outputs.length);
  return whole;
}
