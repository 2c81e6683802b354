/**
 * Error analysis of a series model: the tabular checks on the rows that the walk-forward folds have
 * covered, and the data scale. Checks that need fits of their own draw rows at random, which would
 * let neighbours tell each other's overlapping labels: they are left out. Strengths, which count
 * rows as independent, are brought down to what the overlap leaves.
 */
import { analyseTabular } from "../analysis/analyse.ts";
import type { AnalysisInput, Rival, ScoreKind } from "../analysis/input.ts";
import { STRENGTH_MIN } from "../analysis/limits.ts";
import type { ClassificationMetric } from "../evaluation/metrics.ts";
import { coveredRows, outputDecisions, outputProbabilities } from "../tabular/outputs.ts";
import type { Part } from "../tabular/part.ts";
import type { PartFitter } from "../tabular/part-fitter.ts";
import type { Failure, PairedDifference, Trial, TrialOutcome } from "../types.ts";
import { seriesOf, withoutWindow } from "./configuration.ts";
import { findIdleRows } from "./data-scale.ts";
import { wholeOutputs } from "./walk.ts";

const SCORE_KINDS: Record<ClassificationMetric, ScoreKind> = {
  balanced_accuracy: "balanced_accuracy",
  accuracy: "accuracy",
  hit_rate: "accuracy",
  log_loss: "log_loss",
  auc: "log_loss",
};
const RIVALS_MAX = 4;

/** What the analysis needs of the domain. */
export interface AnalysedSeries {
  readonly metric: ClassificationMetric;
  readonly rows_max: number;
  readonly task: { readonly series: { readonly horizon: number } | null };
  readonly series: { readonly data: { readonly classes: readonly string[] } };
  compare(a: TrialOutcome, b: TrialOutcome, seed: number): PairedDifference;
}

export async function analyseSeries(
  fitter: PartFitter,
  domain: AnalysedSeries,
  best: Trial,
  trials: readonly Trial[],
): Promise<Failure[]> {
  const overlap = Math.sqrt(domain.task.series!.horizon);
  const found = await analyseTabular(inputOf(fitter, domain, best, trials));
  const kept = found
    .map((failure) => ({ ...failure, strength: failure.strength / overlap }))
    .filter((failure) => failure.strength >= STRENGTH_MIN);
  const idle = findIdleRows(best, trials, domain.rows_max, errorOf(domain, best, trials));
  return idle === null ? kept : [idle, ...kept];
}

/** Standard error of a comparison with the best trial; 0 where there is nothing to compare with. */
function errorOf(domain: AnalysedSeries, best: Trial, trials: readonly Trial[]): number {
  const other = trials.find((t) => t.index !== best.index && t.outcome !== null);
  if (other === undefined) return 0;
  return domain.compare(other.outcome!, best.outcome!, 1).standard_error;
}

function inputOf(
  fitter: PartFitter,
  domain: AnalysedSeries,
  best: Trial,
  trials: readonly Trial[],
): AnalysisInput {
  const { part, matrix } = fitter;
  const { classes } = part;
  const outcome = best.outcome!;
  const outputs = wholeOutputs(outcome.outputs, part);
  const rows = coveredRows(outputs, classes);
  const columns = part.features.columns;
  const { train_score } = outcome.figures;
  const all = outputDecisions(outputs, classes);
  return {
    rows: rows.length,
    classes: domain.series.data.classes,
    label: Int32Array.from(rows, (row) => part.label[row]!),
    score_kind: SCORE_KINDS[domain.metric],
    score: outcome.score,
    train_score: typeof train_score === "number" ? train_score : null,
    loco_score: null,
    outputs: probabilitiesOf(outputs, rows, classes),
    decisions: Int32Array.from(rows, (row) => all[row]!),
    configuration: withoutWindow(seriesOf(best.spec.configuration)),
    rivals: rivalsOf(best, trials, rows, part),
    context: null,
    contexts: [],
    pipeline: null,
    time: Float64Array.from(rows, (row) => part.time![row]!),
    feature_names: columns.map((column) => column.name),
    features: columns.map((_, f) => {
      const values = matrix.base.values.subarray(f * part.rows, (f + 1) * part.rows);
      return Float32Array.from(rows, (row) => values[row]!);
    }),
    levels: matrix.base.levels,
    importance: null,
    probe: null,
  };
}

function probabilitiesOf(outputs: Float32Array, rows: Uint32Array, classes: number): Float32Array {
  const all = outputProbabilities(outputs, classes);
  const out = new Float32Array(rows.length * classes);
  rows.forEach((row, i) => {
    out.set(all.subarray(row * classes, (row + 1) * classes), i * classes);
  });
  return out;
}

/** The best trials of other learners that cover the same rows. */
function rivalsOf(best: Trial, trials: readonly Trial[], rows: Uint32Array, part: Part): Rival[] {
  const { classes } = part;
  const learners = (trial: Trial) =>
    seriesOf(trial.spec.configuration)
      .members.map((member) => member.learner)
      .sort()
      .join("+");
  const seen = new Set([learners(best)]);
  const rivals: Rival[] = [];
  const done = trials
    .filter((t) => t.outcome?.outputs.length === rows.length * 2 * classes)
    .sort((a, b) => b.outcome!.score - a.outcome!.score || a.index - b.index);
  for (const trial of done) {
    const { outputs, score } = trial.outcome!;
    if (rivals.length === RIVALS_MAX) break;
    if (seen.has(learners(trial))) continue;
    seen.add(learners(trial));
    rivals.push({
      configuration: withoutWindow(seriesOf(trial.spec.configuration)),
      score,
      outputs: probabilitiesOf(wholeOutputs(outputs, part), rows, classes),
    });
  }
  return rivals;
}
