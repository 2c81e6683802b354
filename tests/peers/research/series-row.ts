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
import { stored, type TableOptions } from "./places.ts";

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

export async function seriesRows({ places, seeds, cpu_s }: TableOptions): Promise<string> {
  const seed = seeds[0]!;
  const budget_s = cpu_s * 2;
  const run = await stored(places, `series-usdchf-${seed}-${budget_s}`, async () => {
    const task = writeTask(places, "usdchf", seed, USDCHF);
    const { report } = await runTask(places, task, "usdchf", [...one, "--cpu", String(budget_s)]);
    return { sealed: report.result.sealed, curve: report.learning_curve };
  });
  const plain = await stored(places, `series-usdchf-${seed}-xgboost-plain`, () =>
    seriesPeer(places, "usdchf", seed, 0),
  );
  const own = await stored(places, `series-usdchf-${seed}-xgboost-own`, () =>
    seriesPeer(places, "usdchf", seed, 0, "own"),
  );
  const searched = await stored(places, `series-usdchf-${seed}-xgboost-${budget_s}`, () =>
    seriesPeer(places, "usdchf", seed, budget_s),
  );
  const { model, no_edge } = run.sealed;
  return [
    "| USDCHF, 4 hours ahead | hit rate | block-bootstrap standard error |",
    "|---|---|---|",
    `| magnet | ${fixed(model.score)} [${fixed(model.low)}, ${fixed(model.high)}]${no_edge ? ", no edge" : ""} | |`,
    `| XGBoost, defaults | ${fixed(plain.hit_rate)} | ${fixed(plain.standard_error)} |`,
    `| XGBoost, defaults, own features | ${fixed(own.hit_rate)} | ${fixed(own.standard_error)} |`,
    `| XGBoost, ${searched.trials} trials | ${fixed(searched.hit_rate)} | ${fixed(searched.standard_error)} |`,
    `data-scale curve: ${run.curve.map((p) => `${p.rows}: ${fixed(p.score)}`).join(", ") || "none"}`,
  ].join("\n");
}
