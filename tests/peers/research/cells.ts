/**
 * One cell of the table: a system on a set with a seed. magnet and its peers get the same rows: parts
 * are made here, as `research run` makes them, and the peers are handed their numbers. CPU seconds
 * are those of the whole process tree, as the kernel counts them.
 */
import fs from "node:fs";
import path from "node:path";
import { splitParts } from "../../../src/research/evaluation/split.ts";
import { loadTaskData } from "../../../src/research/task/data.ts";
import { loadTask } from "../../../src/research/task/load.ts";

export interface Places {
  /** CSVs of export.R. */
  readonly data: string;
  /** One file a cell, and what the runs leave. */
  readonly results: string;
  readonly python: string;
  /** How magnet is started. */
  readonly magnet: readonly string[];
  /** Goes before a command, to hold it on a core; may be empty. */
  readonly pin: readonly string[];
}

/** What a system did on the sealed rows. */
export interface Cell {
  readonly system: string;
  readonly set: string;
  readonly seed: number;
  readonly balanced_accuracy: number;
  readonly cpu_s: number;
  readonly trials: number;
  /** Class by sealed row. */
  readonly predictions: readonly string[];
  readonly details: unknown;
}

export interface Finished {
  readonly stdout: string;
  readonly cpu_s: number;
}

/**
 * Runs a command to its end; its CPU time includes that of its children. It does not outlive this
 * process: what a killed table leaves running would share the cores with the next.
 */
export async function runToEnd(
  command: readonly string[],
  log: string,
  codes: readonly number[] = [0],
): Promise<Finished> {
  fs.mkdirSync(path.dirname(log), { recursive: true });
  const bound = ["setpriv", "--pdeathsig", "KILL", ...command];
  const child = Bun.spawn(bound, { stdout: "pipe", stderr: Bun.file(log) });
  const stdout = await new Response(child.stdout).text();
  const code = await child.exited;
  if (!codes.includes(code)) {
    const said = fs.readFileSync(log, "utf8").trim().split("\n").slice(-5).join("\n");
    throw new Error(`${command.join(" ")} ended with ${code}:\n${said}`);
  }
  return { stdout, cpu_s: Number(child.resourceUsage()!.cpuTime.total) / 1e6 };
}

/** Another cell's process may be reading the file, with the same content, at this moment. */
function writeAtOnce(file: string, text: string): void {
  fs.writeFileSync(`${file}.part`, text);
  fs.renameSync(`${file}.part`, file);
}

/** The task of a set, written down; further keys of the task file in `more`. */
export function writeTask(
  places: Places,
  set: string,
  seed: number,
  more: { readonly [key: string]: unknown } = {},
): string {
  const folder = path.join(places.results, "tasks");
  fs.mkdirSync(folder, { recursive: true });
  const file = path.join(folder, `${set}-${seed}.json`);
  const task = {
    schema: "magnet.research_task/1",
    name: set,
    domain: "tabular",
    data: path.resolve(places.data, `${set}.csv`),
    label: "label",
    metric: "balanced_accuracy",
    seed,
    ...more,
  };
  writeAtOnce(file, JSON.stringify(task, null, 2));
  return file;
}

export interface Rows {
  readonly set: string;
  readonly seed: number;
  /** Search and gate parts together: what a final model is fitted on. */
  readonly train: readonly number[];
  readonly test: readonly number[];
  /** Class of each test row. */
  readonly truth: readonly string[];
  /** Number of what each test row is a copy of, the same under every seed. */
  readonly units: readonly number[];
}

/** The parts of a task as line numbers of its CSV, written beside the task for the peers. */
export async function writeRows(task_file: string): Promise<{ file: string; rows: Rows }> {
  const task = loadTask(task_file);
  const data = await loadTaskData(task);
  const lines = countRecords(task.data[0]!);
  if (data.label.length !== lines)
    throw new Error(`${task.name}: ${lines} lines, but ${data.label.length} rows are used`);
  const parts = splitParts(data, task.split, task.seed);
  const rows: Rows = {
    set: task.name,
    seed: task.seed,
    train: [...parts.search, ...parts.gate].sort((a, b) => a - b),
    test: [...parts.sealed],
    truth: [...parts.sealed].map((row) => data.classes[data.label[row]!]!),
    units: [...parts.sealed].map((row) => data.group?.[row] ?? row),
  };
  const file = task_file.replace(/\.json$/, ".rows.json");
  writeAtOnce(file, JSON.stringify(rows));
  return { file, rows };
}

