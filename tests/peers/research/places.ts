/**
 * Options of the table, what its rows answer, and its store of results: a cell that is there is not
 * computed again, so the script goes on where it was stopped. `places.ts ...OPTIONS` checks options
 * and prints the folder of the results.
 */
import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { MagnetError } from "../../../src/core/errors.ts";
import type { Places } from "./cells.ts";

const ROOT = path.resolve(import.meta.dir, "../../..");

export const SETS = [
  ...["spam", "credit_data", "mlc_churn", "lending_club"],
  ...["pima", "ionosphere", "satellite", "wa_churn"],
];

/** Rows in the order in which they run. */
export const ROWS = [
  ...["search", "contexts", "series", "edge", "genkidama"],
  ...["efficiency", "knowledge", "learners", "resume", "workers"],
] as const;
export type RowName = (typeof ROWS)[number];

export interface TableOptions {
  readonly places: Places;
  readonly sets: readonly string[];
  readonly seeds: readonly number[];
  /** Of a cell of the search; other rows take their multiple of it. */
  readonly cpu_s: number;
  /** Of the rows that count trials, kills or repeats, and of the study: 1 is the whole, 0.1 a look. */
  readonly scale: number;
  readonly rows: readonly RowName[];
  /** Cells at a time, each on a core of its own. */
  readonly parallel: number;
}

/** One figure of a row, as the summary at the end lists it. */
export interface Figure {
  readonly name: string;
  readonly figure: number | string;
  /** What the goal is measured against; null where there is nobody. */
  readonly peer: number | string | null;
  /** In words, with its number: "<= 0.85x". */
  readonly goal: string;
  readonly reached: boolean;
}

export interface RowResult {
  /** Table and notes of the row, without a heading. */
  readonly markdown: string;
  readonly figures: readonly Figure[];
}

/**
 * A row of the table. What takes long is kept with `stored`, so that a run that is stopped goes on.
 * Rows run one after another; cells of one that count CPU seconds may run side by side through
 * `inParallel`, what measures the machine's speed has it alone.
 */
export type Row = (options: TableOptions) => Promise<RowResult>;

const FLAGS = {
  results: { type: "string", default: "research-table" },
  sets: { type: "string", default: SETS.join(",") },
  seeds: { type: "string", default: "1,2,3" },
  "cpu-s": { type: "string", default: "60" },
  scale: { type: "string", default: "1" },
  rows: { type: "string", default: ROWS.join(",") },
  parallel: { type: "string", default: "2" },
} as const;

function wrong(message: string, hint: string): never {
  throw new MagnetError("BAD_OPTION", message, { hint, exit: "usage" });
}

function parsed() {
  try {
    return parseArgs({ options: FLAGS }).values;
  } catch (error) {
    const first = (error as Error).message.split(". ")[0]!;
    return wrong(
      first,
      `options: ${Object.keys(FLAGS)
        .map((name) => `--${name}`)
        .join(" ")}, each with a value`,
    );
  }
}

function listOf<T extends string>(name: string, text: string, known: readonly T[]): T[] {
  const values = [...new Set(text.split(","))];
  const strange = values.filter((value) => !(known as readonly string[]).includes(value));
  if (strange.length > 0)
    wrong(`--${name} does not know "${strange}"`, `it knows ${known.join(", ")}`);
  return known.filter((value) => values.includes(value));
}

function numberOf(name: string, text: string, least: number, most: number, whole: boolean): number {
  const value = text.trim() === "" ? Number.NaN : Number(text);
  if (!(value >= least && value <= most) || (whole && !Number.isInteger(value)))
    wrong(`--${name} ${text}`, `give a ${whole ? "whole " : ""}number of ${least} to ${most}`);
  return value;
}

/** Cores that this process may use. */
export function ownCores(): number[] {
  const status = fs.readFileSync("/proc/self/status", "utf8");
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? "0";
  return list.split(",").flatMap((part) => {
    const [from, to = from] = part.split("-").map(Number) as [number, number?];
    return Array.from({ length: to! - from + 1 }, (_, i) => from + i);
  });
}

