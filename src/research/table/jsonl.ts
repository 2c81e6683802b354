/**
 * JSON lines in: one object a line, its keys are the columns; a key that a line lacks is missing
 * there. Nested objects and lists are refused by name instead of being flattened by a guess.
 */
import { type Cell, type CellTable, checkCell, tableError } from "./cells.ts";

export function readJsonl(file: string, text: string, into: CellTable): void {
  let line = 0;
  let start = 0;
  while (start < text.length) {
    let end = text.indexOf("\n", start);
    if (end < 0) end = text.length;
    line++;
    const one = text.slice(start, end).trim();
    start = end + 1;
    if (one === "") continue;
    addRow(file, line, parseLine(file, line, one), into);
  }
}

function parseLine(file: string, line: number, text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const hint = 'every line must be one JSON object, for example {"age": 41, "label": "yes"}';
    throw tableError(`${file}:${line}: not JSON`, hint, "BAD_TABLE", error);
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw tableError(
    `${file}:${line}: a JSON object is needed`,
    "a JSON array of objects is converted with: jq -c '.[]'",
  );
}

function addRow(
  file: string,
  line: number,
  record: Record<string, unknown>,
  into: CellTable,
): void {
  const at = into.rows;
  into.startRow(file);
  for (const [name, value] of Object.entries(record)) {
    const column = into.columns[into.columnOf(file, name)]!;
    while (column.length < at) column.push(null);
    column[at] = jsonCell(file, line, name, value);
  }
  for (const column of into.columns) if (column.length <= at) column.push(null);
}

function jsonCell(file: string, line: number, name: string, value: unknown): Cell {
  if (value === null || typeof value === "number" || typeof value === "boolean") return value;
  if (typeof value === "string") {
    checkCell(file, line, name, value);
    return value;
  }
  const kind = Array.isArray(value) ? "a list" : "an object";
  throw tableError(
    `${file}:${line}: "${name}" holds ${kind}`,
    "a cell must be a number, a text, true, false or null: write one key for each value",
  );
}
