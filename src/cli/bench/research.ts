/**
 * `magnet bench research`: CPU time of the learners of autoresearch on a made-up table, binning and
 * fit together, and the trials a second of its worker processes. The table is the same on every machine; its figures are sums and products of
 * features with noise, so that trees find something at every depth.
 */
import { type BenchResult, benchResult, machineOf } from "../../core/bench-report.ts";
import type { FitOptions, LearnerMatrix } from "../../native/learner-types.ts";
import { binData, fit } from "../../native/learners.ts";
import { defineCommand } from "../frame/command.ts";
import { COMPARE_FLAGS, measure, resultsTable } from "./output.ts";
import { benchTrials } from "./research-trials.ts";

interface Size {
  rows: number;
  columns: number;
  trees: number;
  threads: number;
  /** Of one repeat of trials_per_s; 0: not measured. */
  trials: number;
  repeat: number;
}

/** Mulberry32 (Ettinger 2017): two and a half million numbers in a moment. */
function quickRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Features close to normal, two classes. At least 4 columns. */
function madeUp({ rows, columns }: Size): { matrix: LearnerMatrix; target: Float32Array } {
  const random = quickRandom(7);
  const values = new Float32Array(rows * columns);
  const nearNormal = () => random() + random() + random() + random() - 2;
  for (let i = 0; i < values.length; i++) values[i] = nearNormal();
  const at = (column: number, row: number) => values[column * rows + row]!;
  const target = Float32Array.from({ length: rows }, (_, row) => {
    let z = at(columns - 1, row) * at(columns - 2, row) * 2 + (at(3, row) > 0.3 ? 1 : 0);
    for (let c = 0; c < Math.min(10, columns); c++) z += at(c, row) * (c % 2 === 0 ? 0.5 : -0.5);
    return z + nearNormal() > 0 ? 1 : 0;
  });
  return { matrix: { rows, columns, values, levels: new Int32Array(columns) }, target };
}

/** The first rows of the same kind of table, as a task of its own. */
const TASK_ROWS = 500;
function asCsv(size: Size): string {
  const rows = Math.min(size.rows, TASK_ROWS);
  const { matrix, target } = madeUp({ ...size, rows });
  const names = Array.from({ length: matrix.columns }, (_, c) => `x${c}`);
  const lines = Array.from({ length: rows }, (_, row) =>
    [...names.map((_, c) => matrix.values[c * rows + row]!), target[row]].join(","),
  );
  return `${[...names, "label"].join(",")}\n${lines.join("\n")}\n`;
}

/** CPU seconds of all threads of this process that `work` uses. */
async function cpuSeconds(work: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

async function timesOf(
  { matrix, target }: ReturnType<typeof madeUp>,
  size: Size,
  learner: Pick<FitOptions, "learner" | "params">,
): Promise<number[]> {
  const times: number[] = [];
  const { threads } = size;
  for (let i = 0; i < size.repeat; i++)
    times.push(
      await cpuSeconds(async () => {
        const data = await binData(matrix, { threads });
        const model = await fit(data, {
          ...{ ...learner, objective: "classification", classes: 2, target, weight: null },
          ...{ rows: null, seed: 1, threads },
        });
        model.free();
        data.free();
      }),
    );
  return times;
}

interface ResearchReport {
  schema: "magnet.bench/1";
  suite: "research";
  machine: Record<string, unknown>;
  size: Size;
  results: BenchResult[];
}

async function benchResearch(size: Size): Promise<ResearchReport> {
  const machine = machineOf();
  const table = madeUp(size);
  const { trees } = size;
  // The worker of the pool starts before anything is measured.
  const small = madeUp({ ...size, rows: 100, columns: 4 });
  await timesOf(small, { ...size, repeat: 1 }, { learner: "boosting", params: { trees: 1 } });
  const params = { trees, max_depth: 6, min_samples_leaf: 1 };
  const boosting = { learner: "boosting", params } as const;
  const extraTrees = { learner: "extra_trees", params: { trees } } as const;
  const results = [
    benchResult("boosting_cpu_s", "s", await timesOf(table, size, boosting)),
    benchResult("extra_trees_cpu_s", "s", await timesOf(table, size, extraTrees)),
    ...(size.trials === 0 ? [] : await benchTrials(asCsv(size), size)),
  ];
  return { ...{ schema: "magnet.bench/1", suite: "research", machine }, size, results };
}

export const research = defineCommand({
  summary: "CPU time of the learners of autoresearch; trials a second of its workers",
  details:
    "boosting_cpu_s, extra_trees_cpu_s: binning a table of numbers and fitting the learner on it, two\nclasses, CPU seconds of all threads. Boosting has depth 6, extra trees grow to the end. trials_per_s: trials\nof a research run on at most 500 rows, two worker processes, beside twice the rate of one.",
  examples: [
    { command: "magnet bench research --json", does: "50,000 rows, 50 columns, 100 trees" },
    { command: "magnet bench research --rows 2000 --columns 30", does: "what one fold costs" },
  ],
  args: {},
  flags: {
    rows: { type: "integer", min: 100, max: 1_000_000, default: 50_000, summary: "of the table" },
    columns: { type: "integer", min: 4, max: 1000, default: 50, summary: "of the table" },
    trees: { type: "integer", min: 1, max: 10_000, default: 100, summary: "of a model" },
    trials: { type: "integer", min: 0, max: 10_000, default: 16, summary: "of a run; 0: none" },
    threads: { type: "integer", min: 0, max: 64, default: 1, summary: "0 means all" },
    repeat: { type: "integer", min: 1, max: 100, default: 3, summary: "fits of each learner" },
    ...COMPARE_FLAGS,
  },
  async run({ out }, { flags }) {
    const { rows, columns, trees, threads, trials, repeat } = flags;
    const suite = () => benchResearch({ rows, columns, trees, threads, trials, repeat });
    return measure(out, flags, suite, ({ size, results }) =>
      [
        resultsTable(results),
        `${size.rows} rows, ${size.columns} columns, ${size.trees} trees, threads ${size.threads}`,
      ].join("\n"),
    );
  },
});
