/**
 * The series domain (paper 7): the direction of a price over a horizon. Models, their settings and
 * their fits are those of the tabular domain; parts follow time, folds walk forward with a purge,
 * and all errors are made of blocks of rows, since labels overlap.
 */
import type { Hash } from "../../core/types.ts";
import type { Learners } from "../../native/learner-types.ts";
import { blockScoreInterval, pairedBlockBootstrap } from "../evaluation/bootstrap.ts";
import { type ClassificationMetric, scoreOf, unitValues } from "../evaluation/metrics.ts";
import { tabularStrategies } from "../strategies/catalogue.ts";
import { concat } from "../tabular/evaluate.ts";
import { fitFinalModel } from "../tabular/final-fit.ts";
import { freeModel, loadModel } from "../tabular/final-model.ts";
import { coveredRows, outputValues } from "../tabular/outputs.ts";
import { takeRows } from "../tabular/part.ts";
import { predictPart } from "../tabular/predict.ts";
import { classificationMetric } from "../tabular/scores.ts";
import { type Task, taskHash } from "../task/load.ts";
import type {
  Configuration,
  EvaluateOptions,
  Failure,
  FinalModel,
  PairedDifference,
  ResearchDomain,
  Strategy,
  TaskFacts,
  Trial,
  TrialOutcome,
  TrialSpec,
} from "../types.ts";
import { analyseSeries } from "./analyse.ts";
import {
  asSeries,
  parseSeries,
  SERIES_OFFERS,
  type SeriesConfiguration,
  WINDOW_MIN,
  withoutWindow,
} from "./configuration.ts";
import { dataScaleStrategy, keepingWindow, rowsOf } from "./data-scale.ts";
import { saveSeriesModel, tabularModelOf } from "./model.ts";
import { loadSeries } from "./raw.ts";
import { type OpenedSeries, openedNotes } from "./sealed-notes.ts";
import { type SeriesData, toSeriesData } from "./series-data.ts";
import { coveredOutputs, fittedRowsMax, WalkForward, wholeOutputs } from "./walk.ts";

/** Of the bootstrap at the gate and the sealed part: fixed, so that no run can choose it. */
const BOOTSTRAP_SEED = 1;
/** Rows of the first window (paper 7.3 starts with 504), and the share of a shorter history. */
const WINDOW_FIRST = 500;
const WINDOW_SHARE = 0.2;
/** Strategies of the tabular catalogue that the data scale takes the place of. */
const REPLACED = new Set(["more_data", "recency"]);

/** Reads, checks and splits the task's series. */
export async function openSeries(task: Task, learners: Learners): Promise<SeriesDomain> {
  const { raw, notes } = await loadSeries(task);
  return new SeriesDomain(task, toSeriesData(task, raw, notes), learners);
}

/** Blocks of the bootstrap: several horizons, and more where there is much to draw from. */
export const blockLength = (rows: number, horizon: number): number =>
  Math.max(4 * horizon, Math.ceil(2 * Math.cbrt(rows)));

export class SeriesDomain implements ResearchDomain {
  readonly name = "series" as const;
  readonly task: Task;
  readonly series: SeriesData;
  readonly task_hash: Hash;
  readonly data_hash: Hash;
  readonly facts: TaskFacts;
  readonly metric: ClassificationMetric;
  /** Always all folds: windows are compared by their scores, and two folds would tell noise. */
  readonly fidelities: readonly number[] = [1];
  readonly strategies: readonly Strategy[];
  readonly notes;
  private readonly learners: Learners;
  private readonly walk: WalkForward;
  /** Rows that a window is a part of. */
  readonly rows_max: number;
  private last: Promise<unknown> = Promise.resolve();

  constructor(task: Task, series: SeriesData, learners: Learners) {
    this.task = task;
    this.series = series;
    this.learners = learners;
    this.notes = series.data.notes;
    this.metric = classificationMetric(task.metric);
    this.task_hash = taskHash(task, series.data.hash);
    this.data_hash = series.price_hash;
    this.facts = factsOf(task, series);
    const part = takeRows(series.data, series.parts.search);
    this.rows_max = fittedRowsMax(part.rows, this.horizon);
    this.walk = new WalkForward(learners, part, {
      metric: this.metric,
      classes: series.data.classes,
      horizon: this.horizon,
    });
    this.strategies = [
      dataScaleStrategy(this.rows_max),
      ...tabularStrategies({ facts: this.facts, offers: SERIES_OFFERS })
        .filter(({ id }) => !REPLACED.has(id))
        .map(keepingWindow),
    ];
  }

