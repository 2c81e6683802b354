/**
 * `magnet bench infer`: decoding, prefill, first token and parallel clients beside what the machine
 * reads, what a model costs to load and to hold, and what the house's own layers cost. Other forms of
 * the head get rows of their own: their speed, and how far they move the answers.
 */
import fs from "node:fs";
import { type BenchResult, benchResult, machineOf } from "../core/bench-report.ts";
import { MagnetError } from "../core/errors.ts";
import { seededRandom } from "../core/random.ts";
import { gpuReadGbps } from "../native/machine.ts";
import { type Fidelity, fidelity } from "./bench-fidelity.ts";
import {
  type InferBenchOptions,
  type Measured,
  measureDecoding,
  measureModel,
  PREFILL_TOKENS,
  type Repeat,
  randomTokens,
} from "./bench-infer-runs.ts";
import { ffiMicroseconds, loopMicroseconds } from "./bench-loop.ts";
import { benchMachine } from "./bench-train.ts";
import { evalLogits, HEAD_FORMATS, type HeadFormat, type InferenceModel } from "./inference.ts";
import { type LoadedModel, loadModel } from "./load-model.ts";

const MIB = 2 ** 20;
/** Tokens on which distributions are compared. */
const FIDELITY_TOKENS = 96;

/** The file's bytes; null for a folder. */
function fileBytes(model: string): number | null {
  const stat = fs.statSync(model);
  return stat.isFile() ? stat.size : null;
}

function memoryResults(
  measured: Measured,
  file_bytes: number | null,
  on_gpu: boolean,
): BenchResult[] {
  const { resident_bytes, resident_kv_bytes, pool_bytes } = measured;
  const where = on_gpu ? "gpu" : "resident";
  const row = (name: string, bytes: number | null, more: number, what: string) => {
    const value = ((file_bytes ?? 0) + more) / MIB;
    const limit = file_bytes === null ? null : { value, name: what };
    return bytes === null ? [] : [benchResult(name, "MiB", [bytes / MIB], limit)];
  };
  return [
    ...row(`${where}_mib`, resident_bytes, 0, "file"),
    ...row(`${where}_kv_mib`, resident_kv_bytes, pool_bytes, "file + KV pool"),
  ];
}

/** What the device reads of its memory. */
interface Limits {
  read_gbps: number;
}

const readLimit = ({ read_gbps }: Limits, { bytes_per_token }: InferenceModel) => ({
  value: (read_gbps * 1e9) / bytes_per_token,
  name: "read bandwidth / bytes per token",
});

/** The machine with what it reads. */
async function machineAndLimits({ device: { gpu }, threads }: InferBenchOptions) {
  if (gpu === null) return benchMachine(threads);
  const limits: Limits = { read_gbps: await gpuReadGbps(gpu.index) };
  return { machine: { ...machineOf(), gpu: { ...gpu, ...limits } }, limits };
}

const fidelityResults = (name: string, { kl, top1 }: Fidelity): BenchResult[] => [
  benchResult(`${name}_kl`, "nats", [kl]),
  benchResult(`${name}_top1`, "share", [top1]),
];

/**
 * Other forms of the head (speed and difference), and the other rounding (difference), each beside
 * the file's own head with the default rounding.
 */
async function otherResults(
  { loaded: { config } }: Measured,
  options: InferBenchOptions,
  limits: Limits,
): Promise<BenchResult[]> {
  const { context, vocab_size } = config;
  const tokens = randomTokens(seededRandom(96), vocab_size, Math.min(FIDELITY_TOKENS, context));
  const logitsOf = (head: HeadFormat, rounding: "bitnet" | "llamacpp") =>
    withHead(options, head, ({ model }) => evalLogits(model, tokens, rounding));
  const reference = await logitsOf("file", "bitnet");
  const compare = (logits: Float32Array) => fidelity(reference, logits, vocab_size);
  const results: BenchResult[] = [];
  for (const head of HEAD_FORMATS.filter((format) => format !== "file")) {
    const speed = await withHead(options, head, async (loaded) => {
      const rates = await measureDecoding(loaded, options);
      const limit = readLimit(limits, loaded.model);
      return benchResult(`decode_${head}_tokens_per_s`, "tokens/s", rates, limit);
    });
    const distance = compare(await logitsOf(head, "bitnet"));
    results.push(speed, ...fidelityResults(`head_${head}`, distance));
  }
  const rounded = await logitsOf("file", "llamacpp").catch(unsupported);
  if (rounded) results.push(...fidelityResults("rounding_llamacpp", compare(rounded)));
  return results;
}

