/**
 * Row of the table: CPU seconds of the native learners beside XGBoost's boosting and scikit-learn's
 * extra trees (learners.py), on one table, one thread, the same settings, in turns in one run, with
 * the balanced accuracy of each. Alone: `learners.ts [--scale 1]`, with the table's options.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { FitOptions, LearnerMatrix, LearnerName } from "../../../src/native/learner-types.ts";
import { binData, fit } from "../../../src/native/learners.ts";
import { type Figure, type RowResult, say, type TableOptions, tableOptions } from "./places.ts";

const SIZE = { rows: 50_000, columns: 50, trees: 100 } as const;
const REPEATS = 5;

/** The same settings: extra trees grow to the end on both sides, boosting to depth 6. */
const PAIRS = [
  {
    learner: "boosting",
    params: { max_depth: 6, learning_rate: 0.1, l2: 1, min_child_weight: 1, min_samples_leaf: 1 },
    peer: "xgboost",
    most: 0.85,
  },
  { learner: "extra_trees", params: {}, peer: "scikit-learn extra trees", most: 0.55 },
] as const;

interface Timed {
  readonly cpu_s: number;
  /** Balanced accuracy on the rows that are held out. */
  readonly score: number;
}

interface MadeUp {
  readonly train: LearnerMatrix;
  readonly train_target: Float32Array;
  readonly held_out: LearnerMatrix;
  readonly held_out_target: Float32Array;
}

const cpuSeconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

function readTable(folder: string): MadeUp {
  const read = (name: string) => {
    const bytes = fs.readFileSync(path.join(folder, name));
    return new Float32Array(new Uint8Array(bytes).buffer);
  };
  const [all, target] = [read("features.f32"), read("target.f32")];
  const columns = all.length / target.length;
  const part = (from: number, to: number): LearnerMatrix => {
    const values = new Float32Array((to - from) * columns);
    for (let c = 0; c < columns; c++) {
      const column = all.subarray(c * target.length + from, c * target.length + to);
      values.set(column, c * (to - from));
    }
    return { rows: to - from, columns, values, levels: new Int32Array(columns) };
  };
  return {
    train: part(0, SIZE.rows),
    train_target: target.slice(0, SIZE.rows),
    held_out: part(SIZE.rows, target.length),
    held_out_target: target.slice(SIZE.rows),
  };
}

function balancedAccuracy(p: Float32Array, target: Float32Array): number {
  const [right, count] = [
    [0, 0],
    [0, 0],
  ] as [number[], number[]];
  for (const [i, y] of target.entries()) {
    count[y]!++;
    if ((p[2 * i + 1]! > 0.5 ? 1 : 0) === y) right[y]!++;
  }
  return (right[0]! / count[0]! + right[1]! / count[1]!) / 2;
}

/** Binning and fitting, as the peers' loading and fitting. */
async function magnetRun(
  table: MadeUp,
  learner: LearnerName,
  params: FitOptions["params"],
): Promise<Timed> {
  const start = cpuSeconds();
  const data = await binData(table.train, { threads: 1 });
  const model = await fit(data, {
    ...{ learner, objective: "classification", classes: 2, target: table.train_target },
    ...{ weight: null, rows: null, params, seed: 1, threads: 1 },
  });
  const cpu_s = cpuSeconds() - start;
  const p = await model.predict(table.held_out, null, { threads: 1 });
  model.free();
  data.free();
  return { cpu_s, score: balancedAccuracy(p, table.held_out_target) };
}