  private get horizon(): number {
    return this.task.series!.horizon;
  }

  /** The first, recent window. */
  private get window(): number {
    const own = Math.max(WINDOW_MIN, Math.floor(this.rows_max * WINDOW_SHARE));
    return this.task.series!.window ?? Math.min(WINDOW_FIRST, own);
  }

  private inTurn<V>(call: () => Promise<V>): Promise<V> {
    const result = this.last.then(call, call);
    this.last = result.catch(() => undefined);
    return result;
  }

  private parsed(configuration: unknown): SeriesConfiguration {
    return parseSeries(configuration, this.window);
  }

  baseline(): Configuration {
    return this.parse({ members: [{ learner: "boosting" }] });
  }

  parse(configuration: unknown): Configuration {
    return asSeries(this.parsed(configuration));
  }

  evaluate(spec: TrialSpec, options: EvaluateOptions): Promise<TrialOutcome> {
    return this.inTurn(async () => {
      const configuration = this.parsed(spec.configuration);
      const evaluator = this.walk.of(configuration.window);
      const plain = withoutWindow(configuration);
      const outcome = await evaluator.evaluate(plain, spec.seed, spec.fidelity, options);
      const window_rows = rowsOf(asSeries(configuration), this.rows_max);
      const figures = { ...outcome.figures, window_rows };
      return { ...outcome, figures, outputs: coveredOutputs(outcome.outputs) };
    });
  }

  compare(a: TrialOutcome, b: TrialOutcome, seed: number): PairedDifference {
    const { part } = this.walk.fitter;
    const [before, after] = [a, b].map(({ outputs }) => wholeOutputs(outputs, part));
    const inB = new Set(coveredRows(after!, part.classes));
    const rows = coveredRows(before!, part.classes).filter((row) => inB.has(row));
    const values = (outputs: Float32Array) =>
      outputValues(this.metric, outputs, part.label, part.classes, rows);
    const block = blockLength(rows.length, this.horizon);
    return pairedBlockBootstrap(values(before!), values(after!), block, { seed });
  }

  analyse(best: Trial, trials: readonly Trial[]): Promise<Failure[]> {
    return this.inTurn(() => analyseSeries(this.walk.fitter, this, best, trials));
  }

  gateScores(
    a: TrialSpec,
    b: TrialSpec,
  ): Promise<{ search: PairedDifference; gate: PairedDifference }> {
    return this.inTurn(async () => {
      const outcomes: TrialOutcome[] = [];
      const values = [];
      for (const spec of [a, b]) {
        const configuration = this.parsed(spec.configuration);
        const plain = withoutWindow(configuration);
        const evaluator = this.walk.of(configuration.window);
        const outcome = await evaluator.evaluate(plain, spec.seed, 1, { threads: 1 });
        outcomes.push({ ...outcome, outputs: coveredOutputs(outcome.outputs) });
        const model = await this.fitOn(this.series.parts.search, spec);
        values.push((await this.predict(model, this.series.parts.gate)).values);
      }
      const block = blockLength(this.series.parts.gate.length, this.horizon);
      return {
        search: this.compare(outcomes[0]!, outcomes[1]!, BOOTSTRAP_SEED),
        gate: pairedBlockBootstrap(values[0]!, values[1]!, block, { seed: BOOTSTRAP_SEED }),
      };
    });
  }

  fitFinal(spec: TrialSpec): Promise<FinalModel> {
    const { search, gate } = this.series.parts;
    return this.inTurn(() => this.fitOn(concat([search, gate]), spec));
  }

