/**
 * The tabular domain (paper 6): classification with contexts and an optional rule pipeline. Trials
 * see the search part only; gate and sealed rows are read by gateScores and openSealed alone.
 */
import type { Hash } from "../../core/types.ts";
import type { Learners } from "../../native/learner-types.ts";
import { analyseTabular } from "../analysis/analyse.ts";
import { type ClassificationMetric, rangeOf, unitValues } from "../evaluation/metrics.ts";
import {
  contextClusters,
  pairedInterval,
  type SealedUnits,
  sealedInterval,
  sealedUnits,
} from "../evaluation/sealed.ts";
import { splitParts } from "../evaluation/split.ts";
import { tabularStrategies } from "../strategies/catalogue.ts";
import type { Parts, TaskData } from "../table/types.ts";
import { loadTaskData } from "../task/data.ts";
import { hashOfLabels } from "../task/hash.ts";
import { type Task, taskHash } from "../task/load.ts";
import type {
  Configuration,
  EvaluateOptions,
  Failure,
  FinalModel,
  PairedDifference,
  ResearchDomain,
  ScoreInterval,
  Strategy,
  TaskFacts,
  Trial,
  TrialOutcome,
  TrialSpec,
} from "../types.ts";
import { analysisInput } from "./analysis-input.ts";
import { parseTabular, type TabularConfiguration, type TaskOffers } from "./configuration.ts";
import { concat, Evaluator } from "./evaluate.ts";
import { fitFinalModel, type ModelTask } from "./final-fit.ts";
import { freeModel, loadModel } from "./final-model.ts";
import { foldsOf, locoFolds } from "./folds.ts";
import { coveredRows, outputValues } from "./outputs.ts";
import { type Part, takeRows } from "./part.ts";
import { PartFitter } from "./part-fitter.ts";
import { predictPart } from "./predict.ts";
import { Prober } from "./probe.ts";
import { classificationMetric } from "./scores.ts";
import { baselineConfiguration } from "./spaces.ts";

/** Seed of the bootstrap at the gate and the sealed part: fixed, so that no run can choose it. */
const BOOTSTRAP_SEED = 1;

/** Reads, checks and splits the task's data. */
export async function openTabular(task: Task, learners: Learners): Promise<TabularDomain> {
  return new TabularDomain(task, await loadTaskData(task), learners);
}

export class TabularDomain implements ResearchDomain {
  readonly name = "tabular" as const;
  readonly task: Task;
  readonly data: TaskData;
  readonly parts: Parts;
  readonly task_hash: Hash;
  readonly data_hash: Hash;
  readonly facts: TaskFacts;
  readonly notes: ResearchDomain["notes"];
  readonly metric: ClassificationMetric;
  readonly fidelities: readonly number[];
  readonly strategies: readonly Strategy[];
  readonly offers: TaskOffers;
  private readonly learners: Learners;
  private readonly search: Evaluator;
  private readonly prober: Prober;
  private searchAndGate: Evaluator | null = null;
  private last: Promise<unknown> = Promise.resolve();

  constructor(task: Task, data: TaskData, learners: Learners) {
    this.task = task;
    this.data = data;
    this.learners = learners;
    this.metric = classificationMetric(task.metric);
    this.parts = splitParts(data, task.split, task.seed);
    this.task_hash = taskHash(task, data.hash);
    this.data_hash = hashOfLabels(data);
    this.offers = {
      contexts: data.context !== null,
      pipeline: data.pipeline !== null,
      time: data.time !== null,
    };
    this.facts = factsOf(task, data);
    this.notes = data.notes;
    const contexts_known = this.offers.contexts && !task.split.by_context;
    const catalogue = { facts: this.facts, offers: this.offers, contexts_known };
    this.strategies = tabularStrategies(catalogue);
    this.search = this.evaluatorOf(takeRows(data, this.parts.search));
    this.prober = new Prober(this.search.fitter, task.split.by_time ?? false);
    // Now, and not in the first trial, is said what cannot be split.
    const folds = this.search.task.folds(task.seed, 1);
    const first = folds.filter(({ repeat }) => repeat === 0).length;
    this.fidelities = first < folds.length ? [first / folds.length, 1] : [1];
  }

  private evaluatorOf(part: Part): Evaluator {
    const { by_context, by_time = false } = this.task.split;
    const { seed: own } = this.task;
    const kind = by_time ? "times" : by_context ? "contexts" : "rows";
    return new Evaluator(new PartFitter(this.learners, part), {
      metric: this.metric,
      classes: this.data.classes,
      contexts: this.data.contexts,
      folds: (seed, fidelity) => foldsOf(part, kind, seed, fidelity),
      // Beside the score, for the analysis and the report of the task's own seed: a confirmation
      // at another one need not pay for it.
      loco: (seed) => (by_context || seed !== own ? [] : locoFolds(part, seed, by_time)),
      seen: (seed) =>
        by_context && seed === own
          ? foldsOf(part, "rows", seed, 1).filter(({ repeat }) => repeat === 0)
          : [],
    });
  }

  /** Calls follow each other: a fit in progress must not lose its cached columns. */
  private inTurn<V>(call: () => Promise<V>): Promise<V> {
    const result = this.last.then(call, call);
    this.last = result.catch(() => undefined);
    return result;
  }

  baseline(): Configuration {
    return baselineConfiguration(this.offers);
  }

  parse(configuration: unknown): Configuration {
    return this.parsed(configuration) as unknown as Configuration;
  }

  private parsed(configuration: unknown): TabularConfiguration {
    return parseTabular(configuration, this.offers);
  }

