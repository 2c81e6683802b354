/** What a long-running command shares: its ready file, and leaving with whoever started it. */
import fs from "node:fs";
import { toMagnetError } from "../core/errors.ts";
import { roomLog } from "../core/log.ts";
import { requireReplaceable } from "../core/read-file.ts";

const log = roomLog("main");

/** Written whole or not at all: who sees it can read it. */
export function writeReadyFile(file: string, content: object): void {
  requireReplaceable(file, "{");
  fs.writeFileSync(
    `${file}.tmp`,
    `${JSON.stringify({ schema: "magnet.ready/1", ...content, pid: process.pid })}\n`,
  );
  fs.renameSync(`${file}.tmp`, file);
}

/** Aborts when stdin ends: whoever holds its other end is gone, however it went. */
export function stdinClosed(): AbortSignal {
  const closed = new AbortController();
  const drain = async () => {
    for await (const bytes of Bun.stdin.stream()) void bytes; // nothing is expected there
  };
  drain()
    .catch((error) => log.debug("stdin_failed", { reason: toMagnetError(error).message }))
    .finally(() => closed.abort());
  return closed.signal;
}
