/**
 * Scores a configuration on a part by repeated cross-validation. Members are fitted in each fold and
 * their predictions kept by content key, so that trials which differ in their decision rule, blend
 * or number of bags cost milliseconds. What is fitted on out-of-fold predictions is fitted on the
 * other folds of the repeat and applied to the held-out one.
 */
import { MagnetError } from "../../core/errors.ts";
import { type ClassificationMetric, scoreOf, unitValues } from "../evaluation/metrics.ts";
import type { EvaluateOptions, Json, TrialOutcome } from "../types.ts";
import { ByteCache } from "./cache.ts";
import type { Member, TabularConfiguration } from "./configuration.ts";
import type { PlacedFold } from "./folds.ts";
import { PREDICTION_CACHE_BYTES_MAX, TRAIN_ROWS_SCORED } from "./limits.ts";
import { coveredRows, outputDecisions, outputValues } from "./outputs.ts";
import {
  type FitSettings,
  freeMember,
  isDeterministic,
  memberKey,
  mixSeed,
  type PartFitter,
} from "./part-fitter.ts";
import { confusionScore } from "./scores.ts";
import {
  applySecondLevel,
  fitSecondLevel,
  type SecondLevel,
  type Targets,
} from "./second-level.ts";

/** What one bag of a member predicts in one fold. */
interface FoldPrediction {
  /** (validation rows, classes). */
  readonly probabilities: Float32Array;
  /** Balanced accuracy on training rows; NaN where it was not measured. */
  readonly train_score: number;
  /** What the fit took. */
  readonly cpu_s: number;
}

export interface EvaluatorTask {
  readonly metric: ClassificationMetric;
  readonly classes: readonly string[];
  readonly contexts: readonly string[];
  /** Folds at a fidelity, repeat by repeat; any rows may stay uncovered. */
  folds(seed: number, fidelity: number): readonly PlacedFold[];
  /** Folds that hold out whole contexts, for the score beside; empty: none at this seed. */
  loco(seed: number): readonly PlacedFold[];
  /** Where `folds` hold out whole contexts: folds that do not, for the score on contexts seen. */
  seen?(seed: number): readonly PlacedFold[];
}

export class Evaluator {
  readonly fitter: PartFitter;
  readonly task: EvaluatorTask;
  private readonly kept = new ByteCache<FoldPrediction>(PREDICTION_CACHE_BYTES_MAX);
  /** CPU seconds that a trial would have taken more without what was kept; trials are in turn. */
  private kept_s = 0;

  constructor(fitter: PartFitter, task: EvaluatorTask) {
    this.fitter = fitter;
    this.task = task;
  }

  get targets(): Targets {
    const { label, classes, context, contexts } = this.fitter.part;
    return { label, classes, context, contexts };
  }

  /** The outcome of a trial; gate and sealed rows are not in the part. */
  async evaluate(
    configuration: TabularConfiguration,
    seed: number,
    fidelity: number,
    options: EvaluateOptions,
  ): Promise<TrialOutcome> {
    const start = process.cpuUsage();
    this.kept_s = 0;
    const { part } = this.fitter;
    const settings: FitSettings = { seed, threads: options.threads, signal: options.signal };
    const folds = this.task.folds(seed, fidelity);
    const { members, train } = await this.outOfFold(configuration, folds, settings);
    const crossed = this.crossFit(configuration, members, folds);
    const figures: Record<string, Json> = {
      ...this.memberFigures(configuration, members, folds, train),
      ...this.ruleFigures(crossed.levels),
    };
    const { kept_s } = this;
    const beside = process.cpuUsage();
    if (fidelity === 1) {
      Object.assign(figures, await this.locoFigures(configuration, members[0]!, settings));
      Object.assign(figures, await this.seenFigures(configuration, settings));
    }
    const times = { kept_s, once_s: cpuSince(beside) };
    const rows = coveredRows(crossed.outputs, part.classes);
    const { metric } = this.task;
    const score = scoreOf(outputValues(metric, crossed.outputs, part.label, part.classes, rows));
    Object.assign(figures, this.confusionFigures(crossed.outputs));
    return {
      score,
      fold_scores: crossed.fold_scores,
      outputs: crossed.outputs,
      figures: { ...figures, repeat_scores: crossed.repeat_scores, ...times },
      cpu_s: cpuSince(start),
    };
  }

