/**
 * Rows of the table beside the search: contexts (gap to leave-one-context-out), tasks without an
 * edge, and trials per second of two workers.
 */
import fs from "node:fs";
import path from "node:path";
import { seededRandom } from "../../../src/core/random.ts";
import { type Places, runToEnd, writeTask } from "./cells.ts";
import { stored, type TableOptions } from "./places.ts";

interface Report {
  readonly context_gap: { baseline: number | null; final: number | null } | null;
  readonly learning_curve: readonly { rows: number; score: number }[];
  readonly result: {
    readonly trials: { readonly [state: string]: number };
    readonly sealed: {
      readonly model: { score: number; low: number; high: number };
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
  const command = [...places.magnet, "research", "run", task_file, "--no-knowledge"];
  const log = path.join(places.results, "logs", `${name}.log`);
  const { cpu_s } = await runToEnd([...command, "--out", folder, "--json", ...flags], log);
  return { report: readReport(folder), cpu_s, folder };
}

const readReport = (folder: string) =>
  JSON.parse(fs.readFileSync(path.join(folder, "report.json"), "utf8")) as Report;

export const one = ["--workers", "1", "--threads", "1"];
export const fixed = (x: number | null) => (x === null ? "-" : x.toFixed(4));
const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;

/** Score on contexts seen minus that on contexts never seen: plain model, and final one. */
export async function contextRows({ places, seeds, cpu_s }: TableOptions): Promise<string> {
  const lines = [
    "| set | gap of the plain model | of the final one | sealed, mean |",
    "|---|---|---|---|",
  ];
  for (const [set, context] of [
    ["hpc_data", "protocol"],
    ["males", "industry"],
  ] as const) {
    const runs: { gap: Report["context_gap"]; score: number }[] = [];
    for (const seed of seeds)
      runs.push(
        await stored(places, `new-contexts-${set}-${seed}-${cpu_s}`, async () => {
          const task = writeTask(places, set, seed, { context, split: { by_context: true } });
          const flags = [...one, "--cpu", String(cpu_s)];
          const { report } = await runTask(places, task, `${set}-${seed}`, flags);
          return { gap: report.context_gap, score: report.result.sealed.model.score };
        }),
      );
    const of = (which: "baseline" | "final") =>
      mean(runs.map(({ gap }) => gap?.[which] ?? Number.NaN));
    const score = mean(runs.map((run) => run.score));
    lines.push(`| ${set} | ${fixed(of("baseline"))} | ${fixed(of("final"))} | ${fixed(score)} |`);
  }
  return lines.join("\n");
}

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

/** Series and labels that hold nothing: a run must say so. */
export async function edgeRows({ places, seeds, cpu_s }: TableOptions): Promise<string> {
  const root = path.resolve(import.meta.dir, "../../..");
  const series = (data: string, time: string, price: string) => ({
    ...USDCHF,
    data,
    time,
    series: { price, horizon: 1 },
  });
  const sp500 = path.join(root, "node_modules/vega-datasets/data/sp500-2000.csv");
  const tasks = {
    sp500: series(sp500, "date", "close"),
    gold: series(path.resolve(places.data, "gold.csv"), "day", "close"),
  };
  const lines = ["| task | score [95%] | trivial | said |", "|---|---|---|---|"];
  const add = async (name: string, make: () => string) => {
    const sealed = await stored(places, `edge-${name}-${cpu_s}`, async () => {
      const flags = [...one, "--cpu", String(cpu_s / 2)];
      return (await runTask(places, make(), `edge-${name}`, flags)).report.result.sealed;
    });
    const { model, trivial, no_edge } = sealed;
    lines.push(
      `| ${name} | ${fixed(model.score)} [${fixed(model.low)}, ${fixed(model.high)}] | ` +
        `${fixed(trivial.score)} | ${no_edge ? "no edge" : "AN EDGE"} |`,
    );
  };
  for (const [name, more] of Object.entries(tasks))
    await add(name, () => writeTask(places, name, seeds[0]!, more));
  for (const seed of seeds)
    await add(`shuffled-${seed}`, () => {
      fs.mkdirSync(path.join(places.results, "tasks"), { recursive: true });
      return writeTask(places, `shuffled-${seed}`, seed, { data: shuffledPima(places, seed) });
    });
  return lines.join("\n");
}

/** Trials per second with two local workers over one, alone on the machine. */
export async function workerRows({ places, seeds }: TableOptions): Promise<string> {
  const figures = await stored(places, "workers-spam", async () => {
    const task = writeTask(places, "spam", seeds[0]!);
    const speed = async (workers: number) => {
      const start = performance.now();
      const flags = ["--trials", "40", "--workers", String(workers), "--batch", "4"];
      const { report } = await runTask(places, task, `workers-${workers}`, flags);
      return (report.result.trials.done ?? 0) / ((performance.now() - start) / 1000);
    };
    return { one: await speed(1), two: await speed(2) };
  });
  return `trials per second on spam: ${figures.one.toFixed(2)} with one worker, ${figures.two.toFixed(2)} with two: ${(figures.two / figures.one).toFixed(2)}x`;
}
