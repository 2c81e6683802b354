/**
 * `magnet bench`: figures beside the machine's limits, measured in the same run. Every suite prints
 * the document magnet.bench/1 under --json and can be held against an earlier one.
 */
import { benchKernels, type KernelReport } from "../model/bench-kernels.ts";
import { type BenchShape, benchShape, SHAPE_NAMES, type ShapeName } from "../model/bench-shapes.ts";
import { type BenchOptions, benchTrain, type TrainReport } from "../model/bench-train.ts";
import { chooseDevice, parseDevice } from "../native/device.ts";
import { account } from "./bench/account.ts";
import { chain } from "./bench/chain.ts";
import { infer } from "./bench/infer.ts";
import { COMPARE_FLAGS, limitsText, measure, percent, resultsTable } from "./bench/output.ts";
import { product } from "./bench/product.ts";
import { research } from "./bench/research.ts";
import { MEASURED_DEVICE_FLAG } from "./device-flag.ts";
import { defineCommand, defineGroup, type FlagValues } from "./frame/command.ts";
import { type Output, table } from "./frame/output.ts";

const FLAGS = {
  shape: { type: "choice", options: SHAPE_NAMES, default: "a", summary: "model and batch" },
  threads: { type: "integer", min: 0, max: 64, default: 0, summary: "0 means all" },
  variant: { type: "choice", options: ["bitnet", "llama"], default: "bitnet", summary: "of it" },
  steps: { type: "integer", min: 1, max: 100_000, summary: "of a repeat (default by shape)" },
  repeat: { type: "integer", min: 1, max: 1000, summary: "of the whole (default by shape)" },
  ...COMPARE_FLAGS,
} as const;
type BenchFlags = FlagValues<typeof FLAGS>;
const TRAIN_FLAGS = {
  ...FLAGS,
  batch: {
    type: "integer",
    min: 1,
    max: 65_536,
    summary: "sequences of a step (default by shape)",
  },
  device: MEASURED_DEVICE_FLAG,
} as const;

/** What both suites take from their flags. */
function optionsOf(out: Output, flags: BenchFlags, batch?: number): BenchOptions {
  const variant = flags.variant === "llama" ? "llama" : "bitnet";
  const named: BenchShape = benchShape(flags.shape as ShapeName, { variant });
  const shape = { ...named, batch: batch ?? named.batch };
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

function trainText(report: TrainReport): string {
  const { losses, flops_formula } = report;
  return [
    limitsText(report),
    `model FLOPs: ${flops_formula}`,
    `loss ${losses[0]!.toFixed(4)} -> ${losses.at(-1)!.toFixed(4)} in ${losses.length} steps`,
    resultsTable(report.results),
  ].join("\n");
}

function kernelText(report: KernelReport): string {
  const rows = report.results.map((r) => [
    r.name,
    percent(r.share),
    r.ms_per_step.toFixed(2),
    r.unit === "ms" ? "" : r.value.toFixed(1),
    r.unit === "ms" ? "" : r.unit,
    r.limit === null ? "" : `${r.limit.toFixed(1)} (${r.limit_name})`,
    percent(r.ratio),
  ]);
  const bounds = report.bound_by.map((b) => `${b.limit_name} ${percent(b.share)}`).join(", ");
  const text = [
    limitsText(report),
    table(["kernel", "share", "ms/step", "rate", "unit", "limit", "of it"], rows),
  ];
  if ("gpu" in report.machine) {
    const products = report.products.map(({ m, n, k, operands, path, us }) => [
      `${m} x ${n} x ${k}, ${operands}`,
      path,
      Object.entries(us)
        .map(([name, time]) => `${name} ${time.toFixed(0)} us`)
        .join(", "),
    ]);
    const step = `step ${report.step_ms.toFixed(1)} ms, without graphs`;
    return [...text, step, table(["product", "by", "measured"], products)].join("\n");
  }
  return [
    ...text,
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
    {
      command: "magnet bench train --shape 618m --batch 16 --device cuda",
      does: "the paper's model on a GPU",
    },
  ],
  args: {},
  flags: TRAIN_FLAGS,
  async run({ out }, { flags }) {
    const device = chooseDevice(parseDevice(flags.device));
    const options = { ...optionsOf(out, flags, flags.batch), device };
    return measure(out, flags, () => benchTrain(options), trainText);
  },
});

const kernel = defineCommand({
  summary: "Where a training step's time goes, and what bounds each kernel",
  details: DETAILS,
  examples: [
    { command: "magnet bench kernel --shape b --threads 1 --json", does: "the roofline" },
    { command: "magnet bench kernel --shape 618m --batch 16 --device cuda", does: "a GPU's time" },
  ],
  args: {},
  flags: TRAIN_FLAGS,
  async run({ out }, { flags }) {
    const device = chooseDevice(parseDevice(flags.device));
    const options = { ...optionsOf(out, flags, flags.batch), device };
    return measure(out, flags, () => benchKernels(options), kernelText);
  },
});

export const bench = defineGroup("Measures this machine", {
  ...{ train, kernel, account, product, infer, chain, research },
});