/** learners.py as a process that fits when it is told to and waits in between. */
async function startPeers(python: string, folder: string) {
  const script = path.join(import.meta.dir, "learners.py");
  const sizes = [SIZE.rows, SIZE.columns, SIZE.trees].map(String);
  const child = Bun.spawn([python, script, folder, ...sizes], { stdin: "pipe", stderr: "inherit" });
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  const answer = async () => {
    while (!rest.includes("\n")) {
      const { value, done } = await reader.read();
      if (done) throw new Error(`learners.py ended with ${await child.exited}`);
      rest += value;
    }
    const line = rest.slice(0, rest.indexOf("\n"));
    rest = rest.slice(line.length + 1);
    return JSON.parse(line);
  };
  const { versions } = (await answer()) as { versions: string };
  return {
    versions,
    async run(system: string): Promise<Timed> {
      child.stdin.write(`${system}\n`);
      child.stdin.flush();
      return (await answer()) as Timed;
    },
    async end() {
      child.stdin.end();
      await child.exited;
    },
  };
}

const median = (values: readonly number[]) => {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length / 2;
  return (sorted[Math.floor(half)]! + sorted[Math.ceil(half) - 1]!) / 2;
};

function summary(pair: (typeof PAIRS)[number], ours: readonly Timed[], theirs: readonly Timed[]) {
  const seconds = (runs: readonly Timed[]) => median(runs.map((run) => run.cpu_s)).toFixed(2);
  const score = (runs: readonly Timed[]) => runs[0]!.score.toFixed(4);
  const ratios = ours.map((run, i) => run.cpu_s / theirs[i]!.cpu_s);
  const ratio = median(ratios);
  const spread = `${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`;
  const cells = [
    ...[`${pair.learner} against ${pair.peer}`, seconds(ours), seconds(theirs)],
    ...[`${ratio.toFixed(2)} (${spread})`, `<= ${pair.most}`, score(ours), score(theirs)],
  ];
  const figure: Figure = {
    name: `CPU seconds of ${pair.learner}, ${SIZE.rows} x ${SIZE.columns}, ${SIZE.trees} trees`,
    figure: seconds(ours),
    peer: seconds(theirs),
    goal: `<= ${pair.most}x`,
    reached: ratio <= pair.most,
  };
  return { line: `| ${cells.join(" | ")} |`, figure };
}

const HEAD = [
  "| learner | magnet CPU-s | peer CPU-s | ratio | goal | magnet's score | peer's score |",
  "|---|---|---|---|---|---|---|",
];

export async function learnersRow({ places, scale }: TableOptions): Promise<RowResult> {
  const repeats = Math.max(1, Math.round(REPEATS * scale));
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-learners-"));
  let peers: Awaited<ReturnType<typeof startPeers>> | undefined;
  try {
    peers = await startPeers(places.python, folder);
    const table = readTable(folder);
    // The worker of the pool starts before anything is measured.
    (await binData(table.held_out, { threads: 1 })).free();
    const runs = PAIRS.map(() => ({ ours: [] as Timed[], theirs: [] as Timed[] }));
    for (let repeat = 0; repeat < repeats; repeat++)
      for (const [i, { learner, params, peer }] of PAIRS.entries()) {
        const settings = { ...params, trees: SIZE.trees };
        runs[i]!.ours.push(await magnetRun(table, learner, settings));
        runs[i]!.theirs.push(await peers.run(peer));
        const [ours, theirs] = [runs[i]!.ours.at(-1)!, runs[i]!.theirs.at(-1)!];
        say(`${learner} ${ours.cpu_s.toFixed(2)} s, ${peer} ${theirs.cpu_s.toFixed(2)} s`);
      }
    const rows = PAIRS.map((pair, i) => summary(pair, runs[i]!.ours, runs[i]!.theirs));
    const note =
      `${SIZE.rows} rows x ${SIZE.columns} numbers, ${SIZE.trees} trees, one thread, in turns: ` +
      `median of ${repeats}; ratios with their range. Scores: balanced accuracy on ` +
      `${table.held_out.rows} further rows. ${peers.versions}.`;
    return {
      markdown: [...HEAD, ...rows.map((row) => row.line), "", note].join("\n"),
      figures: rows.map((row) => row.figure),
    };
  } finally {
    await peers?.end();
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

if (import.meta.main) process.stdout.write(`${(await learnersRow(tableOptions())).markdown}\n`);
