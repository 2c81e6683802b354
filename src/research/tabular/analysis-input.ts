/**
 * What error analysis is given: the best trial's out-of-fold outputs, the rows that its folds have
 * validated (in the order of time the oldest never are), rivals of other learners, and a probe that
 * fits on the search part.
 */
import type { AnalysisInput, Rival, ScoreKind } from "../analysis/input.ts";
import type { ClassificationMetric } from "../evaluation/metrics.ts";
import type { TaskData } from "../table/types.ts";
import type { Trial } from "../types.ts";
import type { TabularConfiguration } from "./configuration.ts";
import { type Evaluator, packRows } from "./evaluate.ts";
import { RIVALS_MAX } from "./limits.ts";
import { coveredRows, outputDecisions, outputProbabilities } from "./outputs.ts";
import type { Prober } from "./probe.ts";

const SCORE_KINDS: Record<ClassificationMetric, ScoreKind> = {
  balanced_accuracy: "balanced_accuracy",
  accuracy: "accuracy",
  hit_rate: "accuracy",
  log_loss: "log_loss",
  auc: "log_loss",
};
const tabular = (trial: Trial): TabularConfiguration =>
  trial.spec.configuration as unknown as TabularConfiguration;

const numberOrNull = (value: unknown): number | null => (typeof value === "number" ? value : null);

/** The analysis of `best`, whose outputs are kept. */
export function analysisInput(
  evaluator: Evaluator,
  prober: Prober,
  data: TaskData,
  best: Trial,
  trials: readonly Trial[],
): AnalysisInput {
  const { part, matrix } = evaluator.fitter;
  const { classes } = part;
  const { score, figures, outputs } = best.outcome!;
  const rows = coveredRows(outputs, classes);
  const decisions = outputDecisions(outputs, classes);
  const ints = (values: Int32Array | null) =>
    values === null ? null : Int32Array.from(rows, (row) => values[row]!);
  const columns = part.features.columns;
  return {
    rows: rows.length,
    classes: data.classes,
    label: ints(part.label)!,
    score_kind: SCORE_KINDS[evaluator.task.metric],
    score,
    train_score: numberOrNull(figures.train_score),
    loco_score: numberOrNull(figures.loco_score),
    outputs: packRows(outputProbabilities(outputs, classes), rows, classes),
    decisions: ints(decisions)!,
    configuration: tabular(best),
    rivals: rivalsOf(best, trials, rows, classes),
    context: ints(part.context),
    contexts: data.contexts,
    pipeline: ints(part.pipeline),
    time: part.time === null ? null : Float64Array.from(rows, (row) => part.time![row]!),
    feature_names: columns.map((column) => column.name),
    features: columns.map((_, f) => {
      const values = matrix.base.values.subarray(f * part.rows, (f + 1) * part.rows);
      return rows.length === part.rows ? values : Float32Array.from(rows, (row) => values[row]!);
    }),
    levels: matrix.base.levels,
    importance: null,
    probe: prober.over(rows),
  };
}

/** The best trial of each other combination of learners that covers the rows, best first. */
function rivalsOf(
  best: Trial,
  trials: readonly Trial[],
  rows: Uint32Array,
  classes: number,
): Rival[] {
  const learners = (trial: Trial) =>
    tabular(trial)
      .members.map((member) => member.learner)
      .sort()
      .join("+");
  const seen = new Set([learners(best)]);
  const rivals: Rival[] = [];
  const { length } = best.outcome!.outputs;
  const done = trials
    .filter((t) => t.outcome !== null && t.outcome.outputs.length === length)
    .filter(({ outcome }) =>
      rows.every((row) => !Number.isNaN(outcome!.outputs[2 * row * classes]!)),
    )
    .sort((a, b) => b.outcome!.score - a.outcome!.score || a.index - b.index);
  for (const trial of done) {
    if (rivals.length === RIVALS_MAX) break;
    const name = learners(trial);
    if (seen.has(name)) continue;
    seen.add(name);
    rivals.push({
      configuration: tabular(trial),
      score: trial.outcome!.score,
      outputs: packRows(outputProbabilities(trial.outcome!.outputs, classes), rows, classes),
    });
  }
  return rivals;
}
