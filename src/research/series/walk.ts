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

/** Validation blocks that are scored; together they are the newest 60% of the part. */
const FOLDS = 5;
const FIRST_SHARE = 0.4;
/**
 * Where the block before them starts. It is predicted for the rules of the first scored block
 * (threshold, weights of a blend, calibration), which may come from older rows only.
 */
const WARM_UP_SHARE = 0.28;
/** Evaluators kept, each with its own cache of predictions; the oldest goes. */
const KEPT = 8;

export interface WalkTask {
  readonly metric: ClassificationMetric;
  readonly classes: readonly string[];
  readonly horizon: number;
}

/**
 * The warm-up block and the scored ones, or at a lower fidelity the newest of these, two at least.
 * Blocks' edges move with the seed, so that seeds differ even for a learner without any luck: by
 * what other rows to fit on do to a score.
 */
export function seriesFolds(
  rows: number,
  window: number,
  horizon: number,
  fidelity: number,
  seed: number,
): PlacedFold[] {
  const all = allRows(rows);
  const gap = { purge: horizon, embargo: embargoOf(horizon) };
  const walk = { ...gap, window: window === 0 ? undefined : window };
  const blocks = walkForwardFolds(all, { ...walk, folds: FOLDS, first_share: FIRST_SHARE, seed });
  const older = all.subarray(0, blocks[0]!.validation[0]!);
  const warm_up = walkForwardFolds(older, {
    ...walk,
    folds: 1,
    first_share: WARM_UP_SHARE / FIRST_SHARE,
  });
  const scored = blocks.slice(-Math.max(2, Math.ceil(fidelity * FOLDS)));
  return [...warm_up, ...scored].map((fold, f) => {
    // Where no row is old enough for a block before them, the first scored one takes its place.
    const forward = f === 0 ? "warm_up" : "block";
    const key = `w${window}b${fold.validation[0]}`;
    const purge = gap.purge + gap.embargo;
    return { ...fold, repeat: 0, key, train_scored: fold === scored.at(-1), forward, purge };
  });
}

/** Rows that the last fold can be fitted on: what a window is compared with. */
export const fittedRowsMax = (rows: number, horizon: number): number =>
  rows - Math.ceil((rows * (1 - FIRST_SHARE)) / FOLDS) - horizon - embargoOf(horizon);

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
      folds: (seed, fidelity) =>
        seriesFolds(this.fitter.part.rows, window, horizon, fidelity, seed),
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
