/** `magnet bench infer`: what inference reaches on this machine. */
import path from "node:path";
import { standardPaths } from "../../core/paths.ts";
import { benchInfer, type InferReport } from "../../model/bench-infer.ts";
import { PRESETS, resolveModelConfig } from "../../model/config.ts";
import { ENGINES } from "../../model/engine/open-text-model.ts";
import { HEAD_FORMATS } from "../../model/inference.ts";
import { randomModelFile } from "../../model/random-model.ts";
import { deviceOf, MEASURED_DEVICE_FLAG } from "../device-flag.ts";
import { defineCommand } from "../frame/command.ts";
import type { Output } from "../frame/output.ts";
import { usageError } from "../frame/strict.ts";
import { COMPARE_FLAGS, limitsText, measure, resultsTable } from "./output.ts";

const FLAGS = {
  model: { type: "string", value: "MODEL", summary: "a .gguf file or what else chat takes" },
  preset: {
    type: "string",
    value: "NAME",
    summary: `random weights of ${Object.keys(PRESETS).join(", ")}, or of a .json file`,
  },
  prompt: {
    type: "integer",
    min: 1,
    max: 100_000,
    default: 128,
    summary: "tokens before decoding",
  },
  decode: { type: "integer", min: 2, max: 100_000, default: 128, summary: "tokens of an answer" },
  parallel: { type: "integer", min: 2, max: 64, summary: "clients at once (4; on a GPU 8 and 64)" },
  engine: { type: "choice", options: ENGINES, default: "magnet", summary: "what computes" },
  device: MEASURED_DEVICE_FLAG,
  threads: { type: "integer", min: 0, max: 64, default: 0, summary: "0 means all" },
  head: { type: "choice", options: HEAD_FORMATS, default: "file", summary: "its weights" },
  "all-heads": { type: "boolean", summary: "rows for the other heads: speed and distance" },
  repeat: { type: "integer", min: 1, max: 1000, default: 3, summary: "of the whole" },
  ...COMPARE_FLAGS,
} as const;

/** The file to measure; a preset's is made once and kept in the cache folder. */
async function modelFile(out: Output, model: string | undefined, preset: string | undefined) {
  if ((model === undefined) === (preset === undefined))
    throw usageError("BAD_FLAGS", "give either --model or --preset", "--preset genkidama-618m");
  if (model !== undefined) return model;
  const folder = path.join(standardPaths(process.env).cache_dir, "bench");
  const config = resolveModelConfig(preset!);
  const narrow = config.d_model % 256 !== 0;
  const shape = narrow ? ({ matrices: "I2_S", embedding: "F16" } as const) : {};
  const file = await randomModelFile({ config, folder, ...shape });
  out.note(`random weights: ${file}`);
  return file;
}

const text = (report: InferReport): string =>
  [limitsText(report), resultsTable(report.results)].join("\n");

export const infer = defineCommand({
  summary: "Speed and memory of inference",
  details:
    "Decoding, prefill, the first token and parallel clients through the engine that serve and chat\nuse. Decoding's limit is what the machine reads in a second over the bytes of a token.",
  examples: [
    {
      command: "magnet bench infer --preset genkidama-618m --threads 2",
      does: "the paper's model",
    },
    {
      command: "magnet bench infer --preset genkidama-618m --device cuda",
      does: "on a GPU: batches of 1, 8 and 64",
    },
    { command: "magnet bench infer --model model.gguf --json", does: "for scripts" },
  ],
  args: {},
  flags: FLAGS,
  async run({ out }, { flags }) {
    const { prompt, decode, repeat, engine, head } = flags;
    const device = deviceOf(out, flags);
    const usual = device.gpu ? [8, 64] : [4];
    const parallel = flags.parallel === undefined ? usual : [flags.parallel];
    const threads = flags.threads === 0 ? navigator.hardwareConcurrency : flags.threads;
    const model = await modelFile(out, flags.model, flags.preset);
    const progress = out.progress({ label: "bench", total: repeat + 2, unit: "parts" });
    if (flags.all_heads && (engine !== "magnet" || device.gpu || !model.endsWith(".gguf")))
      throw usageError(
        "BAD_FLAGS",
        "--all-heads needs a .gguf file, magnet's engine and the CPU",
        "leave it out",
      );
    const suite = async () => {
      try {
        return await benchInfer({
          ...{ model, engine, device, threads, prompt, decode, parallel, repeat },
          load: { threads, head },
          all_heads: flags.all_heads,
          now_ms: () => performance.now(),
          onPart: (done) => progress.update(done),
        });
      } finally {
        progress.end();
      }
    };
    return measure(out, flags, suite, text);
  },
});
