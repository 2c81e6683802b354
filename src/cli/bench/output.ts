/** What the suites of `magnet bench` print alike, and the comparison with an earlier document. */
import { type BenchResult, compareResults, readBenchFile } from "../../core/bench-report.ts";
import type { ExitKind } from "../../core/errors.ts";
import type { TrainReport } from "../../model/bench-train.ts";
import type { Gpu } from "../../native/cuda.ts";
import type { FlagValues } from "../frame/command.ts";
import { type Output, table } from "../frame/output.ts";
import { shortNumber } from "../frame/progress.ts";
import { usageError } from "../frame/strict.ts";

export const COMPARE_FLAGS = {
  compare: { type: "string", value: "FILE", summary: "an earlier --json document" },
  "fail-slower": {
    type: "number",
    min: 0,
    value: "PCT",
    summary: "with --compare: exit 1 where a result is this much worse",
  },
} as const;

/** Runs a suite; prints its document or table, and what has changed since --compare. */
export async function measure<R extends { results: BenchResult[] }>(
  out: Output,
  flags: FlagValues<typeof COMPARE_FLAGS>,
  suite: () => Promise<R>,
  text: (report: R) => string,
): Promise<ExitKind> {
  if (flags.fail_slower !== undefined && flags.compare === undefined)
    throw usageError("MISSING_FLAG", "--fail-slower needs --compare", "name an earlier document");
  const before = flags.compare === undefined ? undefined : readBenchFile(flags.compare);
  const report = await suite();
  const compared = before === undefined ? undefined : compareResults(before, report.results);
  const limit = flags.fail_slower ?? Number.POSITIVE_INFINITY;
  const worse = compared?.filter(({ slower_percent }) => slower_percent > limit) ?? [];
  out.result("bench", { ...report, ...(compared ? { compared } : {}) }, () => {
    const change = compared?.map((c) => [c.name, c.before, c.now, -c.slower_percent].map(show));
    const rows = change ? ["", table(["result", "before", "now", "better by %"], change)] : [];
    return [text(report), ...rows].join("\n");
  });
  for (const { name, slower_percent } of worse)
    out.warn(`${name} is ${slower_percent.toFixed(1)}% worse than in ${flags.compare}`);
  return worse.length > 0 ? "failed" : "ok";
}

/** A machine with its CPU's limits, or its GPU. */
type Machine =
  | Extract<TrainReport["machine"], { limits: unknown }>
  | { gpu: Gpu & { read_gbps?: number } };

const show = (value: string | number) =>
  typeof value === "string" ? value : Number(value.toPrecision(4));
export const percent = (share: number | null) =>
  share === null ? "" : `${(100 * share).toFixed(1)}%`;

export function limitsText({ machine }: { machine: Machine }): string {
  if ("gpu" in machine) {
    const { name, capability, multiprocessors, read_gbps } = machine.gpu;
    const read = read_gbps === undefined ? "" : `, read ${read_gbps.toFixed(0)} GB/s`;
    return `${name}, compute capability ${capability}, ${multiprocessors} multiprocessors${read}`;
  }
  const { limits, limits_1, path, threads } = machine;
  const of = (l: typeof limits) =>
    `${l.threads} thread${l.threads === 1 ? "" : "s"}: fma ${l.fma_gflops.toFixed(0)} GFLOP/s, ` +
    `integer ${l.integer_gops.toFixed(0)} GOP/s, read ${l.read_gbps.toFixed(1)} GB/s ` +
    `(L3 ${l.shared_read_gbps.toFixed(0)}, L2 ${l.cached_read_gbps.toFixed(0)}), copy ${l.memcpy_gbps.toFixed(1)} GB/s`;
  return [`limits (${path})`, of(limits_1), ...(threads > 1 ? [of(limits)] : [])].join("\n  ");
}

export function resultsTable(results: readonly BenchResult[]): string {
  const rows = results.map(({ name, unit, value, min, max, limit, limit_name, ratio }) => [
    name,
    show(value),
    unit,
    show(min),
    show(max),
    limit === null ? "" : `${shortNumber(limit)} (${limit_name})`,
    percent(ratio),
  ]);
  return table(["result", "best", "unit", "min", "max", "limit", "of it"], rows);
}
