/** `magnet bench product`: single products of inference beside what binds them. */
import { benchProducts } from "../../model/bench-products.ts";
import { PRESETS, resolveModelConfig } from "../../model/config.ts";
import { defineCommand } from "../frame/command.ts";
import { usageError } from "../frame/strict.ts";
import { COMPARE_FLAGS, limitsText, measure, resultsTable } from "./output.ts";

const TOKENS_MAX = 1024;

/** "1,16,128" as numbers. */
function tokenCounts(text: string): number[] {
  const counts = text.split(",").map(Number);
  if (!counts.every((n) => Number.isInteger(n) && n >= 1 && n <= TOKENS_MAX))
    throw usageError("BAD_VALUE", `--tokens cannot be "${text}"`, `numbers of 1 to ${TOKENS_MAX}`);
  return counts;
}

export const product = defineCommand({
  summary: "Speed of inference's single products",
  details:
    "Ternary products and heads on weights that no cache holds, for some numbers of tokens at once:\none token is bound by memory, many by the integer units.",
  examples: [
    {
      command: "magnet bench product --preset genkidama-618m --threads 1",
      does: "decoding and prefill of the paper's model, product by product",
    },
  ],
  args: {},
  flags: {
    preset: {
      type: "string",
      value: "NAME",
      default: "genkidama-618m",
      summary: `shapes of ${Object.keys(PRESETS).join(", ")}, or of a .json file`,
    },
    tokens: { type: "string", value: "N,...", default: "1,4,128", summary: "at once" },
    threads: { type: "integer", min: 0, max: 64, default: 0, summary: "0 means all" },
    repeat: { type: "integer", min: 1, max: 1000, default: 5, summary: "of each product" },
    ...COMPARE_FLAGS,
  },
  async run({ out }, { flags }) {
    const tokens = tokenCounts(flags.tokens);
    const config = resolveModelConfig(flags.preset);
    const threads = flags.threads === 0 ? navigator.hardwareConcurrency : flags.threads;
    let progress: ReturnType<typeof out.progress> | undefined;
    const suite = () =>
      benchProducts({
        ...{ config, threads, tokens, repeat: flags.repeat },
        onPart(done, total) {
          progress ??= out.progress({ label: "bench", total, unit: "products" });
          progress.update(done);
          if (done === total) progress.end();
        },
      });
    return measure(out, flags, suite, (report) =>
      [limitsText(report), resultsTable(report.results)].join("\n"),
    );
  },
});
