/** `magnet bench account`: what a training step on a GPU has to do, from its sizes. */
import { type AccountRates, accountReport, H200_RATES } from "../../model/bench-account.ts";
import { benchShape, SHAPE_NAMES, type ShapeName } from "../../model/bench-shapes.ts";
import { defineCommand } from "../frame/command.ts";
import { table } from "../frame/output.ts";

type Report = ReturnType<typeof accountReport>;

function accountText({ parts, total, rates }: Report): string {
  const rows = parts.map((p) => [
    p.site === "" ? p.kernel : `${p.kernel}/${p.site}`,
    p.operations === 0 ? "" : (p.operations / 1e12).toFixed(2),
    (p.bytes / 1e9).toFixed(2),
    p.launches,
    p.ms.toFixed(2),
    p.bound_by,
  ]);
  return [
    `computed, not measured: products at ${rates.tflops} TFLOP/s, memory at ${rates.gbps} GB/s`,
    table(["part", "TFLOP", "GB", "launches", "least ms", "bound by"], rows),
    `step: ${(total.operations / 1e12).toFixed(1)} TFLOP, ${(total.bytes / 1e9).toFixed(1)} GB, ` +
      `${total.launches} launches, at least ${total.ms.toFixed(1)} ms: ` +
      `at most ${total.tokens_per_s.toFixed(0)} tokens/s`,
  ].join("\n");
}

export const account = defineCommand({
  summary: "What a training step on a GPU has to do, computed from sizes",
  details:
    "For each part of the step: operations, bytes read and written, launches, and the least time on a\nGPU of the given rates. Nothing is run; `bench kernel --device cuda` measures the same parts.",
  examples: [
    { command: "magnet bench account --shape 618m --batch 16", does: "the paper's model" },
  ],
  args: {},
  flags: {
    shape: { type: "choice", options: SHAPE_NAMES, default: "618m", summary: "model" },
    batch: { type: "integer", min: 1, max: 65_536, default: 16, summary: "sequences of a step" },
    tflops: {
      ...{ type: "number", min: 1, default: H200_RATES.tflops },
      summary: "that bf16 products reach",
    },
    gbps: {
      ...{ type: "number", min: 1, default: H200_RATES.gbps },
      summary: "that memory gives",
    },
  },
  async run({ out }, { flags }) {
    const rates: AccountRates = { tflops: flags.tflops, gbps: flags.gbps };
    const shape = { ...benchShape(flags.shape as ShapeName), batch: flags.batch };
    const report = accountReport(shape, rates);
    out.result("bench_account", report, () => accountText(report));
    return "ok";
  },
});
