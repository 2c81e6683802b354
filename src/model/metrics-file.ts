/**
 * metrics.jsonl of a run: one line a step or evaluation. It is a record for people and plots, not
 * part of the state; on resume the lines behind the checkpoint are cut off, so that every step
 * appears once.
 */
import fs from "node:fs/promises";
import { toMagnetError } from "../core/errors.ts";

/** Length of the leading whole lines whose step is at most `step`. */
async function keptBytes(handle: fs.FileHandle, step: number): Promise<number> {
  let kept = 0;
  let pending = Buffer.alloc(0);
  const buffer = Buffer.alloc(1024 * 1024);
  for (let position = 0; ; ) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) return kept;
    position += bytesRead;
    pending = Buffer.concat([pending, buffer.subarray(0, bytesRead)]);
    for (let end = pending.indexOf(10); end >= 0; end = pending.indexOf(10)) {
      const match = /"step":(\d+)/.exec(pending.subarray(0, end).toString());
      if (!match || Number(match[1]) > step) return kept;
      kept += end + 1;
      pending = pending.subarray(end + 1);
    }
  }
}

/** A figure, a text, or figures by name. */
type MetricValue = number | string | null | { [name: string]: MetricValue };

export class MetricsFile {
  private constructor(private readonly handle: fs.FileHandle) {}

  /** Opens the file to go on behind `step` (0: from its start). */
  static async open(path: string, step: number): Promise<MetricsFile> {
    try {
      const handle = await fs.open(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o644);
      try {
        await handle.truncate(step === 0 ? 0 : await keptBytes(handle, step));
      } finally {
        await handle.close();
      }
      return new MetricsFile(await fs.open(path, "a"));
    } catch (error) {
      throw toMagnetError(error);
    }
  }

  /** Appends one line. Throws DISK_FULL and other system errors. */
  async append(line: Record<string, MetricValue>): Promise<void> {
    try {
      await this.handle.appendFile(`${JSON.stringify(line)}\n`);
    } catch (error) {
      throw toMagnetError(error);
    }
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}
