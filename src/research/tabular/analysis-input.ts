/**
 * What error analysis is given: the best trial's out-of-fold outputs with its rows, rivals of other
 * learners, and a probe that fits on the search part.
 */
import { sha256Hex } from "../../core/bytes.ts";
import type { AnalysisInput, Probe, Rival, ScoreKind } from "../analysis/input.ts";
import type { ClassificationMetric } from "../evaluation/metrics.ts";
import { stratifiedFolds } from "../evaluation/split.ts";
import type { TaskData } from "../table/types.ts";
import type { Trial } from "../types.ts";
import type { TabularConfiguration } from "./configuration.ts";
import type { Evaluator } from "./evaluate.ts";
import { RIVALS_MAX } from "./limits.ts";
import { coveredRows, outputDecisions, outputProbabilities } from "./outputs.ts";
import { freeMember } from "./part-fitter.ts";

const SCORE_KINDS: Record<ClassificationMetric, ScoreKind> = {
  balanced_accuracy: "balanced_accuracy",
  accuracy: "accuracy",
  hit_rate: "accuracy",
  log_loss: "log_loss",
  auc: "log_loss",
};
/** Folds and fits of a probe depend on nothing that a trial can choose. */
const PROBE_SEED = 1;

const tabular = (trial: Trial): TabularConfiguration =>
  trial.spec.configuration as unknown as TabularConfiguration;

const numberOrNull = (value: unknown): number | null => (typeof value === "number" ? value : null);

/** The analysis of `best`, whose outputs are kept. */
export function analysisInput(
  evaluator: Evaluator,
  data: TaskData,
  best: Trial,
  trials: readonly Trial[],
): AnalysisInput {
  const { part, matrix } = evaluator.fitter;
  const { classes } = part;
  const outcome = best.outcome!;
  const features = part.features.columns;
  return {
    rows: part.rows,
    classes: data.classes,
    label: part.label,
    score_kind: SCORE_KINDS[evaluator.task.metric],
    score: outcome.score,
    train_score: numberOrNull(outcome.figures.train_score),
    loco_score: numberOrNull(outcome.figures.loco_score),
    outputs: outputProbabilities(outcome.outputs, classes),
    decisions: outputDecisions(outcome.outputs, classes),
    configuration: tabular(best),
    rivals: rivalsOf(best, trials, part.rows, classes),
    context: part.context,
    contexts: data.contexts,
    pipeline: part.pipeline,
    time: part.time,
    feature_names: features.map((column) => column.name),
    features: features.map((_, f) =>
      matrix.base.values.subarray(f * part.rows, (f + 1) * part.rows),
    ),
    levels: matrix.base.levels,
    importance: null,
    probe: probeOf(evaluator),
  };
}

/** The best trial of each other combination of learners, best first. */
function rivalsOf(best: Trial, trials: readonly Trial[], rows: number, classes: number): Rival[] {
  const learners = (trial: Trial) =>
    tabular(trial)
      .members.map((member) => member.learner)
      .sort()
      .join("+");
  const seen = new Set([learners(best)]);
  const rivals: Rival[] = [];
  const done = trials
    .filter((t) => t.outcome !== null && t.outcome.outputs.length === rows * 2 * classes)
    .filter((t) => coveredRows(t.outcome!.outputs, classes).length === rows)
    .sort((a, b) => b.outcome!.score - a.outcome!.score || a.index - b.index);
  for (const trial of done) {
    if (rivals.length === RIVALS_MAX) break;
    const name = learners(trial);
    if (seen.has(name)) continue;
    seen.add(name);
    rivals.push({
      configuration: tabular(trial),
      score: trial.outcome!.score,
      outputs: outputProbabilities(trial.outcome!.outputs, classes),
    });
  }
  return rivals;
}

/** Out-of-fold probabilities of some positions, from fits on these positions alone. */
function probeOf(evaluator: Evaluator): Probe {
  const { fitter } = evaluator;
  const { part } = fitter;
  const settings = { seed: PROBE_SEED, threads: 1 };
  return async ({ configuration, positions, folds, train_share = 1, without }) => {
    const { classes } = part;
    const at = new Map(Array.from(positions, (row, i) => [row, i]));
    const out = new Float32Array(positions.length * classes);
    const left = new Set(without ?? []);
    const weight = configuration.members.reduce((sum, member) => sum + member.weight, 0);
    const labelled = {
      label: part.label,
      classes: Array.from({ length: classes }, (_, c) => String(c)),
      group: part.group,
      context: part.context,
      contexts: [],
    };
    const parted = stratifiedFolds(labelled, positions, { folds, repeats: 1 }, PROBE_SEED);
    for (const fold of parted) {
      const rows = shareOf(fold.train, part.label, train_share).filter((row) => !left.has(row));
      const key = `probe${sha256Hex(new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength))}`;
      for (const member of configuration.members) {
        const { rows: options, target } = configuration;
        const fitted = await fitter.fitMember(member, options, target, { rows, key }, settings);
        const p = await fitter.predict(fitted, member, fold.validation, settings);
        freeMember(fitted);
        fold.validation.forEach((row, i) => {
          for (let c = 0; c < classes; c++)
            out[at.get(row)! * classes + c]! += (p[i * classes + c]! * member.weight) / weight;
        });
      }
    }
    return out;
  };
}

/** A share of each class's rows. */
function shareOf(rows: Uint32Array, label: Int32Array, share: number): Uint32Array {
  if (share >= 1) return rows;
  const counts = new Map<number, number>();
  for (const row of rows) counts.set(label[row]!, (counts.get(label[row]!) ?? 0) + 1);
  const taken = new Map<number, number>();
  return rows.filter((row) => {
    const c = label[row]!;
    const before = taken.get(c) ?? 0;
    taken.set(c, before + 1);
    // Evenly spread through the file, so that an ordered file is thinned and not cut.
    return Math.floor((before + 1) * share) > Math.floor(before * share) || counts.get(c)! < 3;
  });
}
