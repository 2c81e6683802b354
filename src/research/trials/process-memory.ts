/**
 * Memory of worker processes as Linux counts it. Address space cannot be limited instead: the
 * engine reserves gigabytes of it that it never uses.
 */
import fs from "node:fs";
import { availableMemoryBytes } from "../../model/memory.ts";
import { WORKER_MEMORY_BYTES_MIN, WORKERS_MEMORY_SHARE } from "./limits.ts";

/** Resident bytes of a living process; null where it is gone or there is no /proc. */
export function processMemoryBytes(pid: number): number | null {
  try {
    const status = fs.readFileSync(`/proc/${pid}/status`, "utf8");
    const match = /^VmRSS:\s+(\d+) kB$/m.exec(status);
    return match ? Number(match[1]) * 1024 : null;
  } catch {
    return null;
  }
}

/** A worker's share of what is free now; null where nobody says what is free. */
export function workerMemoryBytes(
  workers: number,
  available_bytes: number | null = availableMemoryBytes(),
): number | null {
  if (available_bytes === null) return null;
  const share = (available_bytes * WORKERS_MEMORY_SHARE) / Math.max(1, workers);
  return Math.max(WORKER_MEMORY_BYTES_MIN, Math.floor(share));
}

/** Where the memory ends faster than we look, the kernel ends this process and no other. */
export function endFirstWithoutMemory(pid: number): void {
  try {
    fs.writeFileSync(`/proc/${pid}/oom_score_adj`, "1000");
  } catch {
    // Gone already, or not Linux's /proc: the watch is what there is.
  }
}
