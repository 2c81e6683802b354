/** Tasks that hold nothing, and what the rows of whole research runs share. */
import fs from "node:fs";
import path from "node:path";
import { seededRandom } from "../../../src/core/random.ts";
import { type Places, runToEnd, writeTask } from "./cells.ts";
import { inParallel, type RowResult, stored, type TableOptions } from "./places.ts";

export interface Report {
  readonly context_gap: { baseline: number | null; final: number | null } | null;
  readonly learning_curve: readonly { rows: number; score: number; trials: number }[];
  readonly trials: readonly { readonly index: number; readonly score: number | null }[];
  readonly result: {
    readonly baseline: { readonly trial: number };
    readonly final: { readonly candidate: { readonly trial: number } };
    readonly trials: { readonly [state: string]: number };
    readonly sealed: {
      readonly model: { score: number; low: number; high: number };
      readonly baseline: { score: number };
      readonly difference: { high: number };
      readonly trivial: { score: number };
      readonly no_edge: boolean;
    };
    readonly spent: { readonly cpu_s: number };
  };
}

/** Runs a task into a folder and reads its report. */
export async function runTask(
  places: Places,
  task_file: string,
  name: string,
  flags: readonly string[],
): Promise<{ report: Report; cpu_s: number; folder: string }> {
  const folder = path.join(places.results, "runs", name);
  fs.rmSync(folder, { recursive: true, force: true });
  const magnet = [...places.pin, ...places.magnet];
  const command = [...magnet, "research", "run", task_file, "--no-knowledge"];
  const log = path.join(places.results, "logs", `${name}.log`);
  const { cpu_s } = await runToEnd([...command, "--out", folder, "--json", ...flags], log);
  return { report: readReport(folder), cpu_s, folder };
}

const readReport = (folder: string) =>
  JSON.parse(fs.readFileSync(path.join(folder, "report.json"), "utf8")) as Report;

export const one = ["--workers", "1", "--threads", "1"];
export const fixed = (x: number | null) => (x === null ? "-" : x.toFixed(4));
export const USDCHF = {
  domain: "series",
  label: undefined,
  time: "time",
  metric: "hit_rate",
  // Four hours of half-hour rows.
  series: { price: "close", horizon: 8 },
};

/** pima with its labels dealt out anew. */
function shuffledPima(places: Places, seed: number): string {
  const [head, ...lines] = fs
    .readFileSync(path.join(places.data, "pima.csv"), "utf8")
    .trimEnd()
    .split("\n");
  const random = seededRandom(seed);
  const labels = lines.map((line) => line.slice(line.lastIndexOf(",")));
  for (let i = labels.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [labels[i], labels[j]] = [labels[j]!, labels[i]!];
  }
  const dealt = lines.map((line, i) => line.slice(0, line.lastIndexOf(",")) + labels[i]!);
  const file = path.join(places.results, "tasks", `shuffled-${seed}.csv`);
  fs.writeFileSync(file, `${[head, ...dealt].join("\n")}\n`);
  return file;
}

interface Sealed {
  readonly model: { readonly score: number; readonly low: number; readonly high: number };
  readonly trivial: { readonly score: number };
  readonly no_edge: boolean;
}

/** Series and labels that hold nothing: a run must say so. */
export async function edgeRow(options: TableOptions): Promise<RowResult> {
  const { places, seeds, cpu_s } = options;
  const root = path.resolve(import.meta.dir, "../../..");
  const series = (data: string, time: string, price: string) => ({
    ...USDCHF,
    data,
    time,
    series: { price, horizon: 1 },
  });
  const sp500 = path.join(root, "node_modules/vega-datasets/data/sp500-2000.csv");
  const gold = path.join(places.data, "gold.csv");
  const tasks = [
    ...seeds.flatMap((seed) => [
      { name: `sp500-${seed}`, seed, more: () => series(sp500, "date", "close") },
      { name: `gold-${seed}`, seed, more: () => series(gold, "day", "close") },
      { name: `shuffled-${seed}`, seed, more: () => ({ data: shuffledPima(places, seed) }) },
    ]),
  ];
  const lines = ["| task | score [95%] | trivial | said |", "|---|---|---|---|"];
  const found = new Map<string, Sealed>();
  await inParallel(
    options,
    tasks.map(({ name, seed, more }) => async (pinned) => {
      const sealed = await stored(pinned, `edge-${name}-${cpu_s}`, async () => {
        fs.mkdirSync(path.join(places.results, "tasks"), { recursive: true });
        const flags = [...one, "--cpu", String(cpu_s / 2)];
        const task = writeTask(pinned, name, seed, more());
        return (await runTask(pinned, task, `edge-${name}`, flags)).report.result.sealed;
      });
      found.set(name, sealed);
    }),
  );
  for (const { name } of tasks) {
    const { model, trivial, no_edge } = found.get(name)!;
    lines.push(
      `| ${name} | ${fixed(model.score)} [${fixed(model.low)}, ${fixed(model.high)}] | ` +
        `${fixed(trivial.score)} | ${no_edge ? "no edge" : "AN EDGE"} |`,
    );
  }
  const none = [...found.values()].filter(({ no_edge }) => no_edge).length;
  const figure = {
    name: "S&P 500, gold, shuffled labels: runs that say no edge",
    ...{ figure: `${none} of ${tasks.length}`, peer: null, goal: "all" },
    reached: none === tasks.length,
  };
  return { markdown: lines.join("\n"), figures: [figure] };
}
