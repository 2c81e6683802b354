/**
 * Which columns are features: constant ones and ids are left out and said, categories with very
 * many levels keep the frequent ones. What the task file lists under "keep" stays whatever it is.
 */
import { LEVELS_MAX } from "../table/limits.ts";
import type { CategoryColumn, Column, Note, NumberColumn, Table } from "../table/types.ts";
import { type Task, taskError } from "./load.ts";

/** From this share of different values a text is a name of the row and nothing that repeats. */
const ID_SHARE_MIN = 0.9;
/** Fewer rows are all different by chance. */
const ID_ROWS_MIN = 30;
/** The level that the rare ones of a category share. */
export const OTHER_LEVEL = "(other)";

/** Throws NO_FEATURES where nothing is left. */
export function chooseFeatures(task: Task, table: Table, notes: Note[]): Table {
  const constant: string[] = [];
  const ids: string[] = [];
  const columns: Column[] = [];
  for (const column of table.columns) {
    const kept = task.keep.includes(column.name);
    if (isConstant(column)) constant.push(column.name);
    else if (!kept && isId(column, table.rows)) ids.push(column.name);
    else columns.push(column.kind === "category" ? mergeRare(column, notes) : column);
  }
  if (constant.length > 0)
    notes.push({
      code: "CONSTANT_COLUMNS",
      text: `${list(constant)} ${constant.length === 1 ? "has" : "have"} one value in every row: left out`,
      hint: "nothing can be learnt from them",
    });
  if (ids.length > 0)
    notes.push({
      code: "ID_COLUMNS",
      text: `${list(ids)} ${ids.length === 1 ? "numbers or names" : "number or name"} the rows: left out`,
      hint: `put a column into "keep" if it is a real feature`,
    });
  if (columns.length === 0)
    throw taskError(
      `${task.file}: no features are left`,
      "the data need columns other than label, context, pipeline, time and what is dropped",
      "NO_FEATURES",
    );
  return { rows: table.rows, columns };
}

const list = (names: readonly string[]): string => {
  const shown = names.slice(0, 5).map((name) => `"${name}"`);
  const more = names.length > 5 ? ` and ${names.length - 5} more` : "";
  return `${names.length === 1 ? "column" : "columns"} ${shown.join(", ")}${more}`;
};

function isConstant(column: Column): boolean {
  const values = column.kind === "category" ? column.codes : column.values;
  const first = values[0]!;
  // Missing in some rows and one value in the others is something to learn from.
  return values.every((value) => Object.is(value, first));
}

function isId(column: Column, rows: number): boolean {
  if (rows < ID_ROWS_MIN) return false;
  if (column.kind === "category") return column.levels.length >= ID_SHARE_MIN * rows;
  return !column.time && (isCounter(column) || isNamedId(column));
}

/** Row numbers: whole, each one more than the one above. */
const isCounter = ({ values }: NumberColumn): boolean =>
  Number.isInteger(values[0]) && values.every((value, row) => value === values[0]! + row);

/** Called an id, and whole numbers that hardly repeat. */
function isNamedId({ name, values }: NumberColumn): boolean {
  if (!/(^|[_\s.])(id|uuid|key|index|rownum(ber)?)$/i.test(name) && !/[a-z]I[dD]$/.test(name))
    return false;
  if (!values.every((value) => Number.isInteger(value))) return false;
  return new Set(values).size >= ID_SHARE_MIN * values.length;
}

/** The most frequent levels, and one for all others. */
function mergeRare(column: CategoryColumn, notes: Note[]): CategoryColumn {
  if (column.levels.length <= LEVELS_MAX) return column;
  const counts = new Int32Array(column.levels.length);
  for (const code of column.codes) if (code >= 0) counts[code]!++;
  const order = [...counts.keys()].sort((a, b) => counts[b]! - counts[a]! || a - b);
  const kept = new Set(order.slice(0, LEVELS_MAX - 1));
  const names = column.levels.filter((_, code) => kept.has(code));
  const other = column.levels.includes(OTHER_LEVEL) ? `${OTHER_LEVEL}*` : OTHER_LEVEL;
  const levels = [...names, other].sort();
  const at = new Map(levels.map((level, i) => [level, i]));
  const codeOf = column.levels.map((level, code) => at.get(kept.has(code) ? level : other)!);
  notes.push({
    code: "MANY_LEVELS",
    text: `column "${column.name}" has ${column.levels.length} levels: the ${LEVELS_MAX - 1} most frequent are kept, the others share ${other}`,
    hint: `put like levels together in the file, or the column into "drop"`,
  });
  return {
    kind: "category",
    name: column.name,
    codes: column.codes.map((code) => (code < 0 ? -1 : codeOf[code]!)),
    levels,
  };
}
