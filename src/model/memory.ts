/**
 * Memory that this process may still take, so that a run that cannot fit is refused before it
 * starts.
 */
import fs from "node:fs";
import { formatBytes } from "../core/bytes.ts";
import { MagnetError } from "../core/errors.ts";

const readText = (path: string): string => {
  try {
    return fs.readFileSync(path, "utf8");
  } catch {
    return ""; // this kernel or container has no such file: no limit from there
  }
};

/**
 * What /proc/meminfo and the memory limit of the control group leave, or null where neither is
 * there.
 */
export function availableMemoryBytes(read: (path: string) => string = readText): number | null {
  const match = /^MemAvailable:\s+(\d+) kB$/m.exec(read("/proc/meminfo"));
  const host = match ? Number(match[1]) * 1024 : null;
  const groups: [limit: string, used: string][] = [
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"],
    ["/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"],
  ];
  const limits = groups.flatMap(([limit, used]) => {
    const limit_bytes = Number(read(limit).trim() || "max");
    const used_bytes = Number(read(used).trim());
    return Number.isFinite(limit_bytes) ? [Math.max(0, limit_bytes - used_bytes)] : [];
  });
  const all = host === null ? limits : [host, ...limits];
  return all.length === 0 ? null : Math.min(...all);
}

interface Need {
  /** What needs it: "training". */
  what: string;
  hint: string;
}
const TRAINING: Need = {
  what: "training needs",
  hint: "choose a smaller --batch (--accumulate makes up for it), --context or --model, or --recompute",
};
/** Of a model that is opened; keys and values come on top and say so themselves. */
export const WEIGHTS: Need = {
  what: "the model's weights need",
  hint: "close other programs, or take a smaller model",
};

/** Throws NOT_ENOUGH_MEMORY (exit kind hardware) with both numbers where `needed` does not fit. */
export function requireMemory(
  needed_bytes: number,
  available_bytes: number | null,
  { what, hint }: Need = TRAINING,
): void {
  if (available_bytes === null || needed_bytes <= available_bytes) return;
  throw new MagnetError(
    "NOT_ENOUGH_MEMORY",
    `${what} ${formatBytes(needed_bytes)}, ${formatBytes(available_bytes)} are available`,
    { hint, exit: "hardware" },
  );
}