/** Throws BAD_OPTION. Relative folders are below the repository. */
export function tableOptions(): TableOptions {
  const values = parsed();
  const seeds = values.seeds.split(",").map((seed) => numberOf("seeds", seed, 0, 2 ** 31, true));
  const cores = ownCores().length;
  return {
    places: {
      data: path.resolve(ROOT, values.results, "data"),
      results: path.resolve(ROOT, values.results),
      python: process.env.PYTHON ?? "/usr/bin/python3",
      magnet: process.env.MAGNET?.split(" ") ?? [process.execPath, path.join(ROOT, "src/main.ts")],
      pin: [],
    },
    sets: listOf("sets", values.sets, SETS),
    seeds: [...new Set(seeds)],
    cpu_s: numberOf("cpu-s", values["cpu-s"], 1, 86_400, false),
    scale: numberOf("scale", values.scale, 0.01, 100, false),
    rows: listOf("rows", values.rows, ROWS),
    parallel: Math.min(cores, numberOf("parallel", values.parallel, 1, 256, true)),
  };
}

export const say = (text: string) => process.stderr.write(`table: ${text}\n`);

let known_revision: string | undefined;
/** Commit of the code that measures; "+" where files differ from it. */
export function revision(): string {
  if (known_revision !== undefined) return known_revision;
  const git = (...args: string[]) => {
    const { success, stdout } = Bun.spawnSync(["git", "-C", ROOT, ...args], { stderr: "ignore" });
    return success ? stdout.toString().trim() : null;
  };
  const commit = Bun.which("git") === null ? null : git("rev-parse", "--short", "HEAD");
  const changes = commit === null ? null : git("status", "--porcelain", "--untracked-files=no");
  known_revision = commit === null ? "unknown" : `${commit}${changes ? "+" : ""}`;
  return known_revision;
}

interface Kept<T> {
  readonly revision: string;
  /** Seconds that it took to make. */
  readonly wall_s: number;
  readonly value: T;
}

/** Cells that this process has used: how long each took, and with which code. */
export const used = new Map<string, Omit<Kept<unknown>, "value">>();

/** The stored result of that name, or `make`'s, stored whole or not at all. */
export async function stored<T>(places: Places, name: string, make: () => Promise<T>): Promise<T> {
  const file = path.join(places.results, "cells", `${name}.json`);
  const keep = ({ value, ...made }: Kept<T>) => {
    used.set(name, made);
    return value;
  };
  if (fs.existsSync(file)) return keep(JSON.parse(fs.readFileSync(file, "utf8")) as Kept<T>);
  const start = performance.now();
  const value = await make();
  const kept = { revision: revision(), wall_s: (performance.now() - start) / 1000, value };
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(`${file}.part`, JSON.stringify(kept));
  fs.renameSync(`${file}.part`, file);
  say(`${name} in ${kept.wall_s.toFixed(0)} s`);
  return keep(kept);
}

/**
 * Runs jobs, some at a time, each lane on a core of its own; all are tried, then the failed ones
 * are told. A job takes the places that it is given: their commands stay on the lane's core.
 */
export async function inParallel(
  { places, parallel }: TableOptions,
  jobs: readonly ((places: Places) => Promise<unknown>)[],
): Promise<void> {
  const queue = [...jobs];
  const failures: unknown[] = [];
  const lane = async (core: number) => {
    const pinned = { ...places, pin: ["taskset", "--cpu-list", String(core)] };
    for (let job = queue.shift(); job !== undefined; job = queue.shift())
      await job(pinned).catch((error: unknown) => failures.push(error));
  };
  await Promise.all(ownCores().slice(0, parallel).map(lane));
  for (const failure of failures) say(failure instanceof Error ? failure.message : String(failure));
  if (failures.length > 0) throw new Error(`${failures.length} cells failed; run again to retry`);
}

if (import.meta.main) {
  try {
    process.stdout.write(`${tableOptions().places.results}\n`);
  } catch (error) {
    if (!(error instanceof MagnetError)) throw error;
    process.stderr.write(`research.sh: ${error.message} (${error.hint})\n`);
    process.exit(2);
  }
}
