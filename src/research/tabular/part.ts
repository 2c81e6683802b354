/**
 * A part of the task's rows (the search part, or search and gate together) as one small table of
 * its own: rows are numbered 0 to n - 1, so that nothing fitted on it can reach a row outside it.
 */
import type { Column, Table, TaskData } from "../table/types.ts";

export interface Part {
  readonly rows: number;
  /** Row of the whole table by row of the part. */
  readonly numbers: Uint32Array;
  readonly features: Table;
  readonly label: Int32Array;
  readonly classes: number;
  readonly context: Int32Array | null;
  /** 0 without contexts. */
  readonly contexts: number;
  readonly pipeline: Int32Array | null;
  readonly time: Float64Array | null;
  readonly group: Int32Array | null;
}

/** The named rows, in the order given. */
export function takeRows(data: TaskData, numbers: Uint32Array): Part {
  const ints = (values: Int32Array | null) =>
    values === null ? null : Int32Array.from(numbers, (row) => values[row]!);
  return {
    rows: numbers.length,
    numbers,
    features: {
      rows: numbers.length,
      columns: data.features.columns.map((column) => takeColumn(column, numbers)),
    },
    label: ints(data.label)!,
    classes: data.classes.length,
    context: ints(data.context),
    contexts: data.context === null ? 0 : data.contexts.length,
    pipeline: ints(data.pipeline),
    time: data.time === null ? null : Float64Array.from(numbers, (row) => data.time![row]!),
    group: ints(data.group),
  };
}

const takeColumn = (column: Column, numbers: Uint32Array): Column =>
  column.kind === "number"
    ? { ...column, values: Float64Array.from(numbers, (row) => column.values[row]!) }
    : { ...column, codes: Int32Array.from(numbers, (row) => column.codes[row]!) };

/** All rows of a part, ascending. */
export const allRows = (rows: number): Uint32Array => new Uint32Array(rows).map((_, i) => i);
