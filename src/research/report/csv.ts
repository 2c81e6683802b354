/** The trials of a run as CSV, one a line, for spreadsheets. */
import type { ReportDocument, ReportTrial } from "./report.ts";

const COLUMNS = [
  "index",
  "version",
  "strategy",
  "proposer",
  "state",
  "seed",
  "fidelity",
  "score",
  "cpu_s",
  "error",
  "configuration",
] as const satisfies readonly (keyof ReportTrial)[];

/** Quoted where it must be; a leading = + - @ of a text would be a formula to some. */
function field(value: unknown): string {
  if (value === null) return "";
  if (typeof value === "number") return String(value);
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function csvReport({ trials }: ReportDocument): string {
  const lines = trials.map((trial) => COLUMNS.map((name) => field(trial[name])).join(","));
  return `${[COLUMNS.join(","), ...lines].join("\n")}\n`;
}
