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

type Peer = Awaited<ReturnType<typeof seriesPeer>>;

const peersOf = (budget_s: number) =>
  ({
    defaults: { cpu_s: 0, features: "ours" },
    "defaults, own features": { cpu_s: 0, features: "own" },
    searched: { cpu_s: budget_s, features: "ours" },
  }) as const;
type PeerName = keyof ReturnType<typeof peersOf>;

function peerOf(places: Places, name: PeerName, seed: number, budget_s: number): Promise<Peer> {
  const { cpu_s, features } = peersOf(budget_s)[name];
  const key = `series-usdchf-${seed}-xgboost-${features}-${cpu_s}`;
  return stored<Peer>(places, key, () => seriesPeer(places, "usdchf", seed, cpu_s, features));
}

const oursOf = (places: Places, seed: number, budget_s: number) =>
  stored(places, `series-usdchf-${seed}-${budget_s}`, async () => {
    const task = writeTask(places, "usdchf", seed, USDCHF);
    const flags = [...one, "--cpu", String(budget_s)];
    const { report } = await runTask(places, task, `usdchf-${seed}`, flags);
    return { sealed: report.result.sealed, curve: report.learning_curve };
  });

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

/** Goal: means over the seeds not below XGBoost's by more than one block-bootstrap standard error. */
export async function seriesRow(options: TableOptions): Promise<RowResult> {
  const { places, seeds, cpu_s } = options;
  const budget_s = cpu_s * 2;
  const names = Object.keys(peersOf(budget_s)) as PeerName[];
  // The peer's runs share files: one after another.
  const peersInTurn = async (pinned: Places) => {
    for (const seed of seeds) for (const name of names) await peerOf(pinned, name, seed, budget_s);
  };
  const own = seeds.map((seed) => (pinned: Places) => oursOf(pinned, seed, budget_s));
  await inParallel(options, [peersInTurn, ...own]);
  const runs = await Promise.all(seeds.map((seed) => oursOf(places, seed, budget_s)));
  const peers = await Promise.all(
    names.map(async (name) => {
      const all = await Promise.all(seeds.map((seed) => peerOf(places, name, seed, budget_s)));
      const of = (what: keyof Peer) => mean(all.map((peer) => peer[what]));
      const [hit_rate, standard_error, trials] = [
        of("hit_rate"),
        of("standard_error"),
        of("trials"),
      ];
      return { name, hit_rate, standard_error, trials };
    }),
  );
  const best = peers.reduce((a, b) => (b.hit_rate > a.hit_rate ? b : a));
  const score = mean(runs.map(({ sealed }) => sealed.model.score));
  const lines = [
    ...runs.map(({ sealed: { model, no_edge } }, i) => {
      const interval = `[${fixed(model.low)}, ${fixed(model.high)}]${no_edge ? ", no edge" : ""}`;
      return `| magnet, seed ${seeds[i]} | ${fixed(model.score)} ${interval} | | |`;
    }),
    `| magnet, mean | ${fixed(score)} | | |`,
    ...peers.map(
      ({ name, hit_rate, standard_error, trials }) =>
        `| XGBoost, ${name} | ${fixed(hit_rate)} | ${fixed(standard_error)} | ${trials.toFixed(1)} |`,
    ),
  ];
  const curves = runs.map(({ curve }, i) => {
    const points = curve.map((p) => `${p.rows}: ${fixed(p.score)} (${p.trials})`).join(", ");
    return `Data-scale curve, seed ${seeds[i]}, best of (trials): ${points || "none"}`;
  });
  const markdown = [
    "| USDCHF, 4 hours ahead | hit rate | block-bootstrap standard error | trials |",
    "|---|---|---|---|",
    ...lines,
    "",
    curves.join("\n\n"),
  ].join("\n");
  const points = Math.min(...runs.map(({ curve }) => curve.length));
  const figures: Figure[] = [
    {
      name: "USDCHF hit rate, 4 hours ahead, mean over the seeds",
      ...{ figure: fixed(score), peer: fixed(best.hit_rate) },
      goal: `>= the best XGBoost - ${fixed(best.standard_error)} (a standard error)`,
      reached: score >= best.hit_rate - best.standard_error,
    },
    {
      name: "points of the data-scale curve that the loop found, least of the seeds",
      ...{ figure: points, peer: null, goal: ">= 3" },
      reached: points >= 3,
    },
  ];
  return { markdown, figures };
}
