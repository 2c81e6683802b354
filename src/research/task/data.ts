/**
 * The data of a classification task: reads the files, finds the task's columns, checks everything
 * that would make a result wrong without a sign of it, and leaves a note or throws. The hash covers
 * all that a trial could see.
 */
import { didYouMean } from "../../core/did-you-mean.ts";
import { category } from "../table/infer.ts";
import { readTable } from "../table/read.ts";
import type { CategoryColumn, Column, Note, Table, TaskData } from "../table/types.ts";
import { checkLeaks } from "./check-leaks.ts";
import { checkContexts, checkLabel, checkPipeline, checkTime } from "./check-roles.ts";
import { checkDuplicates } from "./check-rows.ts";
import { chooseFeatures } from "./features.ts";
import { hashOfData } from "./hash.ts";
import { type Task, taskError } from "./load.ts";

/** Throws BAD_TABLE, COLUMN_NOT_FOUND, BAD_LABEL, LABEL_LEAK and the like, each with its hint. */
export async function loadTaskData(task: Task): Promise<TaskData> {
  const { table, notes } = await readTable(task.data);
  return toTaskData(task, table, notes);
}

/** The same from a table that is there already. */
export function toTaskData(task: Task, whole: Table, read: readonly Note[] = []): TaskData {
  const notes = [...read];
  if (task.label === null) throw taskError(`${task.file} names no label`, '"label": a column');
  for (const name of [...task.drop, ...task.keep]) columnOf(task, whole, name);
  const labelled = checkLabel(task, asCategory(columnOf(task, whole, task.label)), notes);
  const table = takeRows(whole, labelled.rows);
  const role = (name: string | null) => (name === null ? null : columnOf(task, table, name));
  const context = checkContexts(task, role(task.context), notes);
  const pipeline = checkPipeline(task, role(task.pipeline), labelled.classes, notes);
  const time = checkTime(task, role(task.time), notes);
  const roles = new Set([task.label, task.context, task.pipeline, task.time, ...task.drop]);
  const candidates = table.columns.filter((column) => !roles.has(column.name));
  const features = chooseFeatures(task, { rows: table.rows, columns: candidates }, notes);
  checkLeaks(task, features, labelled.label, labelled.classes, notes);
  const data = {
    features,
    label: labelled.label,
    classes: labelled.classes,
    context: context?.codes ?? null,
    contexts: context?.levels ?? [],
    pipeline,
    time,
  };
  const group = checkDuplicates(data, notes);
  return { ...data, group, notes, hash: hashOfData({ ...data, group }) };
}

/** Throws COLUMN_NOT_FOUND with the nearest name. */
export function columnOf(task: Pick<Task, "file">, table: Table, name: string): Column {
  const found = table.columns.find((column) => column.name === name);
  if (found) return found;
  const names = table.columns.map((column) => column.name);
  const shown = names.length > 20 ? [...names.slice(0, 20), "..."] : names;
  throw taskError(
    `${task.file}: the data have no column "${name}"`,
    didYouMean(name, names, `columns are ${shown.join(", ")}`),
    "COLUMN_NOT_FOUND",
  );
}

/** Any column as categories: numbers become their text. */
export function asCategory(column: Column): CategoryColumn {
  if (column.kind === "category") return column;
  const texts = Array.from(column.values, (value) => (Number.isNaN(value) ? null : String(value)));
  return category(column.name, texts);
}

/** The rows in that order; levels that no row has any more are left out. Null: the table itself. */
export function takeRows(table: Table, rows: Uint32Array | null): Table {
  if (rows === null) return table;
  const columns = table.columns.map((column): Column => {
    if (column.kind === "number")
      return { ...column, values: Float64Array.from(rows, (row) => column.values[row]!) };
    const texts = Array.from(rows, (row) => column.levels[column.codes[row]!] ?? null);
    return category(column.name, texts);
  });
  return { rows: rows.length, columns };
}
