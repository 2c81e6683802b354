/**
 * One process at a time trains into a folder. The lock is a file with the process's number and
 * start time, so that the lock of a process that has died (also by kill -9 or a reboot) is no
 * obstacle.
 */
import fs from "node:fs/promises";
import path from "node:path";
import { MagnetError, toMagnetError } from "../core/errors.ts";

/** Ticks from boot to the start of a process: with its number, a name that is not used again. */
async function startTime(pid: number): Promise<string | null> {
  try {
    const stat = await fs.readFile(`/proc/${pid}/stat`, "utf8");
    // The second field is the command in parentheses and may hold anything; the start time is field
    // 22.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? null;
  } catch {
    return null; // no such process
  }
}

/** Number of the living process that a lock names, or null. */
async function holderOf(file: string): Promise<number | null> {
  const text = await fs.readFile(file, "utf8").catch(() => ""); // gone meanwhile: nobody's
  const match = /^(\d{1,10}) (\d{1,20})\n$/.exec(text);
  if (!match || (await startTime(Number(match[1]))) !== match[2]) return null;
  return Number(match[1]);
}

export class RunLock {
  private constructor(private readonly file: string) {}

  /** Takes the lock of an existing folder. Throws OUT_BUSY where a living process holds it. */
  static async take(folder: string): Promise<RunLock> {
    const file = path.join(folder, "run.lock");
    const line = `${process.pid} ${await startTime(process.pid)}\n`;
    try {
      for (let attempt = 0; ; attempt++) {
        try {
          await fs.writeFile(file, line, { flag: "wx" });
          return new RunLock(file);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
        }
        const holder = await holderOf(file);
        if (holder === null && attempt < 3) {
          await fs.rm(file, { force: true });
          continue;
        }
        throw new MagnetError("OUT_BUSY", `${folder} is in use by process ${holder ?? "unknown"}`, {
          hint: "wait until it ends, or choose another --out",
          retryable: true,
        });
      }
    } catch (error) {
      throw toMagnetError(error);
    }
  }

  async release(): Promise<void> {
    await fs.rm(this.file, { force: true });
  }
}
