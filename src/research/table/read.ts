/**
 * Reads a table from files: CSV or TSV, JSON lines, Parquet; several files are put below each
 * other. Bad input of any kind ends in one MagnetError that names the file and, where there is
 * one, the line.
 */
import path from "node:path";
import { toMagnetError } from "../../core/errors.ts";
import { readSmallFile } from "../../core/read-file.ts";
import { CellTable, tableError } from "./cells.ts";
import { readCsv } from "./csv.ts";
import { inferTable } from "./infer.ts";
import { readJsonl } from "./jsonl.ts";
import { FILE_BYTES_MAX, FILES_MAX } from "./limits.ts";
import { readParquet } from "./parquet.ts";
import type { Note, Table } from "./types.ts";

export type TableFormat = "csv" | "jsonl" | "parquet";

const EXTENSIONS: Record<string, TableFormat> = {
  ".csv": "csv",
  ".tsv": "csv",
  ".txt": "csv",
  ".jsonl": "jsonl",
  ".ndjson": "jsonl",
  ".parquet": "parquet",
  ".pq": "parquet",
};

export interface ReadTable {
  readonly table: Table;
  readonly notes: readonly Note[];
}

/** Throws BAD_TABLE, TABLE_TOO_LARGE, FILE_TOO_LARGE and the system's own failures. */
export async function readTable(files: readonly string[]): Promise<ReadTable> {
  if (files.length > FILES_MAX)
    throw tableError(
      `${files.length} data files`,
      `at most ${FILES_MAX}: join them first`,
      "TABLE_TOO_LARGE",
    );
  const cells = new CellTable();
  let budget = FILE_BYTES_MAX;
  for (const file of files) {
    const bytes = readBytes(file, budget);
    budget -= bytes.length;
    await addFile(file, bytes, cells);
  }
  if (cells.rows === 0) throw tableError(`${files.join(", ")}: no rows`, "give a table with rows");
  return inferTable(cells);
}

function readBytes(file: string, budget: number): Uint8Array {
  try {
    return readSmallFile(file, budget);
  } catch (error) {
    const known = toMagnetError(error);
    if (known.code !== "FILE_TOO_LARGE") throw known;
    const mib = FILE_BYTES_MAX / 2 ** 20;
    throw tableError(
      `${file}: the data have more than ${mib} MiB`,
      "give a sample of the rows, or fewer columns",
      "TABLE_TOO_LARGE",
    );
  }
}

async function addFile(file: string, bytes: Uint8Array, into: CellTable): Promise<void> {
  const format = formatOf(file, bytes);
  if (format === "parquet") return readParquet(file, bytes, into);
  const text = textOf(file, bytes);
  if (format === "jsonl") readJsonl(file, text, into);
  else readCsv(file, text, into);
}

function formatOf(file: string, bytes: Uint8Array): TableFormat {
  const magic = new TextDecoder("latin1").decode(bytes.subarray(0, 4));
  if (magic === "PAR1") return "parquet";
  if (bytes[0] === 0x1f && bytes[1] === 0x8b)
    throw tableError(`${file} is compressed with gzip`, `unpack it first: gunzip -k ${file}`);
  if (magic.startsWith("PK"))
    throw tableError(`${file} is a zip archive or a spreadsheet`, "save it as CSV");
  const known = EXTENSIONS[path.extname(file).toLowerCase()];
  if (known) return known;
  throw tableError(
    `${file}: unknown kind of file`,
    `data files end in ${Object.keys(EXTENSIONS).join(", ")}`,
  );
}

function textOf(file: string, bytes: Uint8Array): string {
  if ((bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff))
    throw tableError(`${file} is UTF-16 text`, `convert it: iconv -f UTF-16 -t UTF-8 ${file}`);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes); // drops a byte order mark
  } catch {
    throw tableError(
      `${file} is not UTF-8 text`,
      `convert it, for example: iconv -f LATIN1 -t UTF-8 ${file}`,
    );
  }
  if (text.includes("\0"))
    throw tableError(`${file} holds zero bytes: no text`, "give CSV, JSON lines or Parquet");
  return text;
}
