/**
 * Options of the table and its store of results: a cell that is there is not computed again, so the
 * script goes on where it was stopped.
 */
import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import type { Places } from "./cells.ts";

export const SETS = [
  ...["spam", "credit_data", "mlc_churn", "lending_club"],
  ...["pima", "ionosphere", "satellite", "wa_churn"],
];

export interface TableOptions {
  readonly places: Places;
  readonly sets: readonly string[];
  readonly seeds: readonly number[];
  /** Of a cell of the search; other rows take their multiple of it. */
  readonly cpu_s: number;
  /** Of the rows that count trials, kills or repeats, and of the study: 1 is the whole, 0.1 a look. */
  readonly scale: number;
  /** Kinds of rows that are wanted. */
  readonly rows: readonly string[];
  /** Cells at a time. */
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
 * A row of the table. What takes long is kept with `stored`, so that a run that is stopped goes on;
 * rows run one after another, and only `search` may use `parallel`: the others have the machine alone.
 */
export type Row = (options: TableOptions) => Promise<RowResult>;

const FLAGS = {
  data: { type: "string" },
  results: { type: "string", default: "research-table" },
  sets: { type: "string", default: SETS.join(",") },
  seeds: { type: "string", default: "1,2,3" },
  "cpu-s": { type: "string", default: "60" },
  scale: { type: "string", default: "1" },
  rows: { type: "string" },
  parallel: { type: "string", default: "2" },
} as const;

export function tableOptions(kinds: readonly string[]): TableOptions {
  const { values } = parseArgs({ options: FLAGS });
  const rows = values.rows?.split(",") ?? kinds;
  const strange = rows.filter((row) => !kinds.includes(row));
  if (strange.length > 0) throw new Error(`no rows ${strange}; there are ${kinds.join(", ")}`);
  const root = path.resolve(import.meta.dir, "../../..");
  const magnet = process.env.MAGNET?.split(" ") ?? [
    process.execPath,
    path.join(root, "src/main.ts"),
  ];
  const results = path.resolve(values.results);
  fs.mkdirSync(path.join(results, "cells"), { recursive: true });
  return {
    places: {
      data: path.resolve(values.data ?? path.join(results, "data")),
      results,
      python: process.env.PYTHON ?? "/usr/bin/python3",
      magnet,
    },
    sets: values.sets.split(","),
    seeds: values.seeds.split(",").map(Number),
    cpu_s: Number(values["cpu-s"]),
    scale: Number(values.scale),
    rows,
    parallel: Number(values.parallel),
  };
}

export const say = (text: string) => process.stderr.write(`table: ${text}\n`);

/** The stored result of that name, or `make`'s, stored whole or not at all. */
export async function stored<T>(places: Places, name: string, make: () => Promise<T>): Promise<T> {
  const file = path.join(places.results, "cells", `${name}.json`);
  if (fs.existsSync(file)) return JSON.parse(fs.readFileSync(file, "utf8")) as T;
  const start = performance.now();
  const value = await make();
  fs.writeFileSync(`${file}.part`, JSON.stringify(value));
  fs.renameSync(`${file}.part`, file);
  say(`${name} in ${((performance.now() - start) / 1000).toFixed(0)} s`);
  return value;
}

/** Runs jobs, some at a time; all are tried, then the failed ones are told. */
export async function inParallel(jobs: (() => Promise<unknown>)[], limit: number): Promise<void> {
  const queue = [...jobs];
  const failures: unknown[] = [];
  const worker = async () => {
    for (let job = queue.shift(); job !== undefined; job = queue.shift())
      await job().catch((error: unknown) => failures.push(error));
  };
  await Promise.all(Array.from({ length: limit }, worker));
  for (const failure of failures) say(failure instanceof Error ? failure.message : String(failure));
  if (failures.length > 0) throw new Error(`${failures.length} cells failed; run again to retry`);
}
