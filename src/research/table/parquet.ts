/**
 * Parquet in, all codecs. The footer is read first: what it claims (rows, columns, unpacked bytes)
 * is held against the limits before a page is unpacked. Pages are unpacked in a thread of its own
 * with a time limit, since a damaged one can keep the library busy for ever. The library throws
 * plain errors on damaged files; all of them become BAD_TABLE.
 */
import { type FileMetaData, parquetMetadata, parquetSchema } from "hyparquet";
import { MagnetError } from "../../core/errors.ts";
import { type Cell, type CellTable, checkCell, tableError, tooLarge } from "./cells.ts";
import {
  CELLS_MAX,
  PARQUET_BYTES_PER_S,
  PARQUET_SECONDS_MIN,
  ROWS_MAX,
  UNPACKED_BYTES_MAX,
} from "./limits.ts";
import type { ParquetAnswer } from "./parquet-worker.ts";

export async function readParquet(
  file: string,
  bytes: Uint8Array,
  into: CellTable,
  seconds_min = PARQUET_SECONDS_MIN,
): Promise<void> {
  const buffer = bytes.buffer.slice(
    bytes.byteOffset,
    bytes.byteOffset + bytes.byteLength,
  ) as ArrayBuffer;
  try {
    const metadata = parquetMetadata(buffer);
    const { names, unpacked_bytes } = checkMetadata(file, metadata);
    const at = into.setColumns(file, names);
    const limit_s = seconds_min + unpacked_bytes / PARQUET_BYTES_PER_S;
    const { columns, rows } = await unpack(buffer, names, limit_s);
    if (rows !== Number(metadata.num_rows))
      throw new Error(`${rows} rows where the footer says ${metadata.num_rows}`);
    for (let r = 0; r < rows; r++) {
      into.startRow(file);
      names.forEach((name, i) => {
        into.columns[at[i]!]!.push(parquetCell(file, r + 1, name, columns[i]![r]));
      });
    }
  } catch (error) {
    if (error instanceof MagnetError) throw error;
    const why = error instanceof Error ? error.message.slice(0, 200) : String(error);
    const hint = "the file is damaged or no parquet file; write it again";
    throw tableError(`${file}: ${why}`, hint, "BAD_TABLE", error);
  }
}

/** In the binary the thread is an entry point of its own below Bun's virtual root. */
const workerUrl = (): string =>
  import.meta.url.includes("/$bunfs/")
    ? "/$bunfs/root/research/table/parquet-worker.js"
    : new URL("./parquet-worker.ts", import.meta.url).href;

type Unpacked = Exclude<ParquetAnswer, { error: string }>;

function unpack(file: ArrayBuffer, names: readonly string[], limit_s: number): Promise<Unpacked> {
  const worker = new Worker(workerUrl());
  const { promise, resolve, reject } = Promise.withResolvers<Unpacked>();
  const late = setTimeout(() => reject(new Error("its pages do not end")), limit_s * 1000);
  worker.addEventListener("message", ({ data }: MessageEvent<ParquetAnswer>) =>
    "error" in data ? reject(new Error(data.error)) : resolve(data),
  );
  worker.addEventListener("error", (event: ErrorEvent) => reject(new Error(event.message)));
  worker.postMessage({ file, names });
  return promise.finally(() => {
    clearTimeout(late);
    worker.terminate();
  });
}

function checkMetadata(file: string, metadata: FileMetaData) {
  const rows = Number(metadata.num_rows);
  const names = parquetSchema(metadata).children.map((child) => child.element.name);
  if (!(rows >= 0)) throw new Error("the footer has no number of rows");
  if (rows > ROWS_MAX) throw tooLarge(file, `${ROWS_MAX} rows`);
  if (rows * names.length > CELLS_MAX) throw tooLarge(file, `${CELLS_MAX} cells`);
  // What is unpacked follows the groups' counts, not the sum that the limits were held against.
  const counted = metadata.row_groups.map((group) => Number(group.num_rows));
  if (counted.some((n) => !(n >= 0)) || counted.reduce((a, b) => a + b, 0) !== rows)
    throw new Error(`its row groups do not have the ${rows} rows that the footer says`);
  let unpacked = 0;
  for (const group of metadata.row_groups)
    for (const column of group.columns)
      unpacked += Number(column.meta_data?.total_uncompressed_size ?? 0);
  if (!(unpacked <= UNPACKED_BYTES_MAX))
    throw tooLarge(file, `${UNPACKED_BYTES_MAX} bytes unpacked`);
  if (names.length === 0) throw new Error("no columns");
  return { names, unpacked_bytes: unpacked };
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