  /** Fits on the newest rows of a list that is in the order of time. */
  private async fitOn(rows: Uint32Array, spec: TrialSpec): Promise<FinalModel> {
    const configuration = this.parsed(spec.configuration);
    const { window } = configuration;
    const newest = window === 0 ? rows : rows.slice(-window);
    const { data } = this.series;
    const walk = new WalkForward(this.learners, takeRows(data, newest), {
      metric: this.metric,
      classes: data.classes,
      horizon: this.horizon,
    });
    try {
      const task = {
        metric: this.metric,
        classes: [...data.classes],
        contexts: [],
        context_column: null,
        pipeline_column: null,
      };
      const settings = { seed: spec.seed, threads: 1 };
      const plain = withoutWindow(configuration);
      const fitted = await fitFinalModel(walk.of(0), plain, task, settings);
      const bytes = saveSeriesModel(this.task, fitted.bytes);
      return { ...fitted, configuration: asSeries(configuration), bytes };
    } finally {
      walk.close();
    }
  }

  private async predict(model: FinalModel, rows: Uint32Array) {
    const part = takeRows(this.series.data, rows);
    const loaded = loadModel(tabularModelOf(model.bytes), this.learners);
    try {
      const { probabilities, decided } = await predictPart(loaded, part);
      const predictions = { probabilities, decisions: decided };
      return { values: unitValues(this.metric, part.label, predictions, part.classes), decided };
    } finally {
      freeModel(loaded);
    }
  }

  openSealed(model: FinalModel, baseline: FinalModel): Promise<OpenedSeries> {
    return this.inTurn(async () => {
      const { sealed } = this.series.parts;
      const block = blockLength(sealed.length, this.horizon);
      const seed = { seed: BOOTSTRAP_SEED };
      const mine = await this.predict(model, sealed);
      const other = await this.predict(baseline, sealed);
      const trivial = this.trivial();
      const scored = blockScoreInterval(mine.values, block, seed);
      const opened = {
        model: scored,
        baseline: blockScoreInterval(other.values, block, seed),
        difference: pairedBlockBootstrap(other.values, mine.values, block, seed),
        trivial: blockScoreInterval(trivial.best, block, seed),
      };
      const { cost, horizon } = this.task.series!;
      const notes = openedNotes({
        decided: mine.decided,
        forward: Float64Array.from(sealed, (row) => this.series.forward[row]!),
        values: mine.values,
        standard_error: scored.standard_error,
        trivial: trivial.scores,
        trade: { classes: this.series.data.classes.length, horizon, cost, block, ...seed },
      });
      return { ...opened, notes };
    });
  }

  /**
   * Answers that need no model: always the same direction, and that the last one goes on. A model has
   * to beat the one that was right most often in the sealed part itself: what was most frequent
   * before may be the rarer direction after, and beating that is no edge.
   */
  private trivial() {
    const { data, parts, persistence } = this.series;
    const { sealed } = parts;
    const classes = data.classes.length;
    const label = Int32Array.from(sealed, (row) => data.label[row]!);
    const shares = new Float64Array(classes);
    for (const c of label) shares[c]! += 1 / label.length;
    const valuesOf = (answer: (row: number) => number) => {
      const decisions = Int32Array.from(sealed, answer);
      const probabilities = new Float32Array(sealed.length * classes);
      for (let i = 0; i < sealed.length; i++) probabilities.set(shares, i * classes);
      return unitValues(this.metric, label, { probabilities, decisions }, classes);
    };
    const constant = valuesOf(() => shares.indexOf(Math.max(...shares)));
    const persistent = valuesOf((row) => persistence[row]!);
    const scores = { majority: scoreOf(constant), persistence: scoreOf(persistent) };
    return { best: scores.persistence > scores.majority ? persistent : constant, scores };
  }

  close(): Promise<void> {
    return this.inTurn(async () => this.walk.close());
  }
}

function factsOf(task: Task, { data }: SeriesData): TaskFacts {
  const { columns, rows } = data.features;
  const counts = new Float64Array(data.classes.length);
  for (const c of data.label) counts[c]! += 1;
  let missing = 0;
  for (const column of columns)
    if (column.kind === "number") for (const v of column.values) if (Number.isNaN(v)) missing++;
  return {
    domain: "series",
    name: task.name,
    rows,
    features: columns.length,
    classes: data.classes.length,
    minority: Math.min(...counts) / rows,
    contexts: 0,
    has_pipeline: false,
    missing_share: missing / (rows * columns.length),
    categorical_share: 0,
  };
}
