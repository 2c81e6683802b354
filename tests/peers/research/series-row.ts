/**
 * The series row of the table: magnet on USDCHF against XGBoost on the same features, parts and
 * walk-forward folds, at its defaults and after a randomised search.
 */
import fs from "node:fs";
import path from "node:path";
import { blockScoreInterval } from "../../../src/research/evaluation/bootstrap.ts";
import { unitValues } from "../../../src/research/evaluation/metrics.ts";
import { blockLength } from "../../../src/research/series/domain.ts";
import { loadSeries } from "../../../src/research/series/raw.ts";
import { toSeriesData } from "../../../src/research/series/series-data.ts";
import { seriesFolds } from "../../../src/research/series/walk.ts";
import type { Table } from "../../../src/research/table/types.ts";
import { loadTask } from "../../../src/research/task/load.ts";
import { type Places, peerCell, runToEnd, writeTask } from "./cells.ts";
import { fixed, one, runTask, USDCHF } from "./other-rows.ts";
import { type Figure, inParallel, type RowResult, stored, type TableOptions } from "./places.ts";

/** A table as CSV with the classes in `label`. */
function writeCsv(file: string, table: Table, label: Int32Array, classes: readonly string[]): void {
  const lines = [[...table.columns.map((column) => column.name), "label"].join(",")];
  for (let row = 0; row < table.rows; row++) {
    const cells = table.columns.map((column) => {
      if (column.kind === "category") return column.levels[column.codes[row]!] ?? "";
      return Number.isNaN(column.values[row]!) ? "" : String(column.values[row]!);
    });
    lines.push([...cells, classes[label[row]!]!].join(","));
  }
  fs.writeFileSync(file, `${lines.join("\n")}\n`);
}

/** Features that the peer's side makes of the same history, row for row. */
async function ownFeatures(places: Places, raw: string, horizon: number, csv: string) {
  const script = path.join(import.meta.dir, "series_features.py");
  const log = path.join(places.results, "logs", "series-features.log");
  await runToEnd([places.python, script, raw, String(horizon), csv], log);
}

/** The features of the series domain, its parts and its walk-forward folds, for the peer. */
async function seriesPeer(
  places: Places,
  set: string,
  seed: number,
  cpu_s: number,
  features: "ours" | "own" = "ours",
) {
  const task_file = writeTask(places, set, seed, USDCHF);
  const task = loadTask(task_file);
  const { raw, notes } = await loadSeries(task);
  const { data, parts } = toSeriesData(task, raw, notes);
  const csv = path.join(places.results, "tasks", `${set}-${features}-features.csv`);
  if (features === "ours") writeCsv(csv, data.features, data.label, data.classes);
  else await ownFeatures(places, task.data[0]!, task.series!.horizon, csv);
  const train = [...parts.search, ...parts.gate];
  const { horizon } = task.series!;
  const scored = seriesFolds(train.length, 0, horizon, 1, seed).filter(
    ({ forward }) => forward === "block",
  );
  const folds = scored.map((fold) =>
    [fold.train, fold.validation].map((rows) => [...rows].map((row) => train[row]!)),
  );
  const rows_file = task_file.replace(/\.json$/, ".rows.json");
  const truth = [...parts.sealed].map((row) => data.classes[data.label[row]!]!);
  const test = [...parts.sealed];
  // At its defaults as it comes: the most probable direction.
  const rule = { metric: "hit_rate", tuned: cpu_s > 0 };
  const rows = { set, seed, train, test, truth, folds, ...rule };
  fs.writeFileSync(rows_file, JSON.stringify(rows));
  const peer_task = writeTask(places, `${set}-${features}-features`, seed, { data: csv });
  const cell = await peerCell(places, peer_task, rows_file, "xgboost", cpu_s);
  const number = (name: string) => data.classes.indexOf(name);
  const units = unitValues(
    "hit_rate",
    Int32Array.from(truth, number),
    { probabilities: new Float32Array(0), decisions: Int32Array.from(cell.predictions, number) },
    data.classes.length,
  );
  const block = blockLength(truth.length, horizon);
  const { score, standard_error } = blockScoreInterval(units, block, { seed: 1 });
  return { hit_rate: score, standard_error, trials: cell.trials };
}

/** Goal: not below XGBoost by more than one block-bootstrap standard error. */
export async function seriesRow(options: TableOptions): Promise<RowResult> {
  const { seeds, cpu_s } = options;
  const seed = seeds[0]!;
  const budget_s = cpu_s * 2;
  type Peer = Awaited<ReturnType<typeof seriesPeer>>;
  const peer = (name: string, cpu_s: number, features: "ours" | "own") => (places: Places) =>
    stored<Peer>(places, `series-usdchf-${seed}-xgboost-${name}`, () =>
      seriesPeer(places, "usdchf", seed, cpu_s, features),
    );
  const ours = (places: Places) =>
    stored(places, `series-usdchf-${seed}-${budget_s}`, async () => {
      const task = writeTask(places, "usdchf", seed, USDCHF);
      const { report } = await runTask(places, task, "usdchf", [...one, "--cpu", String(budget_s)]);
      return { sealed: report.result.sealed, curve: report.learning_curve };
    });
  const searched_by = peer(String(budget_s), budget_s, "ours");
  const [plain_by, own_by] = [peer("plain", 0, "ours"), peer("own", 0, "own")];
  // The peer's runs share files: one after another.
  const peersInTurn = async (pinned: Places) => {
    for (const run of [searched_by, plain_by, own_by]) await run(pinned);
  };
  await inParallel(options, [ours, peersInTurn]);
  const { places } = options;
  const run = await ours(places);
  const peers = {
    defaults: await plain_by(places),
    "defaults, own features": await own_by(places),
    searched: await searched_by(places),
  };
  const { model, no_edge } = run.sealed;
  const best = Object.values(peers).reduce((a, b) => (b.hit_rate > a.hit_rate ? b : a));
  const lines = Object.entries(peers).map(
    ([name, { hit_rate, standard_error, trials }]) =>
      `| XGBoost, ${name} | ${fixed(hit_rate)} | ${fixed(standard_error)} | ${trials} |`,
  );
  const edge = no_edge ? ", no edge" : "";
  const markdown = [
    "| USDCHF, 4 hours ahead | hit rate | block-bootstrap standard error | trials |",
    "|---|---|---|---|",
    `| magnet | ${fixed(model.score)} [${fixed(model.low)}, ${fixed(model.high)}]${edge} | | |`,
    ...lines,
    "",
    `Data-scale curve: ${run.curve.map((p) => `${p.rows}: ${fixed(p.score)}`).join(", ") || "none"}`,
  ].join("\n");
  const figures: Figure[] = [
    {
      name: "USDCHF hit rate, 4 hours ahead",
      ...{ figure: fixed(model.score), peer: fixed(best.hit_rate) },
      goal: `>= the best XGBoost - ${fixed(best.standard_error)} (a standard error)`,
      reached: model.score >= best.hit_rate - best.standard_error,
    },
    {
      name: "points of the data-scale curve that the loop found",
      ...{ figure: run.curve.length, peer: null, goal: ">= 3" },
      reached: run.curve.length >= 3,
    },
  ];
  return { markdown, figures };
}
