/**
 * The thread that unpacks Parquet: a damaged page can keep the library busy for ever, which only
 * ends with the thread. It answers one message and has no other purpose.
 */
import { parquetMetadata, parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";

declare const self: Worker;

export type ParquetAnswer =
  | { readonly columns: readonly (readonly unknown[])[]; readonly rows: number }
  | { readonly error: string };

self.onmessage = async ({ data }: MessageEvent<{ file: ArrayBuffer; names: string[] }>) => {
  const { file, names } = data;
  let answer: ParquetAnswer;
  try {
    const metadata = parquetMetadata(file);
    const rows = await parquetReadObjects({ file, metadata, compressors });
    answer = { columns: names.map((name) => rows.map((row) => row[name])), rows: rows.length };
  } catch (error) {
    answer = { error: error instanceof Error ? error.message : String(error) };
  }
  self.postMessage(answer);
};
