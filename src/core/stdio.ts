/** Synchronous writing to stdout and stderr: nothing is lost when the process ends right after. */
import fs from "node:fs";
import { toMagnetError } from "./errors.ts";

/**
 * Writes all of the text, waiting while a non-blocking pipe is full. Returns false where the reader
 * has gone away (EPIPE) or the descriptor is closed; throws MagnetError on anything else (a full
 * disk).
 */
export function writeToDescriptor(fd: 1 | 2, text: string): boolean {
  const bytes = Buffer.from(text);
  for (let offset = 0; offset < bytes.length; ) {
    try {
      offset += fs.writeSync(fd, bytes, offset, bytes.length - offset);
    } catch (error) {
      const { code } = error as { code?: string };
      if (code === "EPIPE" || code === "EBADF") return false;
      if (code !== "EAGAIN") throw toMagnetError(error);
      Bun.sleepSync(1);
    }
  }
  return true;
}
