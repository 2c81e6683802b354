/**
 * What kind each column is: a number, a time or a category. Rules, not guesses that depend on a
 * sample: all cells are looked at. Missing are an empty cell and the usual marks; infinities count
 * as missing and are said. Categories keep their levels in the order of their text.
 */
import type { Cell, CellTable } from "./cells.ts";
import { DISCRETE_MAX } from "./limits.ts";
import type { CategoryColumn, Column, Note, Table } from "./types.ts";

const MISSING = new Set([
  "",
  "NA",
  "N/A",
  "n/a",
  "#N/A",
  "NaN",
  "nan",
  "-nan",
  "null",
  "NULL",
  "?",
]);
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;
const INFINITE = /^[+-]?inf(?:inity)?$/i;
/** Years first, as ISO 8601 has it: other orders cannot be told apart (3/4/2020). */
const TIME =
  /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?\s?(Z|UTC|[+-]\d{2}:?\d{2})?)?$/;
/** Below this share of numbers a column is text, not numbers with a few slips. */
const NUMBER_SHARE_MIN = 0.9;

/** Milliseconds since 1970 of an ISO 8601 date or time (UTC where no offset stands); else NaN. */
export function timeOf(text: string): number {
  const match = TIME.exec(text);
  if (!match) return Number.NaN;
  const [, year, month, day, hour = "0", minute = "0", second = "0", fraction = "", zone = "Z"] =
    match;
  const ms = Math.floor(Number(`0.${fraction || "0"}`) * 1000);
  const days = new Date(0);
  days.setUTCFullYear(Number(year), Number(month) - 1, Number(day));
  if (days.getUTCDate() !== Number(day) || Number(month) > 12) return Number.NaN;
  if (Number(hour) > 24 || Number(minute) > 59 || Number(second) > 60) return Number.NaN;
  const within = ((Number(hour) * 60 + Number(minute)) * 60 + Number(second)) * 1000 + ms;
  return days.getTime() + within - zoneMs(zone);
}

function zoneMs(zone: string): number {
  if (zone === "Z" || zone === "UTC") return 0;
  const minutes = Number(zone.slice(1, 3)) * 60 + Number(zone.slice(-2));
  return (zone.startsWith("-") ? -minutes : minutes) * 60_000;
}

interface Counts {
  missing: number;
  numbers: number;
  times: number;
  texts: number;
  infinite: number;
  /** Whole numbers written with leading zeros, and whether all whole numbers have one width. */
  padded: number;
  width: number;
  text_example: string;
}

function count(cells: readonly Cell[]): Counts {
  const c: Counts = {
    missing: 0,
    numbers: 0,
    times: 0,
    texts: 0,
    infinite: 0,
    padded: 0,
    width: 0,
    text_example: "",
  };
  for (const cell of cells) {
    if (typeof cell === "string") countText(c, cell.trim());
    else if (cell === null) c.missing++;
    else if (cell instanceof Date) c.times++;
    else if (typeof cell === "boolean") c.texts++;
    else if (Number.isNaN(cell)) c.missing++;
    else if (Number.isFinite(cell)) c.numbers++;
    else c.infinite++;
  }
  return c;
}

function countText(c: Counts, text: string): void {
  if (MISSING.has(text)) c.missing++;
  else if (NUMBER.test(text)) {
    c.numbers++;
    if (text.length > 1 && text[0] === "0" && /^\d+$/.test(text)) c.padded++;
    c.width = c.numbers === 1 || c.width === text.length ? text.length : -1;
  } else if (INFINITE.test(text)) c.infinite++;
  else if (!Number.isNaN(timeOf(text))) c.times++;
  else {
    c.texts++;
    if (c.text_example === "") c.text_example = text.slice(0, 40);
  }
}

/** The number in a cell; NaN where it is missing, infinite or no number. */
function numberOf(cell: Cell): number {
  if (typeof cell === "number") return Number.isFinite(cell) ? cell : Number.NaN;
  if (typeof cell !== "string") return Number.NaN;
  const text = cell.trim();
  if (!NUMBER.test(text)) return Number.NaN;
  const value = Number(text);
  return Number.isFinite(value) ? value : Number.NaN;
}

const textOf = (cell: Cell): string | null => {
  if (cell === null || (typeof cell === "number" && Number.isNaN(cell))) return null;
  if (cell instanceof Date) return Number.isNaN(cell.getTime()) ? null : cell.toISOString();
  const text = String(cell).trim();
  return MISSING.has(text) ? null : text;
};

/** Columns with their kinds, and what there is to say about them. */
export function inferTable(cells: CellTable): { table: Table; notes: Note[] } {
  const notes: Note[] = [];
  const columns = cells.names.map((name, i) => inferColumn(name, cells.columns[i]!, notes));
  return { table: { rows: cells.rows, columns }, notes };
}

function inferColumn(name: string, cells: readonly Cell[], notes: Note[]): Column {
  const c = count(cells);
  const present = c.numbers + c.times + c.texts + c.infinite;
  const code = c.padded > 0 && c.width > 0; // 00501: a postal code, not the number 501
  if (c.infinite > 0 && c.numbers > 0 && !code)
    notes.push({
      code: "INFINITE_VALUES",
      text: `column "${name}" has ${c.infinite} infinite values: taken as missing`,
      hint: "check what made them, for example a division by zero",
    });
  if (present === 0 || (c.numbers + c.infinite === present && !code))
    return { kind: "number", name, values: Float64Array.from(cells, numberOf) };
  if (c.times === present)
    return { kind: "number", name, values: Float64Array.from(cells, timeOfCell), time: true };
  if (c.numbers / present >= NUMBER_SHARE_MIN && c.times === 0 && !code) {
    const values = Float64Array.from(cells, numberOf);
    if (new Set(values).size > DISCRETE_MAX) {
      notes.push({
        code: "TEXT_AMONG_NUMBERS",
        text: `column "${name}" has ${c.texts} cells that are no number, for example "${c.text_example}": taken as missing`,
        hint: "mend them in the file; a decimal point is a point",
      });
      return { kind: "number", name, values };
    }
  }
  return category(name, cells.map(textOf));
}

function timeOfCell(cell: Cell): number {
  if (cell instanceof Date) return cell.getTime();
  return typeof cell === "string" ? timeOf(cell.trim()) : Number.NaN;
}

/** A category column of texts; null = missing. */
export function category(name: string, texts: readonly (string | null)[]): CategoryColumn {
  const seen = new Set<string>();
  for (const text of texts) if (text !== null) seen.add(text);
  const levels = [...seen].sort();
  const codeOf = new Map(levels.map((level, i) => [level, i]));
  const codes = Int32Array.from(texts, (text) => (text === null ? -1 : codeOf.get(text)!));
  return { kind: "category", name, codes, levels };
}
