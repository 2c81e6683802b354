/** CPU time of processes as Linux counts it, all their threads together. */
import fs from "node:fs";

/** USER_HZ: the unit of /proc, 100 on every Linux that Bun runs on. */
const TICKS_PER_S = 100;

/** Of a living process; null where it is gone or there is no /proc. */
export function processCpuSeconds(pid: number): number | null {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is the command in parentheses and may hold anything; user and system time
    // are fields 14 and 15.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S;
  } catch {
    return null;
  }
}

/** Of this process. */
export function ownCpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}
