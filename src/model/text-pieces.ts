/**
 * The bytes of a text file, a piece at a time, unpacked where the file is packed with gzip. Memory
 * is one piece, whatever the file unpacks to.
 */
import fs from "node:fs";
import { createGunzip } from "node:zlib";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import type { TextInput } from "./text-source.ts";

/** Read at once. */
const PIECE_BYTES = 1024 * 1024;

/**
 * Pieces of one file; a piece is valid until the next is asked for. `onBytes` gets the bytes read
 * from disk. Throws NOT_FOUND and other errors of the system, and DATA_BAD_GZIP.
 */
export async function* piecesOf(
  input: Pick<TextInput, "path" | "packed">,
  onBytes: (bytes: number) => void = () => undefined,
): AsyncGenerator<Uint8Array> {
  if (input.packed) {
    yield* unpacked(input.path, onBytes);
    return;
  }
  const buffer = new Uint8Array(PIECE_BYTES);
  const handle = await fs.promises.open(input.path, "r");
  try {
    for (;;) {
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, null);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
      onBytes(bytesRead);
    }
  } finally {
    await handle.close();
  }
}

async function* unpacked(
  file: string,
  onBytes: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  const source = fs.createReadStream(file, { highWaterMark: PIECE_BYTES / 4 });
  const gunzip = createGunzip({ chunkSize: PIECE_BYTES });
  let read_bytes = 0;
  source.on("error", (error) => gunzip.destroy(error));
  source.pipe(gunzip);
  try {
    for await (const piece of gunzip) {
      yield piece as Uint8Array;
      onBytes(source.bytesRead - read_bytes);
      read_bytes = source.bytesRead;
    }
    onBytes(source.bytesRead - read_bytes);
  } catch (error) {
    const code = (error as { code?: unknown }).code;
    if (typeof code !== "string" || !code.startsWith("Z_")) throw toMagnetError(error);
    throw new MagnetError("DATA_BAD_GZIP", `${file}: ${(error as Error).message}`, {
      hint: "the file is damaged or not packed with gzip; copy it again, or unpack it yourself",
      cause: error,
    });
  } finally {
    source.destroy();
    gunzip.destroy();
  }
}
