/**
 * Checks of the columns with a role: label, context, pipeline, time. Each either gives the column
 * as numbers of classes or contexts, or throws with what to change.
 */
import { CLASSES_MAX } from "../table/limits.ts";
import type { CategoryColumn, Column, Note } from "../table/types.ts";
import { type Task, taskError } from "./load.ts";

/**
 * Rows that a class needs: 5 folds of the search part, 1 in the gate and 2 in the sealed part. Below
 * that some fold has none of it and no score of the class means anything.
 */
export const CLASS_ROWS_MIN = 8;
/** Contexts with fewer rows are put together: nothing can be fitted to or measured on them. */
export const CONTEXT_ROWS_MIN = 5;
/** Name of the context of rows in small ones; of rows without one. */
export const RARE_CONTEXT = "(rare)";
export const MISSING_CONTEXT = "(missing)";

export interface CheckedLabel {
  readonly label: Int32Array;
  readonly classes: readonly string[];
  /** Rows that are used; null = all. */
  readonly rows: Uint32Array | null;
}

/** Throws BAD_LABEL where there is nothing to learn. Numbers are ordered as numbers. */
export function checkLabel(task: Task, column: CategoryColumn, notes: Note[]): CheckedLabel {
  const name = column.name;
  const counts = countsOf(column);
  const rows = column.codes.length;
  const missing = rows - counts.reduce((sum, n) => sum + n, 0);
  if (missing > 0)
    notes.push({
      code: "MISSING_LABEL",
      text: `${missing} of ${rows} rows have no label: left out`,
      hint: `give "${name}" a value in every row, or ignore this`,
    });
  const allNumbers = column.levels.every((level) => Number.isFinite(Number(level)));
  if (column.levels.length > CLASSES_MAX)
    throw badLabel(
      `the label "${name}" has ${column.levels.length} different values`,
      allNumbers
        ? "this is a number to predict: make classes of it first, for example low and high"
        : `at most ${CLASSES_MAX} classes are told apart: put some together`,
    );
  const small = (level: number) => counts[level]! < CLASS_ROWS_MIN;
  const order = column.levels.map((_, i) => i);
  if (allNumbers) order.sort((a, b) => Number(column.levels[a]) - Number(column.levels[b]));
  const rare = order.filter(small);
  if (rare.length > 0 && column.levels.length > 1)
    refuseOrDropRare(task, column, rare, counts, notes);
  const kept = order.filter((level) => !small(level));
  if (kept.length < 2) throw oneClass(column, counts);
  const classOf = new Int32Array(column.levels.length).fill(-1);
  kept.forEach((level, i) => {
    classOf[level] = i;
  });
  const all = Int32Array.from(column.codes, (code) => (code < 0 ? -1 : classOf[code]!));
  const classes = kept.map((level) => column.levels[level]!);
  if (!all.includes(-1)) return { label: all, classes, rows: null };
  const used = Uint32Array.from([...all.keys()].filter((row) => all[row]! >= 0));
  return { label: Int32Array.from(used, (row) => all[row]!), classes, rows: used };
}

const badLabel = (message: string, hint: string) => taskError(message, hint, "BAD_LABEL");

function refuseOrDropRare(
  task: Task,
  column: CategoryColumn,
  rare: readonly number[],
  counts: Int32Array,
  notes: Note[],
): void {
  const list = rare.slice(0, 5).map((level) => `"${column.levels[level]}" (${counts[level]})`);
  const more = rare.length > 5 ? ` and ${rare.length - 5} more` : "";
  const text = `classes of "${column.name}" with fewer than ${CLASS_ROWS_MIN} rows: ${list.join(", ")}${more}`;
  if (task.rare_classes === "refuse" && column.levels.length - rare.length >= 1)
    throw badLabel(
      text,
      `each of 5 folds, gate and sealed part needs some: put classes together, or set "rare_classes": "drop"`,
    );
  notes.push({
    code: "RARE_CLASSES_DROPPED",
    text: `${text}: their rows are left out`,
    hint: "put classes together to keep them",
  });
}

function oneClass(column: CategoryColumn, counts: Int32Array) {
  const name = column.name;
  const present = column.levels.filter((_, i) => counts[i]! > 0);
  if (present.length === 0)
    return badLabel(`the label "${name}" is missing in every row`, "name another column");
  if (present.length === 1)
    return badLabel(
      `the label "${name}" is constant: every row has "${present[0]}"`,
      "rows of at least two classes are needed",
    );
  return badLabel(
    `the label "${name}" has fewer than two classes with at least ${CLASS_ROWS_MIN} rows`,
    "give more rows, or put classes together",
  );
}

function countsOf(column: CategoryColumn): Int32Array {
  const counts = new Int32Array(column.levels.length);
  for (const code of column.codes) if (code >= 0) counts[code]!++;
  return counts;
}

const asTexts = (column: Column): (string | null)[] =>
  column.kind === "category"
    ? Array.from(column.codes, (code) => column.levels[code] ?? null)
    : Array.from(column.values, (value) => (Number.isNaN(value) ? null : String(value)));