/** Records of a CSV whose fields hold no line breaks. */
function countRecords(file: string): number {
  return fs.readFileSync(file, "utf8").trimEnd().split("\n").length - 1;
}

export function balancedAccuracyOf(truth: readonly string[], predictions: readonly string[]) {
  const classes = [...new Set(truth)];
  const shares = classes.map((name) => {
    const of = truth.flatMap((y, i) => (y === name ? [predictions[i] === name ? 1 : 0] : []));
    return of.reduce<number>((a, b) => a + b, 0) / of.length;
  });
  return shares.reduce((a, b) => a + b, 0) / classes.length;
}

interface RunDocument {
  readonly result: {
    readonly trials: { readonly [state: string]: number };
    readonly sealed: { readonly model: { readonly score: number } };
  };
}

/** The last JSON document of an output. */
const lastDocument = (stdout: string): unknown =>
  JSON.parse(
    stdout
      .trim()
      .split("\n")
      .findLast((line) => line.startsWith("{"))!,
  );

/** `magnet research run` on one worker, then its model on the sealed rows. */
export async function magnetCell(
  places: Places,
  task_file: string,
  rows: Rows,
  cpu_s: number,
): Promise<Cell> {
  const name = `${rows.set}-${rows.seed}`;
  const folder = path.join(places.results, "runs", name);
  const log = path.join(places.results, "logs", `${name}-magnet.log`);
  fs.rmSync(folder, { recursive: true, force: true });
  const magnet = [...places.pin, ...places.magnet, "research"];
  const command = [...magnet, "run", task_file, "--cpu", String(cpu_s)];
  const flags = ["--workers", "1", "--threads", "1", "--no-knowledge", "--out", folder, "--json"];
  const run = await runToEnd([...command, ...flags], log);
  const data = loadTask(task_file).data[0]!;
  const model = path.join(folder, "model.bin");
  const predict = [...magnet, "predict", model, data, "--json"];
  const told = await runToEnd([...predict, "--threads", "1"], `${log}.predict`);
  const classes = told.stdout
    .trim()
    .split("\n")
    .map((line) => (JSON.parse(line) as { class: string }).class);
  const predictions = rows.test.map((row) => classes[row]!);
  const { result } = lastDocument(run.stdout) as RunDocument;
  const balanced_accuracy = balancedAccuracyOf(rows.truth, predictions);
  // Otherwise the peers would not have the rows that magnet had.
  const own = result.sealed.model.score;
  if (Math.abs(own - balanced_accuracy) > 1e-9)
    throw new Error(`${name}: the run says ${own} of its sealed rows, here ${balanced_accuracy}`);
  return {
    system: "magnet",
    set: rows.set,
    seed: rows.seed,
    balanced_accuracy,
    cpu_s: run.cpu_s,
    trials: result.trials.done ?? 0,
    predictions,
    details: result,
  };
}

/** A peer's randomised search on the same rows. */
export async function peerCell(
  places: Places,
  task_file: string,
  rows_file: string,
  system: string,
  cpu_s: number,
): Promise<Cell> {
  const script = path.join(import.meta.dir, "peers.py");
  const data = loadTask(task_file).data[0]!;
  const rows = JSON.parse(fs.readFileSync(rows_file, "utf8")) as Rows;
  const log = path.join(places.results, "logs", `${rows.set}-${rows.seed}-${system}.log`);
  const flags = ["--system", system, "--cpu-s", String(cpu_s)];
  const command = [...places.pin, places.python, script, data, rows_file, ...flags];
  const run = await runToEnd(command, log);
  const told = lastDocument(run.stdout) as Cell & { picked: unknown; search_score: number };
  const { predictions, trials, picked, search_score } = told;
  return {
    system,
    set: rows.set,
    seed: rows.seed,
    balanced_accuracy: balancedAccuracyOf(rows.truth, predictions),
    cpu_s: told.cpu_s,
    trials,
    predictions,
    details: { picked, search_score, process_cpu_s: run.cpu_s },
  };
}
