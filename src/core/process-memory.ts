/** Memory of this process as Linux counts it; null where /proc does not say. */
import fs from "node:fs";

function statusBytes(field: string): number | null {
  try {
    const status = fs.readFileSync("/proc/self/status", "utf8");
    const kib = new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1];
    return kib === undefined ? null : Number(kib) * 1024;
  } catch {
    return null; // no /proc
  }
}

export const residentBytes = (): number | null => statusBytes("VmRSS");
/** The most that was resident since the start or the last reset. */
export const peakResidentBytes = (): number | null => statusBytes("VmHWM");

/** Begins a new peak at what is resident now; false where the system does not allow it. */
export function resetPeakResident(): boolean {
  try {
    fs.writeFileSync("/proc/self/clear_refs", "5");
    return true;
  } catch {
    return false; // an older kernel: the peak stays that of the whole life
  }
}