  /**
   * Out-of-fold probabilities by repeat and member, (rows of the part, classes), and each member's
   * train score (of one fold).
   */
  async outOfFold(
    configuration: TabularConfiguration,
    folds: readonly PlacedFold[],
    settings: FitSettings,
  ): Promise<{ members: Float32Array[][]; train: number[] }> {
    const { rows, classes } = this.fitter.part;
    const repeats = Math.max(...folds.map((fold) => fold.repeat)) + 1;
    const members = Array.from({ length: repeats }, () =>
      configuration.members.map(() => new Float32Array(rows * classes).fill(Number.NaN)),
    );
    const train = configuration.members.map(() => Number.NaN);
    for (const fold of folds)
      for (const [m, member] of configuration.members.entries()) {
        const found = await this.predictFold(configuration, member, fold, settings);
        const out = members[fold.repeat]![m]!;
        fold.validation.forEach((row, i) => {
          for (let c = 0; c < classes; c++)
            out[row * classes + c] = found.probabilities[i * classes + c]!;
        });
        if (fold.train_scored) train[m] = found.train_score;
      }
    return { members, train };
  }

  /** The mean of the member's bags in one fold; each bag is kept by itself. */
  private async predictFold(
    configuration: TabularConfiguration,
    member: Member,
    fold: PlacedFold,
    settings: FitSettings,
  ): Promise<FoldPrediction> {
    const bags = isDeterministic(member) ? 1 : member.bags;
    const base = `${memberKey(configuration, member)}|${fold.key}`;
    let first: FoldPrediction | null = null;
    let mean: Float32Array | null = null;
    for (let bag = 0; bag < bags; bag++) {
      const key = `${base}|${settings.seed}|${bag}`;
      let found = this.kept.get(key);
      if (found === undefined) {
        found = await this.fitFold(configuration, member, fold, bag, settings);
        this.kept.set(key, found, found.probabilities.byteLength + 2 * key.length + 200);
      } else this.kept_s += found.cpu_s;
      first ??= found;
      if (bags === 1) break;
      mean ??= new Float32Array(found.probabilities.length);
      for (let i = 0; i < mean.length; i++) mean[i]! += found.probabilities[i]! / bags;
    }
    return { ...first!, ...(mean ? { probabilities: mean } : {}) };
  }

  private async fitFold(
    configuration: TabularConfiguration,
    member: Member,
    fold: PlacedFold,
    bag: number,
    given: FitSettings,
  ): Promise<FoldPrediction> {
    if (given.signal?.aborted)
      throw new MagnetError("TRIAL_ABORTED", "the trial was stopped", { retryable: true });
    const start = process.cpuUsage();
    const { fitter } = this;
    const settings = { ...given, seed: mixSeed(given.seed, bag) };
    const fitted = await fitter.fitMember(
      member,
      configuration.rows,
      configuration.target,
      { rows: fold.train, key: fold.key },
      settings,
    );
    try {
      const probabilities = await fitter.predict(fitted, member, fold.validation, settings);
      let train_score = Number.NaN;
      if (fold.train_scored && bag === 0) {
        const some = spread(fold.train, TRAIN_ROWS_SCORED);
        const p = await fitter.predict(fitted, member, some, settings);
        train_score = this.scoreAlone(p, some, true);
      }
      return { probabilities, train_score, cpu_s: cpuSince(start) };
    } finally {
      freeMember(fitted);
    }
  }

  /** Score of the most probable classes; `packed`: probabilities are of `rows` in their order. */
  private scoreAlone(probabilities: Float32Array, rows: Uint32Array, packed: boolean): number {
    const { classes, label } = this.fitter.part;
    const counts = new Float64Array(classes * classes);
    rows.forEach((row, i) => {
      const at = (packed ? i : row) * classes;
      let best = 0;
      for (let c = 1; c < classes; c++)
        if (probabilities[at + c]! > probabilities[at + best]!) best = c;
      counts[label[row]! * classes + best]! += 1;
    });
    return confusionScore(this.task.metric, classes).of(counts);
  }

