/**
 * `magnet bench`: figures beside the machine's limits, measured in the same run. Every suite prints
 * the document magnet.bench/1 under --json and can be held against an earlier one.
 */
import { type BenchResult, compareResults, readBenchFile } from "../core/bench-report.ts";
import type { ExitKind } from "../core/errors.ts";
import { benchKernels, type KernelReport } from "../model/bench-kernels.ts";
import { type BenchShape, benchShape, SHAPE_NAMES, type ShapeName } from "../model/bench-shapes.ts";
import { type BenchOptions, benchTrain, type TrainReport } from "../model/bench-train.ts";
import { defineCommand, defineGroup, type FlagValues } from "./frame/command.ts";
import { type Output, table } from "./frame/output.ts";
import { shortNumber } from "./frame/progress.ts";
import { usageError } from "./frame/strict.ts";

const FLAGS = {
  shape: { type: "choice", options: SHAPE_NAMES, default: "a", summary: "model and batch" },
  threads: { type: "integer", min: 0, max: 64, default: 0, summary: "0 means all" },
  variant: { type: "choice", options: ["bitnet", "llama"], default: "bitnet", summary: "of it" },
  steps: { type: "integer", min: 1, max: 100_000, summary: "of a repeat (default by shape)" },
  repeat: { type: "integer", min: 1, max: 1000, summary: "of the whole (default by shape)" },
  compare: { type: "string", value: "FILE", summary: "an earlier --json document" },
  "fail-slower": {
    type: "number",
    min: 0,
    value: "PCT",
    summary: "with --compare: exit 1 where a result is this much worse",
  },
} as const;
type BenchFlags = FlagValues<typeof FLAGS>;

/** What both suites take from their flags. */
function optionsOf(out: Output, flags: BenchFlags): BenchOptions {
  if (flags.fail_slower !== undefined && flags.compare === undefined)
    throw usageError("MISSING_FLAG", "--fail-slower needs --compare", "name an earlier document");
  const variant = flags.variant === "llama" ? "llama" : "bitnet";
  const shape: BenchShape = benchShape(flags.shape as ShapeName, { variant });
  let progress: ReturnType<Output["progress"]> | undefined;
  return {
    shape,
    threads: flags.threads === 0 ? navigator.hardwareConcurrency : flags.threads,
    steps: flags.steps ?? shape.steps,
    repeat: flags.repeat ?? shape.repeat,
    now_ms: () => performance.now(),
    onStep(done, total) {
      progress ??= out.progress({ label: "bench", total, unit: "steps" });
      progress.update(done);
      if (done === total) progress.end();
    },
  };
}

/** Runs a suite; prints its document or table, and what has changed since --compare. */
async function measure<R extends { results: BenchResult[] }>(
  out: Output,
  flags: BenchFlags,
  suite: (options: BenchOptions) => Promise<R>,
  text: (report: R) => string,
): Promise<ExitKind> {
  const options = optionsOf(out, flags);
  const before = flags.compare === undefined ? undefined : readBenchFile(flags.compare);
  const report = await suite(options);
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

const show = (value: string | number) =>
  typeof value === "string" ? value : Number(value.toPrecision(4));
const percent = (share: number | null) => (share === null ? "" : `${(100 * share).toFixed(1)}%`);

function limitsText({ machine }: Pick<TrainReport, "machine">): string {
  const { limits, limits_1, path, threads } = machine;
  const of = (l: typeof limits) =>
    `${l.threads} thread${l.threads === 1 ? "" : "s"}: fma ${l.fma_gflops.toFixed(0)} GFLOP/s, ` +
    `integer ${l.integer_gops.toFixed(0)} GOP/s, read ${l.read_gbps.toFixed(1)} GB/s ` +
    `(L3 ${l.shared_read_gbps.toFixed(0)}, L2 ${l.cached_read_gbps.toFixed(0)}), copy ${l.memcpy_gbps.toFixed(1)} GB/s`;
  return [`limits (${path})`, of(limits_1), ...(threads > 1 ? [of(limits)] : [])].join("\n  ");
}

function trainText(report: TrainReport): string {
  const rows = report.results.map(({ name, unit, value, min, max, limit, limit_name, ratio }) => [
    name,
    show(value),
    unit,
    show(min),
    show(max),
    limit === null ? "" : `${shortNumber(limit)} (${limit_name})`,
    percent(ratio),
  ]);
  const { losses, flops_formula } = report;
  return [
    limitsText(report),
    `model FLOPs: ${flops_formula}`,
    `loss ${losses[0]!.toFixed(4)} -> ${losses.at(-1)!.toFixed(4)} in ${losses.length} steps`,
    table(["result", "best", "unit", "min", "max", "limit", "of it"], rows),
  ].join("\n");
}

function kernelText(report: KernelReport): string {
  const rows = report.results.map((r) => [
    r.name,
    percent(r.share),
    r.ms_per_step.toFixed(2),
    r.limit === null ? "" : r.value.toFixed(1),
    r.limit === null ? "" : r.unit,
    r.limit === null ? "" : `${r.limit.toFixed(1)} (${r.limit_name})`,
    percent(r.ratio),
  ]);
  const bounds = report.bound_by.map((b) => `${b.limit_name} ${percent(b.share)}`).join(", ");
  return [
    limitsText(report),
    table(["kernel", "share", "ms/step", "rate", "unit", "limit", "of it"], rows),
    `step ${report.step_ms.toFixed(1)} ms; every kernel at its limit: ${report.at_limit_ms.toFixed(1)} ms`,
    `packing (within the products): ${percent(report.packing_share)}`,
    `time by binding limit: ${bounds}`,
  ].join("\n");
}

const DETAILS =
  "Shape a: 5.3M parameters, b: 26.8M, 618m: the paper's model. The limits of the machine are\nmeasured first. Other work on the machine lowers every figure.";

const train = defineCommand({
  summary: "Speed and memory of training",
  details: DETAILS,
  examples: [
    { command: "magnet bench train --shape b --threads 2", does: "tokens/s, GFLOP/s, memory" },
    {
      command: "magnet bench train --shape a --json --compare old.json --fail-slower 5",
      does: "for scripts: fails where it is 5% slower than before",
    },
  ],
  args: {},
  flags: FLAGS,
  async run({ out }, { flags }) {
    return measure(out, flags, benchTrain, trainText);
  },
});

const kernel = defineCommand({
  summary: "Where a training step's time goes, and what bounds each kernel",
  details: DETAILS,
  examples: [{ command: "magnet bench kernel --shape b --threads 1 --json", does: "the roofline" }],
  args: {},
  flags: FLAGS,
  async run({ out }, { flags }) {
    return measure(out, flags, benchKernels, kernelText);
  },
});

export const bench = defineGroup("Measures this machine", { train, kernel });
