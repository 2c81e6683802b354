/**
 * A run killed with SIGKILL again and again at random moments, each time resumed; its result must be
 * that of a run which nobody disturbed.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { seededRandom } from "../../../src/core/random.ts";
import { linesOf } from "../../../src/research/trials/protocol.ts";

export interface KillOptions {
  /** Starts the run on a folder, or resumes it; it prints lines, and "result TEXT" at last. */
  command(folder: string): string[];
  kills: number;
  seed: number;
  /** Lines after which it is killed at the latest. */
  lines_max: number;
  onKill?: (done: number) => void;
}

/** Runs until a line count (and then some microseconds of it), or to the end: null, or the result. */
async function life(command: string[], lines: number, spins: number): Promise<string | null> {
  const child = Bun.spawn(command, { stdout: "pipe", stderr: "inherit" });
  let result: string | null = null;
  let count = 0;
  for await (const line of linesOf(child.stdout)) {
    if (line.startsWith("result ")) result = line.slice("result ".length);
    if (++count < lines) continue;
    for (let i = 0; i < spins; i++) await new Promise((resolve) => setImmediate(resolve));
    child.kill("SIGKILL");
  }
  const code = await child.exited;
  if (result === null && child.signalCode !== "SIGKILL")
    throw new Error(`the run ended with exit code ${code} and without a result`);
  return result;
}

/** Returns both results, and how often it was killed before it could end. */
export async function killRuns({ command, kills, seed, lines_max, onKill }: KillOptions) {
  const home = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-kills-"));
  try {
    const undisturbed = await life(command(path.join(home, "whole")), Number.POSITIVE_INFINITY, 0);
    const random = seededRandom(seed);
    let killed = 0;
    for (; killed < kills; killed++) {
      const lines = 1 + random.below(lines_max);
      const early = await life(command(path.join(home, "killed")), lines, random.below(2000));
      if (early !== null) break;
      onKill?.(killed + 1);
    }
    const resumed = await life(command(path.join(home, "killed")), Number.POSITIVE_INFINITY, 0);
    return { undisturbed, resumed, killed };
  } finally {
    fs.rmSync(home, { recursive: true, force: true });
  }
}