  /** Second level of each fold from the other folds of its repeat, in order of time the earlier. */
  private crossFit(
    configuration: TabularConfiguration,
    members: readonly Float32Array[][],
    folds: readonly PlacedFold[],
  ) {
    const { part } = this.fitter;
    const { classes, label } = part;
    const score = confusionScore(this.task.metric, classes);
    const outputs = new Float32Array(part.rows * 2 * classes);
    const covered = new Int32Array(part.rows);
    const fold_scores: number[] = [];
    const repeat_scores: number[] = [];
    const levels: SecondLevel[] = [];
    members.forEach((own, repeat) => {
      const mine = folds.filter((fold) => fold.repeat === repeat);
      const probabilities = new Float32Array(part.rows * classes);
      const decided = new Int32Array(part.rows).fill(-1);
      const total = new Float64Array(classes * classes);
      for (const fold of mine) {
        if (fold.forward === "warm_up") continue;
        const rows = rowsOfRules(mine, fold);
        const level = fitSecondLevel(configuration, own, this.targets, rows, score);
        applySecondLevel(level, own, this.targets, fold.validation, probabilities, decided);
        levels.push(level);
        const counts = new Float64Array(classes * classes);
        for (const row of fold.validation) {
          const cell = label[row]! * classes + decided[row]!;
          counts[cell]! += 1;
          total[cell]! += 1;
          covered[row]! += 1;
          const at = 2 * row * classes;
          for (let c = 0; c < classes; c++) outputs[at + c]! += probabilities[row * classes + c]!;
          outputs[at + classes + decided[row]!]! += 1;
        }
        fold_scores.push(score.of(counts));
      }
      repeat_scores.push(score.of(total));
    });
    for (let row = 0; row < part.rows; row++) {
      const times = covered[row]!;
      for (let k = 0; k < 2 * classes; k++)
        outputs[2 * row * classes + k] =
          times === 0 ? Number.NaN : outputs[2 * row * classes + k]! / times;
    }
    return { outputs, fold_scores, repeat_scores, levels };
  }

  /** Leave-one-context-out: models that never saw the context, rules without its rows. */
  private async locoFigures(
    configuration: TabularConfiguration,
    outOfFold: readonly Float32Array[],
    settings: FitSettings,
  ): Promise<Record<string, Json>> {
    const { part } = this.fitter;
    const { classes, label } = part;
    const folds = this.task.loco(settings.seed);
    if (folds.length < 2) return {};
    const { members } = await this.outOfFold(configuration, folds, settings);
    const score = confusionScore(this.task.metric, classes);
    const probabilities = new Float32Array(part.rows * classes);
    const decided = new Int32Array(part.rows).fill(-1);
    const hidden = { ...this.targets, context: new Int32Array(part.rows).fill(-1) };
    const contextScores: Record<string, Json> = {};
    for (const fold of folds) {
      // In the order of time the oldest rows were never predicted.
      const known = fold.train.filter((row) => !Number.isNaN(outOfFold[0]![row * classes]!));
      const level = fitSecondLevel(configuration, outOfFold, this.targets, known, score);
      applySecondLevel(level, members[0]!, hidden, fold.validation, probabilities, decided);
      let right = 0;
      for (const row of fold.validation) {
        if (label[row] === decided[row]) right++;
      }
      const name = this.task.contexts[part.context![fold.validation[0]!]!]!;
      contextScores[name] = right / fold.validation.length;
    }
    const rows = concat(folds.map((fold) => fold.validation));
    const values = unitValues(
      this.task.metric,
      Int32Array.from(rows, (row) => label[row]!),
      {
        probabilities: packRows(probabilities, rows, classes),
        decisions: Int32Array.from(rows, (row) => decided[row]!),
      },
      classes,
    );
    return { loco_score: scoreOf(values), loco_hit_rates: contextScores };
  }

  /** The score on contexts that the models have seen, where the score is of contexts never seen. */
  private async seenFigures(
    configuration: TabularConfiguration,
    settings: FitSettings,
  ): Promise<Record<string, Json>> {
    const folds = this.task.seen?.(settings.seed) ?? [];
    if (folds.length < 2) return {};
    const { classes, label } = this.fitter.part;
    const { members } = await this.outOfFold(configuration, folds, settings);
    const { outputs } = this.crossFit(configuration, members, folds);
    const rows = coveredRows(outputs, classes);
    return { seen_score: scoreOf(outputValues(this.task.metric, outputs, label, classes, rows)) };
  }

