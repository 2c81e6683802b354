/**
 * Files that a user or another program named. Only regular ones are read: a pipe would block the
 * process and a device never ends. The size is checked before and while reading; and what is of
 * another kind is not replaced.
 */
import fs from "node:fs";
import { MagnetError, toMagnetError } from "./errors.ts";

/** Throws NOT_FOUND, NOT_A_FILE and the like, and FILE_TOO_LARGE above `bytes_max`. */
export function readSmallFile(file: string, bytes_max: number): Uint8Array {
  try {
    requireFile(file);
    const fd = fs.openSync(file, "r");
    try {
      return readAll(fd, file, bytes_max);
    } finally {
      fs.closeSync(fd);
    }
  } catch (error) {
    throw toMagnetError(error);
  }
}

/** The same as text; bytes that are not UTF-8 become U+FFFD, which no format of ours accepts. */
export const readSmallText = (file: string, bytes_max: number): string =>
  new TextDecoder().decode(readSmallFile(file, bytes_max));

/** Throws NOT_A_FILE for folders, pipes, sockets and devices, before anything opens them. */
export function requireFile(file: string): void {
  const stat = fs.statSync(file);
  if (stat.isFile()) return;
  const what = stat.isDirectory() ? "is a folder, not a file" : "is no regular file";
  throw new MagnetError("NOT_A_FILE", `${file}: ${what}`, {
    hint: "name a regular file; save a stream to one first",
  });
}

/**
 * For outputs that replace what is there: only an empty file or one whose content starts with
 * `magic` may be replaced, so that a slip in a path costs no text, no device and no folder. Throws
 * NOT_A_FILE or FILE_EXISTS.
 */
export function requireReplaceable(file: string, magic: string): void {
  try {
    if (fs.statSync(file, { throwIfNoEntry: false }) === undefined) return;
    requireFile(file);
    const start = new Uint8Array(magic.length);
    const fd = fs.openSync(file, "r");
    try {
      const count = fs.readSync(fd, start);
      if (count === 0 || new TextDecoder().decode(start.subarray(0, count)) === magic) return;
    } finally {
      fs.closeSync(fd);
    }
  } catch (error) {
    throw toMagnetError(error);
  }
  throw new MagnetError("FILE_EXISTS", `${file} exists and is of another kind`, {
    hint: "choose another name, or remove the file first",
  });
}

function readAll(fd: number, file: string, bytes_max: number): Uint8Array {
  const { size } = fs.fstatSync(fd);
  // Files of /proc say 0; one byte more than the limit tells a file that grows from one that fits.
  let bytes = new Uint8Array(Math.min(Math.max(size, 4095), bytes_max) + 1);
  let length = 0;
  for (;;) {
    const count = fs.readSync(fd, bytes, length, bytes.length - length, null);
    if (count === 0) return bytes.slice(0, length);
    length += count;
    if (length > bytes_max)
      throw new MagnetError("FILE_TOO_LARGE", `${file} has more than ${bytes_max} bytes`, {
        hint: "this is probably another file than the one meant",
      });
    if (length < bytes.length) continue;
    const larger = new Uint8Array(Math.min(bytes.length * 2, bytes_max + 1));
    larger.set(bytes);
    bytes = larger;
  }
}
