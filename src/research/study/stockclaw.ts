/**
 * The study of the series domain (paper 7): the direction of prices with public data, by the free
 * loop, which starts from some hundred recent rows and widens the window itself. The paper's table 5
 * gives hit rates only; here each series has its answer without a model, an interval of blocks, what
 * a trade would have earned after its cost, and a control with the moves in another order, on which
 * nothing may be found.
 */
import path from "node:path";
import type { ResearchEvent, ResearchResult } from "../loop/events.ts";
import type { ReportDocument } from "../report/report.ts";
import { fittedRowsMax } from "../series/walk.ts";
import { type RunSettings, research, type SessionOptions } from "../session.ts";
import type { Configuration, Json, ScoreInterval } from "../types.ts";
import { type StudySeries, seriesDocument } from "./stockclaw-series.ts";

/** The paper's Table 5: rows and hit rate of its three versions. */
export const PAPER_TABLE = [
  { version: "v4", rows: 504, hit_rate: 0.41 },
  { version: "v5", rows: 11_904, hit_rate: 0.518 },
  { version: "v6", rows: 77_771, hit_rate: 0.549 },
] as const;

export interface SeriesFinding {
  readonly name: string;
  readonly control: boolean;
  readonly horizon: number;
  /** Rows of the search part that a model can be fitted on. */
  readonly rows: number;
  /** Best walk-forward hit rate by window, of the windows that the loop tried. */
  readonly curve: ReportDocument["learning_curve"];
  /** Rows of the final model's window; 0 = all. */
  readonly window: number;
  readonly learners: readonly string[];
  readonly versions: number;
  readonly trials: number;
  readonly sealed: ScoreInterval;
  readonly baseline: ScoreInterval;
  readonly trivial: ScoreInterval;
  readonly no_edge: boolean;
  /** Independent rows, answers without a model, what trades earned. */
  readonly notes: readonly string[];
  readonly cpu_s: number;
  readonly folder: string;
}

export interface StockclawResult {
  readonly schema: "magnet.study_stockclaw/1";
  readonly paper: typeof PAPER_TABLE;
  readonly series: readonly SeriesFinding[];
}

export interface StockclawOptions {
  readonly series: readonly StudySeries[];
  readonly folder: string;
  readonly budget: RunSettings["budget"];
  readonly cost: number;
  readonly seed: number;
  readonly session: Pick<
    SessionOptions,
    "workers" | "threads" | "self" | "magnet_version" | "env" | "signal"
  >;
  readonly onSeries?: (series: StudySeries) => void;
  readonly onEvent?: (event: ResearchEvent) => void;
  readonly onFinding?: (finding: SeriesFinding) => void;
}

/** One run after the other, each in a folder of its own; what has ended is not run again. */
export async function runStockclaw(options: StockclawOptions): Promise<StockclawResult> {
  const found: SeriesFinding[] = [];
  for (const series of options.series) {
    options.onSeries?.(series);
    const finding = await findingOf(series, options);
    found.push(finding);
    options.onFinding?.(finding);
  }
  return { schema: "magnet.study_stockclaw/1", paper: PAPER_TABLE, series: found };
}

async function findingOf(series: StudySeries, options: StockclawOptions): Promise<SeriesFinding> {
  const folder = path.join(options.folder, series.name);
  const document = seriesDocument(series, options) as unknown as Json;
  const { report, spent } = await research({
    ...options.session,
    folder,
    task: { file: path.join(options.folder, `${series.name}.json`), document, seed: null },
    settings: { budget: options.budget, batch: 4, patience: null, epsilon: null },
    teach: false,
    ...(options.onEvent ? { onEvent: options.onEvent } : {}),
  });
  return { ...summary(series, report), cpu_s: spent.cpu_s, folder };
}

function summary(series: StudySeries, report: ReportDocument) {
  const { result } = report;
  const { sealed } = result;
  const final = result.final.candidate.configuration as Configuration;
  const rows = searchRows(result, series.horizon);
  const members = final.members as unknown as { learner: string }[];
  return {
    name: series.name,
    control: series.control,
    horizon: series.horizon,
    rows,
    curve: report.learning_curve,
    window: Number(final.window),
    learners: members.map(({ learner }) => learner),
    versions: result.versions.length,
    trials: report.trials.length,
    sealed: sealed.model,
    baseline: sealed.baseline,
    trivial: sealed.trivial,
    no_edge: sealed.no_edge,
    notes: sealed.notes ?? [],
  };
}

/** Rows that the widest window holds, from the sealed part's length and the default split. */
function searchRows({ facts }: ResearchResult, horizon: number): number {
  const gate_from = Math.floor(facts.rows * (1 - 0.2 - 0.15));
  return fittedRowsMax(gate_from - 2 * horizon, horizon);
}