  private memberFigures(
    configuration: TabularConfiguration,
    members: readonly Float32Array[][],
    folds: readonly PlacedFold[],
    train: readonly number[],
  ): Record<string, Json> {
    const scored = folds.filter((f) => f.repeat === 0 && f.forward !== "warm_up");
    const rows = concat(scored.map((f) => f.validation));
    const rounded = (value: number) => (Number.isNaN(value) ? null : value);
    const list = configuration.members.map((member, m) => ({
      learner: member.learner,
      score: this.scoreAlone(members[0]![m]!, rows, false),
      train_score: rounded(train[m]!),
    }));
    const weight = configuration.members.reduce((sum, m) => sum + m.weight, 0);
    const mean = (pick: (m: number) => number) =>
      configuration.members.reduce((sum, m, i) => sum + (m.weight / weight) * pick(i), 0);
    return {
      members: list,
      train_score: rounded(mean((m) => train[m]!)),
      validation_score: mean((m) => list[m]!.score),
    };
  }

  /** Means over the folds: class weights, for two classes the threshold, the members' weights. */
  private ruleFigures(levels: readonly SecondLevel[]): Record<string, Json> {
    const meanOf = (pick: (level: SecondLevel) => Float64Array) => {
      const sum = new Float64Array(pick(levels[0]!).length);
      for (const level of levels)
        pick(level).forEach((w, i) => {
          sum[i]! += w / levels.length;
        });
      return [...sum];
    };
    const weights = meanOf((level) => level.rule.weights);
    const two =
      weights.length === 2 ? { threshold: weights[0]! / (weights[0]! + weights[1]!) } : {};
    return { class_weights: weights, ...two, blend: meanOf((l) => l.combination.weights) };
  }

  private confusionFigures(outputs: Float32Array): Record<string, Json> {
    const { label, classes } = this.fitter.part;
    const decided = outputDecisions(outputs, classes);
    const counts = Array.from({ length: classes }, () => new Array<number>(classes).fill(0));
    decided.forEach((d, row) => {
      if (d >= 0) counts[label[row]!]![d]! += 1;
    });
    return { confusion: { classes: [...this.task.classes], counts } };
  }
}

/**
 * Rows that a fold's rules may be fitted on: of the other folds, in order of time the earlier, less
 * those whose labels look into the fold. Blocks as short as that look ahead have nothing else.
 */
export function rowsOfRules(folds: readonly PlacedFold[], fold: PlacedFold): Uint32Array {
  const others =
    fold.forward === undefined
      ? folds.filter((other) => other !== fold)
      : folds.slice(0, folds.indexOf(fold));
  if (others.length === 0) return fold.validation;
  const rows = concat(others.map((other) => other.validation));
  if (!fold.purge) return rows;
  const end = fold.validation[0]! - fold.purge;
  const known = rows.filter((row) => row < end);
  return known.length > 0 ? known : rows;
}

/** The named rows of a (rows, classes) matrix, in their order. */
export function packRows(matrix: Float32Array, rows: Uint32Array, classes: number): Float32Array {
  const out = new Float32Array(rows.length * classes);
  rows.forEach((row, i) => {
    out.set(matrix.subarray(row * classes, (row + 1) * classes), i * classes);
  });
  return out;
}

/** CPU seconds of this process, all threads. */
function cpuSince(start: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1e6;
}

/** At most `wanted` of the rows, evenly spread. */
function spread(rows: Uint32Array, wanted: number): Uint32Array {
  if (rows.length <= wanted) return rows;
  return Uint32Array.from(
    { length: wanted },
    (_, i) => rows[Math.floor((i * rows.length) / wanted)]!,
  );
}

export function concat(lists: readonly Uint32Array[]): Uint32Array {
  const out = new Uint32Array(lists.reduce((sum, list) => sum + list.length, 0));
  let at = 0;
  for (const list of lists) {
    out.set(list, at);
    at += list.length;
  }
  return out;
}
