/**
 * Thread that hashes, writes and reads the bytes of points: gigabytes, beside the event loop and without a
 * copy. It is given addresses; whoever asks keeps the memory alive and unchanged until the answer.
 */
import { type Pointer, toArrayBuffer } from "bun:ffi";
import fs from "node:fs";

declare const self: Worker;

/** Memory as this thread is told of it. */
export interface Region {
  address: number;
  bytes: number;
}
export type PointRequest =
  /** SHA-256 of the regions, one behind the other. */
  | { do: "hash"; regions: Region[] }
  /** The same, written to a new file. */
  | { do: "write"; regions: Region[]; file: string }
  /** A file of exactly their length into the regions. */
  | { do: "read"; regions: Region[]; file: string };
export type PointAnswer = { hash: string } | { error: string; code: string };

/** What is hashed while it is in the cache. */
const PIECE_BYTES = 1 << 18;

function* piecesOf(regions: readonly Region[]): Generator<Uint8Array> {
  for (const { address, bytes } of regions)
    for (let at = 0; at < bytes; at += PIECE_BYTES) {
      const length = Math.min(PIECE_BYTES, bytes - at);
      yield new Uint8Array(toArrayBuffer((address + at) as Pointer, 0, length));
    }
}

/** Hashes all pieces, each after `work` has written it out or filled it. */
function pass(regions: readonly Region[], work: (piece: Uint8Array) => void): string {
  const hasher = new Bun.CryptoHasher("sha256");
  for (const piece of piecesOf(regions)) {
    work(piece);
    hasher.update(piece);
  }
  return hasher.digest("hex");
}

function write(regions: readonly Region[], file: string): string {
  const fd = fs.openSync(file, "wx", 0o600);
  try {
    return pass(regions, (piece) => {
      for (let done = 0; done < piece.length; )
        done += fs.writeSync(fd, piece, done, piece.length - done);
    });
  } finally {
    fs.closeSync(fd);
  }
}

function read(regions: readonly Region[], file: string): string {
  const fd = fs.openSync(file, "r");
  try {
    const expected = regions.reduce((sum, { bytes }) => sum + bytes, 0);
    const { size } = fs.fstatSync(fd);
    if (size !== expected) throw new Error(`${file} has ${size} bytes, not ${expected}`);
    return pass(regions, (piece) => {
      for (let done = 0; done < piece.length; ) {
        const count = fs.readSync(fd, piece, done, piece.length - done, null);
        if (count === 0) throw new Error(`${file} was cut off`);
        done += count;
      }
    });
  } finally {
    fs.closeSync(fd);
  }
}

function answer(request: PointRequest): PointAnswer {
  try {
    if (request.do === "hash") return { hash: pass(request.regions, () => undefined) };
    const { regions, file } = request;
    return { hash: request.do === "write" ? write(regions, file) : read(regions, file) };
  } catch (error) {
    const { code = "", message } = error as NodeJS.ErrnoException;
    return { error: message, code };
  }
}

self.onmessage = ({ data }: MessageEvent<PointRequest>) => postMessage(answer(data));