  evaluate(spec: TrialSpec, options: EvaluateOptions): Promise<TrialOutcome> {
    const configuration = this.parsed(spec.configuration);
    return this.inTurn(() =>
      this.search.evaluate(configuration, spec.seed, spec.fidelity, options),
    );
  }

  compare(a: TrialOutcome, b: TrialOutcome, seed: number): PairedDifference {
    const { part } = this.search.fitter;
    const { label, classes } = part;
    const inB = new Set(coveredRows(b.outputs, classes));
    const rows = coveredRows(a.outputs, classes).filter((row) => inB.has(row));
    const values = (outcome: TrialOutcome) =>
      outputValues(this.metric, outcome.outputs, label, classes, rows);
    const units = this.comparedBy(part, Uint32Array.from(rows));
    return pairedInterval(values(a), values(b), units, seed);
  }

  /** What rows of a comparison are resampled by: whole contexts where these are held out whole. */
  private comparedBy(part: Pick<Part, "context" | "label">, rows: Uint32Array) {
    const { by_context } = this.task.split;
    const clusters = contextClusters(part, rows, this.metric, by_context);
    return { clusters, range: rangeOf(this.metric) };
  }

  analyse(best: Trial, trials: readonly Trial[]): Promise<Failure[]> {
    return this.inTurn(() => {
      const { search, prober, data } = this;
      return analyseTabular(analysisInput(search, prober, data, best, trials));
    });
  }

  gateScores(a: TrialSpec, b: TrialSpec): Promise<{ gate: PairedDifference }> {
    return this.inTurn(async () => {
      const scores = [];
      for (const spec of [a, b]) {
        const model = await this.fitOn(this.search, spec);
        scores.push(await this.valuesOn(model, this.parts.gate));
      }
      const units = this.comparedBy(this.data, this.parts.gate);
      return { gate: pairedInterval(scores[0]!, scores[1]!, units, BOOTSTRAP_SEED) };
    });
  }

  fitFinal(spec: TrialSpec): Promise<FinalModel> {
    return this.inTurn(() => {
      this.searchAndGate ??= this.evaluatorOf(
        takeRows(this.data, concat([this.parts.search, this.parts.gate]).sort()),
      );
      return this.fitOn(this.searchAndGate, spec);
    });
  }

  private fitOn(evaluator: Evaluator, spec: TrialSpec): Promise<FinalModel> {
    const task: ModelTask = {
      metric: this.metric,
      classes: [...this.data.classes],
      contexts: [...this.data.contexts],
      context_column: this.task.context,
      pipeline_column: this.task.pipeline,
    };
    const settings = { seed: spec.seed, threads: 1 };
    return fitFinalModel(evaluator, this.parsed(spec.configuration), task, settings);
  }

  private async valuesOn(model: FinalModel, rows: Uint32Array) {
    const part = takeRows(this.data, rows);
    const loaded = loadModel(model.bytes, this.learners);
    try {
      const { probabilities, decided } = await predictPart(loaded, part);
      return unitValues(
        this.metric,
        part.label,
        { probabilities, decisions: decided },
        part.classes,
      );
    } finally {
      freeModel(loaded);
    }
  }

  openSealed(
    model: FinalModel,
    baseline: FinalModel,
  ): Promise<{
    model: ScoreInterval;
    baseline: ScoreInterval;
    difference: PairedDifference;
    trivial: ScoreInterval;
    notes: readonly string[];
  }> {
    return this.inTurn(async () => {
      const units = this.sealedUnits();
      const { sealed } = this.parts;
      const mine = await this.valuesOn(model, sealed);
      const other = await this.valuesOn(baseline, sealed);
      return {
        model: sealedInterval(mine, units, BOOTSTRAP_SEED),
        baseline: sealedInterval(other, units, BOOTSTRAP_SEED),
        difference: pairedInterval(other, mine, units, BOOTSTRAP_SEED),
        trivial: sealedInterval(this.trivialValues(sealed), units, BOOTSTRAP_SEED),
        notes: units.notes,
      };
    });
  }

  /** What the sealed rows are resampled by. */
  sealedUnits(): SealedUnits {
    return sealedUnits(this.data, this.parts.sealed, this.metric, this.task.split.by_context);
  }

  /** The answer that looks at no feature: the most frequent class, with the classes' shares. */
  private trivialValues(rows: Uint32Array) {
    const classes = this.data.classes.length;
    const share = new Float64Array(classes);
    const known = [...this.parts.search, ...this.parts.gate];
    for (const row of known) share[this.data.label[row]!]! += 1 / known.length;
    const probabilities = new Float32Array(rows.length * classes);
    for (let i = 0; i < rows.length; i++) probabilities.set(share, i * classes);
    const label = Int32Array.from(rows, (row) => this.data.label[row]!);
    return unitValues(this.metric, label, { probabilities, decisions: null }, classes);
  }

  close(): Promise<void> {
    return this.inTurn(async () => {
      this.search.fitter.close();
      this.searchAndGate?.fitter.close();
    });
  }
}

function factsOf(task: Task, data: TaskData): TaskFacts {
  const { columns, rows } = data.features;
  const counts = new Float64Array(data.classes.length);
  for (const c of data.label) counts[c]! += 1;
  let missing = 0;
  for (const column of columns) {
    if (column.kind === "number") {
      for (const value of column.values) if (Number.isNaN(value)) missing++;
    } else for (const code of column.codes) if (code < 0) missing++;
  }
  return {
    domain: "tabular",
    name: task.name,
    rows,
    features: columns.length,
    classes: data.classes.length,
    minority: Math.min(...counts) / rows,
    contexts: data.contexts.length,
    has_pipeline: data.pipeline !== null,
    missing_share: missing / (rows * columns.length),
    categorical_share: columns.filter((c) => c.kind === "category").length / columns.length,
  };
}
