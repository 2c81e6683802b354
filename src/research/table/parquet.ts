/**
 * Parquet in, all codecs. The footer is read first: what it claims (rows, columns, unpacked bytes)
 * is held against the limits before a page is unpacked. The library throws plain errors on damaged
 * files; all of them become BAD_TABLE.
 */
import { type FileMetaData, parquetMetadata, parquetReadObjects, parquetSchema } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { MagnetError } from "../../core/errors.ts";
import { type Cell, type CellTable, checkCell, tableError, tooLarge } from "./cells.ts";
import { CELLS_MAX, ROWS_MAX, UNPACKED_BYTES_MAX } from "./limits.ts";

export async function readParquet(file: string, bytes: Uint8Array, into: CellTable): Promise<void> {
  const buffer = bytes.buffer.slice(
    bytes.byteOffset,
    bytes.byteOffset + bytes.byteLength,
  ) as ArrayBuffer;
  try {
    const metadata = parquetMetadata(buffer);
    const names = checkMetadata(file, metadata);
    const at = into.setColumns(file, names);
    const rows = await parquetReadObjects({ file: buffer, metadata, compressors });
    if (rows.length !== Number(metadata.num_rows))
      throw new Error(`${rows.length} rows where the footer says ${metadata.num_rows}`);
    rows.forEach((row, r) => {
      into.startRow(file);
      names.forEach((name, i) => {
        into.columns[at[i]!]!.push(parquetCell(file, r + 1, name, row[name]));
      });
    });
  } catch (error) {
    if (error instanceof MagnetError) throw error;
    const why = error instanceof Error ? error.message.slice(0, 200) : String(error);
    const hint = "the file is damaged or no parquet file; write it again";
    throw tableError(`${file}: ${why}`, hint, "BAD_TABLE", error);
  }
}

function checkMetadata(file: string, metadata: FileMetaData): string[] {
  const rows = Number(metadata.num_rows);
  const names = parquetSchema(metadata).children.map((child) => child.element.name);
  if (!(rows >= 0)) throw new Error("the footer has no number of rows");
  if (rows > ROWS_MAX) throw tooLarge(file, `${ROWS_MAX} rows`);
  if (rows * names.length > CELLS_MAX) throw tooLarge(file, `${CELLS_MAX} cells`);
  let unpacked = 0;
  for (const group of metadata.row_groups)
    for (const column of group.columns)
      unpacked += Number(column.meta_data?.total_uncompressed_size ?? 0);
  if (!(unpacked <= UNPACKED_BYTES_MAX))
    throw tooLarge(file, `${UNPACKED_BYTES_MAX} bytes unpacked`);
  if (names.length === 0) throw new Error("no columns");
  return names;
}

function parquetCell(file: string, row: number, name: string, value: unknown): Cell {
  if (value === null || value === undefined) return null;
  if (typeof value === "number" || typeof value === "boolean") return value;
  if (typeof value === "bigint") return Number(value);
  if (value instanceof Date) return value;
  if (typeof value === "string") {
    checkCell(file, row, name, value);
    return value;
  }
  throw tableError(
    `${file}: column "${name}" holds ${value instanceof Uint8Array ? "bytes" : "nested values"}`,
    "a column must hold numbers, texts, booleans or times: leave it out when writing the file",
  );
}
