/**
 * CSV and TSV in: RFC 4180 with what is met in practice (a byte order mark, CRLF, semicolons or
 * tabs, empty lines). The first line names the columns; a row of another length is an error with
 * its line, since guessing what is missing would shift values between columns.
 */
import { CsvError, parse } from "csv-parse/sync";
import { type CellTable, checkCell, tableError } from "./cells.ts";

/** Separators that are tried; the one that parts the first line most often wins. */
const SEPARATORS = [",", ";", "\t", "|"];
/** csv-parse gives up on a longer record: a quote that never closes eats the whole file. */
const RECORD_LENGTH_MAX = 64 * 2 ** 20;

export function readCsv(file: string, text: string, into: CellTable): void {
  const end = text.search(/[\r\n]/);
  const separator = separatorOf(end < 0 ? text : text.slice(0, end));
  let at: number[] = [];
  let names: string[] = [];
  const onRecord = (record: string[], info: { lines: number }) => {
    if (names.length === 0) {
      names = record.map((name, i) => name.trim() || `column_${i + 1}`);
      at = into.setColumns(file, names);
      return null;
    }
    into.startRow(file);
    for (let i = 0; i < record.length; i++) {
      const cell = record[i]!;
      if (cell.length > 100) checkCell(file, info.lines, names[i]!, cell);
      into.columns[at[i]!]!.push(cell);
    }
    return null;
  };
  try {
    parse(text, {
      delimiter: separator,
      skip_empty_lines: true,
      max_record_size: RECORD_LENGTH_MAX,
      on_record: onRecord,
    });
  } catch (error) {
    throw csvError(file, error);
  }
  if (names.length === 0)
    throw tableError(`${file} is empty`, "the first line must hold the names of the columns");
}

function separatorOf(line: string): string {
  const bare = line.replaceAll(/"[^"]*"/g, "");
  let best = ",";
  let most = 0;
  for (const separator of SEPARATORS) {
    const count = bare.split(separator).length - 1;
    if (count > most) [best, most] = [separator, count];
  }
  return best;
}

const HINTS: Record<string, string> = {
  CSV_RECORD_INCONSISTENT_FIELDS_LENGTH:
    "every row needs as many cells as the first line; a text with the separator needs quotes",
  CSV_RECORD_INCONSISTENT_COLUMNS:
    "every row needs as many cells as the first line; a text with the separator needs quotes",
  CSV_QUOTE_NOT_CLOSED: "close the quote; a quote within a quoted cell is written twice",
  CSV_MAX_RECORD_SIZE: "a quote is probably left open; one within a quoted cell is written twice",
};

function csvError(file: string, error: unknown): unknown {
  if (!(error instanceof CsvError)) return error;
  const line = typeof error.lines === "number" ? `:${error.lines}` : "";
  const message = error.message.length > 200 ? `${error.message.slice(0, 200)}...` : error.message;
  const hint = HINTS[error.code] ?? "quote cells that hold quotes, and write inner quotes twice";
  return tableError(`${file}${line}: ${message}`, hint, "BAD_TABLE", error);
}
