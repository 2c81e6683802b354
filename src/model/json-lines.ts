/** JSONL files one line at a time, with bounded memory: the lines of preference pairs. */
import { isUtf8 } from "node:buffer";
import fs from "node:fs/promises";
import { MagnetError, toMagnetError } from "../core/errors.ts";

/** Read at once. */
const PIECE_BYTES = 1024 * 1024;
/** A longer line is no pair of texts that a model's context could hold. */
export const JSON_LINE_BYTES_MAX = 16 * 1024 * 1024;

export interface JsonLine {
  /** `file:line`, for messages. */
  place: string;
  value: unknown;
}

/** The error of a line that is not what it should be. */
export function badLine(place: string, what: string, hint: string): MagnetError {
  return new MagnetError("PAIRS_INVALID", `${place}: ${what}`, { hint });
}

function parseLine(place: string, bytes: Uint8Array, hint: string): JsonLine | null {
  if (!isUtf8(bytes)) throw badLine(place, "not UTF-8", hint);
  const text = new TextDecoder().decode(bytes).trim();
  if (text === "") return null;
  try {
    return { place, value: JSON.parse(text) };
  } catch {
    throw badLine(place, "not JSON", hint);
  }
}

/** Pieces of a file without the line ends, each marked where it completes a line. */
async function* pieces(
  handle: fs.FileHandle,
): AsyncGenerator<{ bytes: Uint8Array; ends: boolean }> {
  const buffer = new Uint8Array(PIECE_BYTES);
  for (;;) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, null);
    if (bytesRead === 0) return;
    let start = 0;
    for (let end = buffer.indexOf(10); end >= 0 && end < bytesRead; ) {
      yield { bytes: buffer.slice(start, end), ends: true };
      start = end + 1;
      end = buffer.indexOf(10, start);
    }
    yield { bytes: buffer.slice(start, bytesRead), ends: false };
  }
}

/**
 * The lines of a file that are not blank. Throws PAIRS_INVALID naming file and line with `hint`,
 * NOT_FOUND, CANCELLED.
 */
export async function* jsonLines(
  file: string,
  options: { hint: string; signal?: AbortSignal | undefined },
): AsyncGenerator<JsonLine> {
  const { hint, signal } = options;
  const handle = await fs.open(file, "r").catch((error) => {
    throw toMagnetError(error);
  });
  let pending: Uint8Array[] = [];
  let pending_bytes = 0;
  let number = 1;
  const take = () => {
    const line = parseLine(`${file}:${number}`, new Uint8Array(Buffer.concat(pending)), hint);
    pending = [];
    pending_bytes = 0;
    return line;
  };
  try {
    for await (const { bytes, ends } of pieces(handle)) {
      if (signal?.aborted)
        throw new MagnetError("CANCELLED", "reading pairs was cancelled", { exit: "interrupted" });
      pending.push(bytes);
      pending_bytes += bytes.length;
      if (pending_bytes > JSON_LINE_BYTES_MAX)
        throw badLine(`${file}:${number}`, `longer than ${JSON_LINE_BYTES_MAX} bytes`, hint);
      if (!ends) continue;
      const line = take();
      number++;
      if (line) yield line;
    }
    const line = take();
    if (line) yield line;
  } catch (error) {
    throw toMagnetError(error); // a folder in place of a file fails at the first read
  } finally {
    await handle.close();
  }
}