/** llama.cpp knows no I2_S, so its rounding is not defined for it: no row. */
function unsupported(error: unknown): null {
  if (error instanceof MagnetError && error.code === "UNSUPPORTED") return null;
  throw error;
}

async function withHead<T>(
  { model, load }: InferBenchOptions,
  head: HeadFormat,
  work: (loaded: LoadedModel) => Promise<T>,
): Promise<T> {
  const loaded = await loadModel(model, { ...load, head });
  try {
    return await work(loaded);
  } finally {
    loaded.close();
  }
}

function speedResults(
  { repeats, loaded, load_ms }: Measured,
  { parallel }: InferBenchOptions,
  limits: Limits,
): BenchResult[] {
  const of = (value: (repeat: Repeat) => number) => repeats.map(value);
  const { model } = loaded;
  const read = model && readLimit(limits, model);
  const native_ms = Math.min(...repeats.flatMap((r) => r.native_prefill_ms ?? []));
  const first_limit = model && { value: native_ms, name: "prefill time" };
  const decode_best = Math.max(...of((r) => r.decode_per_s));
  const prefill = repeats[0]!.prefill_per_s.map((_, i) =>
    benchResult(
      i === 0 ? "prefill_tokens_per_s" : `prefill_${PREFILL_TOKENS[i]}_tokens_per_s`,
      "tokens/s",
      of((r) => r.prefill_per_s[i]!),
    ),
  );
  return [
    benchResult(
      "decode_tokens_per_s",
      "tokens/s",
      of((r) => r.decode_per_s),
      read,
    ),
    ...prefill,
    benchResult(
      "first_token_ms",
      "ms",
      of((r) => r.first_token_ms),
      first_limit,
    ),
    ...parallel.flatMap((clients, i) => [
      benchResult(
        parallel.length === 1 ? "parallel_tokens_per_s" : `parallel_${clients}_tokens_per_s`,
        "tokens/s",
        of((r) => r.parallel_per_s[i]!),
      ),
      benchResult(
        `parallel_${clients}_speedup`,
        "x",
        of((r) => r.parallel_per_s[i]! / decode_best),
      ),
    ]),
    benchResult("load_ms", "ms", load_ms),
  ];
}

/** The suite "infer". */
export async function benchInfer(options: InferBenchOptions) {
  const { now_ms, repeat, prompt, decode, parallel } = options;
  const measured = await measureModel(options);
  const { loaded } = measured;
  try {
    const { machine, limits } = await machineAndLimits(options);
    const loop = await loopMicroseconds(now_ms, repeat);
    const file_bytes = fileBytes(options.model);
    const results = [
      ...speedResults(measured, options, limits),
      ...memoryResults(measured, file_bytes, options.device.gpu !== null),
      ...(options.all_heads ? await otherResults(measured, options, limits) : []),
      benchResult("step_overhead_us", "us", loop),
      benchResult(
        "ffi_us_per_call",
        "us",
        Array.from({ length: repeat }, () => ffiMicroseconds(now_ms)),
      ),
    ];
    return {
      suite: "infer",
      machine,
      model: { path: options.model, ...loaded.config },
      ...{ prompt, decode, parallel, head: options.load.head ?? "file" },
      engine: options.engine ?? "magnet",
      device: options.device.text,
      bytes_per_token: loaded.model?.bytes_per_token ?? null,
      file_bytes,
      results,
    };
  } finally {
    await loaded.close();
  }
}
export type InferReport = Awaited<ReturnType<typeof benchInfer>>;
