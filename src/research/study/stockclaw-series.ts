/**
 * The series of the stockclaw study: which columns of a file are time, price and volume, and the
 * control, which is a history with its own moves in another order: as wild as the real one, and
 * without anything to find.
 */
import fs from "node:fs";
import path from "node:path";
import { MagnetError } from "../../core/errors.ts";
import { Draw, seedFor } from "../evaluation/draw.ts";
import { toSeries } from "../series/raw.ts";
import { readTable } from "../table/read.ts";
import type { Column, Table } from "../table/types.ts";
import { parseTask, type Task } from "../task/load.ts";
import { TASK_SCHEMA } from "../task/schema.ts";

export interface StudySeries {
  readonly name: string;
  readonly file: string;
  readonly time: string | null;
  readonly price: string;
  readonly volume: string | null;
  /** Rows ahead. */
  readonly horizon: number;
  /** Its moves are in another order: a run must find nothing. */
  readonly control: boolean;
}

/** Names by which the columns are known, the likeliest first. */
const PRICES = ["adjclose", "adj_close", "adj close", "close", "price", "last", "value"];
const TIMES = ["time", "date", "datetime", "timestamp", "day"];
const VOLUMES = ["volume", "vol"];

const named = (columns: readonly Column[], names: readonly string[]): string | null => {
  for (const name of names) {
    const found = columns.find((c) => c.kind === "number" && c.name.toLowerCase() === name);
    if (found !== undefined) return found.name;
  }
  return null;
};

/** Finds the columns of a file. Throws BAD_SERIES where no price is found. */
export async function describeSeries(file: string, horizon: number): Promise<StudySeries> {
  const { table } = await readTable([file]);
  const price = named(table.columns, PRICES);
  if (price === null)
    throw new MagnetError("BAD_SERIES", `${file} has no column of a price`, {
      hint: `call it one of ${PRICES.join(", ")}; columns are ${table.columns.map((c) => c.name).join(", ")}`,
      exit: "config",
    });
  const clock = table.columns.find((c) => c.kind === "number" && c.time);
  return {
    name: path.parse(file).name,
    file: path.resolve(file),
    time: named(table.columns, TIMES) ?? clock?.name ?? null,
    price,
    volume: named(table.columns, VOLUMES),
    horizon,
    control: false,
  };
}

/** The task file of a series. */
export function seriesDocument(series: StudySeries, options: { cost: number; seed: number }) {
  const { name, file, time, price, volume, horizon } = series;
  return {
    schema: TASK_SCHEMA,
    name,
    domain: "series",
    data: file,
    ...(time === null ? {} : { time }),
    series: { price, horizon, cost: options.cost, ...(volume === null ? {} : { volume }) },
    metric: "hit_rate",
    seed: options.seed,
  };
}

/**
 * Writes the control of a series into the folder, unless it is there: the same times, and the moves
 * of the price in an order drawn from the seed.
 */
export async function writeControl(
  series: StudySeries,
  folder: string,
  seed: number,
): Promise<StudySeries> {
  const name = `${series.name}-shuffled`;
  const file = path.join(folder, `${name}.csv`);
  const control: StudySeries = {
    ...{ ...series, name, file, price: "close", volume: null, control: true },
    time: series.time === null ? null : "time",
  };
  if (fs.existsSync(file)) return control;
  const { table } = await readTable([series.file]);
  const task = parseTask(seriesDocument(series, { cost: 0, seed }), series.file);
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(`${file}.part`, shuffledCsv(task, table, seed));
  fs.renameSync(`${file}.part`, file);
  return control;
}

function shuffledCsv(task: Task, table: Table, seed: number): string {
  const { price, time, clock } = toSeries(task, table, []);
  const moves = price.subarray(1).map((now, i) => now / price[i]!);
  new Draw(seedFor(seed, "shuffled moves")).shuffle(moves);
  const lines = [task.time === null ? "close" : "time,close"];
  let now = price[0]!;
  for (let row = 0; row < price.length; row++) {
    if (row > 0) now *= moves[row - 1]!;
    const at = clock ? new Date(time[row]!).toISOString() : String(time[row]);
    lines.push(task.time === null ? String(now) : `${at},${now}`);
  }
  return `${lines.join("\n")}\n`;
}
