/**
 * A price history as it comes from the files: checked, in the order of time, rows without a price
 * left out. What a chart hides is said: times out of order, several rows of one time, long gaps.
 */
import { didYouMean } from "../../core/did-you-mean.ts";
import { readTable } from "../table/read.ts";
import type { Column, Note, NumberColumn, Table } from "../table/types.ts";
import { backwardsAt } from "../task/check-roles.ts";
import { columnOf } from "../task/data.ts";
import { type Task, taskError } from "../task/load.ts";
import type { SeriesOptions } from "../task/schema.ts";

/** What of a task decides how its files are read. */
export type SeriesTask = Pick<Task, "file" | "series" | "time">;

export interface RawSeries {
  /** Ascending; row numbers where the task names no time. */
  readonly time: Float64Array;
  /** `time` is in milliseconds since 1970. */
  readonly clock: boolean;
  readonly price: Float64Array;
  readonly volume: Float64Array | null;
  /** Further numbers that are known at the row's time (a funding rate), by name. */
  readonly more: readonly NumberColumn[];
}

/** Parts, folds and rolling features need so many rows at least. */
const ROWS_MIN = 300;
/** A gap this many times the usual step is one (a weekend, a holiday). */
const GAP_STEPS = 10;

const seriesError = (message: string, hint: string) => taskError(message, hint, "BAD_SERIES");

/** Throws BAD_TABLE, COLUMN_NOT_FOUND, BAD_TIME, BAD_SERIES. */
export async function loadSeries(task: Task): Promise<{ raw: RawSeries; notes: Note[] }> {
  const { table, notes } = await readTable(task.data);
  const all = [...notes];
  return { raw: toSeries(task, table, all), notes: all };
}

/** The same from a table that is there already; adds to `notes`. */
export function toSeries(task: SeriesTask, table: Table, notes: Note[]): RawSeries {
  const options = requireSeries(task);
  const price = numbers(task, table, options.price, "price");
  const volume =
    options.volume === undefined ? null : numbers(task, table, options.volume, "volume");
  const more = options.more.map((name) => numbers(task, table, name, "number"));
  const time = task.time === null ? null : numbers(task, table, task.time, "time");
  const rows = usableRows(price, time, notes);
  const take = (column: NumberColumn): NumberColumn => ({
    ...column,
    values: Float64Array.from(rows, (row) => column.values[row]!),
  });
  const taken = take(price).values;
  checkPrice(price.name, taken);
  const times = time === null ? Float64Array.from(rows.keys()) : take(time).values;
  const clock = time?.time === true;
  if (time !== null) noteTimes(time.name, times, clock, notes);
  return {
    time: times,
    clock,
    price: taken,
    volume: volume === null ? null : take(volume).values,
    more: more.map(take),
  };
}

function requireSeries(task: SeriesTask): SeriesOptions {
  if (task.series !== null) return task.series;
  throw taskError(`${task.file} is no series task`, 'set "domain": "series"');
}

function numbers(task: SeriesTask, table: Table, name: string, role: string): NumberColumn {
  const column: Column = columnOf(task, table, name);
  if (column.kind === "number") return column;
  const others = table.columns.filter((c) => c.kind === "number").map((c) => c.name);
  throw seriesError(
    `${task.file}: the ${role} "${name}" holds text, for example "${column.levels[0] ?? ""}"`,
    didYouMean(name, others, `columns of numbers are ${others.slice(0, 10).join(", ")}`),
  );
}

/** Rows with a price (and a time), in the order of time; the last row of each time. */
function usableRows(price: NumberColumn, time: NumberColumn | null, notes: Note[]): number[] {
  const all = [...price.values.keys()];
  let rows = all.filter((row) => !Number.isNaN(price.values[row]));
  if (rows.length < all.length)
    notes.push({
      code: "MISSING_PRICE",
      text: `${all.length - rows.length} of ${all.length} rows have no "${price.name}": left out`,
      hint: "the horizon counts the rows that are left",
    });
  if (time === null) return rows;
  const timed = rows.filter((row) => !Number.isNaN(time.values[row]));
  if (timed.length < rows.length)
    notes.push({
      code: "MISSING_TIME",
      text: `${rows.length - timed.length} rows have no "${time.name}": left out`,
      hint: "give every row a time",
    });
  rows = timed;
  const at = backwardsAt(Float64Array.from(rows, (row) => time.values[row]!));
  if (at > 0) {
    notes.push({
      code: "TIME_GOES_BACKWARDS",
      text: `"${time.name}" goes backwards at row ${rows[at]! + 1}: rows are put in the order of time`,
      hint: "check that no file is out of order or joined twice",
    });
    rows.sort((a, b) => time.values[a]! - time.values[b]! || a - b);
  }
  const last = rows.filter(
    (row, i) => i + 1 === rows.length || time.values[rows[i + 1]!] !== time.values[row],
  );
  if (last.length < rows.length)
    notes.push({
      code: "DUPLICATE_TIMES",
      text: `${rows.length - last.length} rows have the "${time.name}" of another: the last of each is kept`,
      hint: "one row for each time is needed: give one instrument at a time",
    });
  return last;
}

function checkPrice(name: string, price: Float64Array): void {
  if (price.length < ROWS_MIN)
    throw seriesError(
      `the series has ${price.length} rows with a "${name}"`,
      `at least ${ROWS_MIN} are needed for parts in the order of time`,
    );
  const bad = price.findIndex((value) => !(value > 0));
  if (bad >= 0)
    throw seriesError(
      `"${name}" is ${price[bad]} in row ${bad + 1} of the series`,
      "a price is above zero: changes are taken as shares of it",
    );
  if (price.every((value) => value === price[0]))
    throw seriesError(`"${name}" is ${price[0]} in every row`, "name the column of the price");
}

function noteTimes(name: string, time: Float64Array, clock: boolean, notes: Note[]): void {
  const steps = time.subarray(1).map((value, i) => value - time[i]!);
  const usual = steps.slice().sort()[Math.floor(steps.length / 2)]!;
  const gaps = steps.filter((step) => step > GAP_STEPS * usual).length;
  if (gaps === 0 || !clock) return;
  notes.push({
    code: "TIME_GAPS",
    text: `"${name}" has ${gaps} gaps of more than ${GAP_STEPS} steps (weekends, holidays): the horizon counts rows, not hours`,
    hint: "nothing to do where the market was closed",
  });
}