export interface CheckedContexts {
  readonly codes: Int32Array;
  readonly levels: readonly string[];
}

/** Small contexts are put together; null where what is left are not at least two. */
export function checkContexts(
  task: Task,
  column: Column | null,
  notes: Note[],
): CheckedContexts | null {
  if (column === null) return null;
  const texts = asTexts(column).map((text) => text ?? MISSING_CONTEXT);
  const counts = new Map<string, number>();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  const name = column.name;
  if (counts.size > Math.max(20, texts.length / CONTEXT_ROWS_MIN))
    throw taskError(
      `the context "${name}" has ${counts.size} values in ${texts.length} rows`,
      "a context parts the rows into some groups; an id is none",
      "BAD_CONTEXT",
    );
  const small = [...counts].filter(([, n]) => n < CONTEXT_ROWS_MIN).sort();
  if (small.length > 0) {
    const list = small
      .slice(0, 5)
      .map(([text, n]) => `"${text}" (${n} ${n === 1 ? "row" : "rows"})`);
    notes.push({
      code: "SMALL_CONTEXTS",
      text: `contexts of "${name}" with fewer than ${CONTEXT_ROWS_MIN} rows: ${list.join(", ")}${small.length > 5 ? ` and ${small.length - 5} more` : ""}: put together as ${RARE_CONTEXT}`,
      hint: "nothing can be fitted to so few rows; merge them with a like context in the file",
    });
  }
  const rare = new Set(small.map(([text]) => text));
  const named = texts.map((text) => (rare.has(text) ? RARE_CONTEXT : text));
  const levels = [...new Set(named)].sort();
  if (levels.length < 2) {
    notes.push({
      code: "ONE_CONTEXT",
      text: `the context "${name}" is "${levels[0]}" in every row: there are no contexts`,
      hint: `leave "context" out of ${task.file}`,
    });
    return null;
  }
  const codeOf = new Map(levels.map((level, i) => [level, i]));
  return { codes: Int32Array.from(named, (text) => codeOf.get(text)!), levels };
}

/** Class by row, -1 = none given. Throws BAD_PIPELINE where it never names a class. */
export function checkPipeline(
  task: Task,
  column: Column | null,
  classes: readonly string[],
  notes: Note[],
): Int32Array | null {
  if (column === null) return null;
  const classOf = new Map(classes.map((name, i) => [name, i]));
  const texts = asTexts(column);
  const codes = Int32Array.from(texts, (text) => (text === null ? -1 : (classOf.get(text) ?? -1)));
  const strange = texts.find((text, row) => text !== null && codes[row] === -1);
  const found = codes.filter((code) => code >= 0).length;
  if (found === 0)
    throw taskError(
      `the pipeline column "${column.name}" names no class of the label (it has "${strange ?? ""}")`,
      `it must hold the class that the rules predict: ${classes.slice(0, 5).join(", ")}`,
      "BAD_PIPELINE",
    );
  if (strange !== undefined)
    notes.push({
      code: "PIPELINE_UNKNOWN_CLASS",
      text: `the pipeline column "${column.name}" has values that are no class, for example "${strange}": taken as no prediction`,
      hint: `check ${task.file} against the classes ${classes.slice(0, 5).join(", ")}`,
    });
  return codes;
}

/** Times as ascending numbers; says where they go backwards. Throws BAD_TIME. */
export function checkTime(task: Task, column: Column | null, notes: Note[]): Float64Array | null {
  if (column === null) return null;
  if (column.kind !== "number") {
    const example = column.levels[0] ?? "";
    throw taskError(
      `${task.file}: the time "${column.name}" holds no times, for example "${example}"`,
      "write 2024-05-31 or 2024-05-31T22:30:00Z in every row, or an ascending number",
      "BAD_TIME",
    );
  }
  const missing = column.values.findIndex((value) => Number.isNaN(value));
  if (missing >= 0)
    throw taskError(
      `${task.file}: the time "${column.name}" is missing in row ${missing + 1}`,
      "give every row a time, or leave such rows out",
      "BAD_TIME",
    );
  const at = backwardsAt(column.values);
  if (at > 0)
    notes.push({
      code: "TIME_GOES_BACKWARDS",
      text: `the time "${column.name}" goes backwards at row ${at + 1}: from ${showTime(column, at - 1)} to ${showTime(column, at)}`,
      hint: "rows are used in the order of their time; check that no file is out of order",
    });
  return column.values;
}

/** First row whose time is before that of the row above; -1 where there is none. */
export const backwardsAt = (times: Float64Array): number =>
  times.findIndex((time, row) => row > 0 && time < times[row - 1]!);

const showTime = (column: Column & { kind: "number" }, row: number): string => {
  const value = column.values[row]!;
  if (!column.time) return String(value);
  const date = new Date(value);
  return Number.isNaN(date.getTime()) ? String(value) : date.toISOString();
};
