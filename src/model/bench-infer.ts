/**
 * `magnet bench infer`: decoding, prefill, first token and parallel sequences through the batching
 * engine as a user meets it, beside what the machine reads, and what a model costs to load and to
 * hold. Also what the house's own layers cost: a native call, and the engine's loop around a step.
 */
import fs from "node:fs";
import { type BenchResult, benchResult } from "../core/bench-report.ts";
import { MagnetError } from "../core/errors.ts";
import { residentBytes } from "../core/process-memory.ts";
import { type Random, seededRandom } from "../core/random.ts";
import type { MachineLimits } from "../native/machine.ts";
import { ffiMicroseconds, loopMicroseconds } from "./bench-loop.ts";
import { benchMachine } from "./bench-train.ts";
import type { ModelConfig } from "./config.ts";
import { openEngine } from "./engine/open-engine.ts";
import { type EngineName, openTextModel } from "./engine/open-text-model.ts";
import type { Engine, EngineResult } from "./engine/types.ts";
import type { InferenceModel } from "./inference.ts";
import { type LoadOptions, loadModel } from "./load-model.ts";

export interface InferBenchOptions {
  /** A .gguf file or what else loadModel takes. */
  model: string;
  load: LoadOptions;
  /** What computes; magnet unless given. */
  engine?: EngineName;
  /** 0 is not allowed here: figures belong to a number of threads. */
  threads: number;
  /** Tokens of a prompt before decoding, and tokens decoded. */
  prompt: number;
  decode: number;
  /** Clients at once. */
  parallel: number;
  repeat: number;
  now_ms: () => number;
  onPart?: (done: number, total: number) => void;
}

/** Prompts of the prefill rows. */
const PREFILL_TOKENS = [128, 512];
const FIRST_TOKEN_PROMPT = 128;
const MIB = 2 ** 20;

interface Answered extends EngineResult {
  first_token_ms: number;
  /** When each token came. */
  times_ms: number[];
}

/** Asks for exactly `tokens` tokens and notes when they come. */
async function ask(
  engine: Engine,
  prompt: Int32Array,
  tokens: number,
  now_ms: () => number,
): Promise<Answered> {
  const start_ms = now_ms();
  const times_ms: number[] = [];
  const request = { prompt, max_tokens: tokens, sampling: { temperature: 0 } };
  const answer = engine.generate({ ...request, end_tokens: new Set() });
  for (;;) {
    const next = await answer.next();
    if (!next.done) times_ms.push(now_ms());
    else return { ...next.value, times_ms, first_token_ms: times_ms[0]! - start_ms };
  }
}

const randomTokens = (random: Random, vocab_size: number, length: number) =>
  Int32Array.from({ length }, () => random.below(vocab_size));

/** As far as the context goes; at least one. */
const prefillLengths = (context: number) =>
  PREFILL_TOKENS.filter((length, i) => i === 0 || length < context).map((length) =>
    Math.min(length, context - 1),
  );

/** Everything measured in one repeat. */
interface Repeat {
  decode_per_s: number;
  prefill_per_s: number[];
  /** Of a prompt of FIRST_TOKEN_PROMPT. */
  first_token_ms: number;
  /** The same prompt computed by one native call, without the engine; null for another engine. */
  native_prefill_ms: number | null;
  parallel_per_s: number;
}

/** Tokens a second of several clients, while all of them decode. */
async function parallelRate(
  engine: Engine,
  prompts: readonly Int32Array[],
  tokens: number,
  now_ms: () => number,
): Promise<number> {
  const all = await Promise.all(prompts.map((prompt) => ask(engine, prompt, tokens, now_ms)));
  const from_ms = Math.max(...all.map(({ times_ms }) => times_ms[0]!));
  const to_ms = Math.min(...all.map(({ times_ms }) => times_ms.at(-1)!));
  const within = all.flatMap(({ times_ms }) =>
    times_ms.filter((at_ms) => at_ms > from_ms && at_ms <= to_ms),
  );
  return (within.length * 1000) / (to_ms - from_ms);
}

async function nativePrefillMs(
  model: InferenceModel,
  prompt: Int32Array,
  now_ms: () => number,
): Promise<number> {
  const session = model.createSession();
  try {
    await session.append(prompt, 1); // memory's first touch
    session.truncate(0);
    const start_ms = now_ms();
    await session.append(prompt, 1);
    return now_ms() - start_ms;
  } finally {
    session.close();
  }
}

async function measureRepeat(
  engine: Engine,
  model: InferenceModel | null,
  options: InferBenchOptions,
  random: Random,
): Promise<Repeat> {
  const { prompt, decode, parallel, now_ms } = options;
  const tokens = (length: number) => randomTokens(random, engine.vocab_size, length);
  const prefill_per_s: number[] = [];
  for (const length of prefillLengths(engine.context)) {
    const { prefill_ms } = await ask(engine, tokens(length), 1, now_ms);
    prefill_per_s.push((length * 1000) / prefill_ms);
  }
  const first = tokens(Math.min(FIRST_TOKEN_PROMPT, engine.context - 1));
  const native_prefill_ms = model === null ? null : await nativePrefillMs(model, first, now_ms);
  const { first_token_ms } = await ask(engine, first, 1, now_ms);
  const { decode_ms, completion_tokens } = await ask(engine, tokens(prompt), decode, now_ms);
  const prompts = Array.from({ length: parallel }, () => tokens(prompt));
  return {
    decode_per_s: ((completion_tokens - 1) * 1000) / decode_ms,
    prefill_per_s,
    ...{ first_token_ms, native_prefill_ms },
    parallel_per_s: await parallelRate(engine, prompts, decode, now_ms),
  };
}

/** A model as this suite opens it. */
interface Subject {
  config: ModelConfig;
  /** null where another engine computes. */
  model: InferenceModel | null;
  engine: () => Engine;
  close: () => Promise<void> | void;
}

/** Another engine opens its caches with the model, so that its load takes longer by that. */
async function openSubject(options: InferBenchOptions): Promise<Subject> {
  const { model, load, engine = "magnet" } = options;
  const sequences = { sequences_max: Math.max(64, options.parallel) };
  if (engine !== "magnet") {
    const opened = await openTextModel(model, { ...load, ...sequences, engine });
    const close = () => opened.close();
    return { config: opened.config, model: null, engine: () => opened.engine, close };
  }
  const loaded = await loadModel(model, load);
  return {
    ...{ config: loaded.config, model: loaded.model },
    engine: () => openEngine(loaded, sequences).engine,
    close: () => loaded.close(),
  };
}

/** Milliseconds to open the model, which is warm in the page cache, and what it adds to memory. */
async function measureLoads(options: InferBenchOptions) {
  const { repeat, now_ms } = options;
  const load_ms: number[] = [];
  await (await openSubject(options)).close(); // brings the file into the page cache
  for (let r = 1; r < repeat; r++) {
    const start_ms = now_ms();
    const loaded = await openSubject(options);
    load_ms.push(now_ms() - start_ms);
    await loaded.close();
  }
  Bun.gc(true);
  const before = residentBytes();
  const start_ms = now_ms();
  const loaded = await openSubject(options);
  load_ms.push(now_ms() - start_ms);
  Bun.gc(true);
  const after = residentBytes();
  const resident_bytes = before === null || after === null ? null : after - before;
  return { loaded, load_ms, resident_bytes };
}

/** The file's bytes; null for a folder. */
function fileBytes(model: string): number | null {
  const stat = fs.statSync(model);
  return stat.isFile() ? stat.size : null;
}

function checkContext({ context }: Engine, { prompt, decode }: InferBenchOptions): void {
  if (prompt + decode > context)
    throw new MagnetError("BAD_FLAGS", `${prompt} + ${decode} tokens; the context is ${context}`, {
      hint: "give a smaller --prompt or --decode",
      exit: "usage",
    });
}

interface Measured {
  loaded: Subject;
  load_ms: number[];
  resident_bytes: number | null;
  resident_kv_bytes: number | null;
  repeats: Repeat[];
}

async function measureModel(options: InferBenchOptions): Promise<Measured> {
  const { repeat, onPart } = options;
  const total = repeat + 2;
  const { loaded, load_ms, resident_bytes } = await measureLoads(options);
  onPart?.(1, total);
  const before = residentBytes();
  const engine = loaded.engine();
  const random = seededRandom(618);
  try {
    checkContext(engine, options);
    // Touches all memory for the first time.
    const warm = { ...options, decode: Math.min(8, options.decode) };
    await measureRepeat(engine, loaded.model, warm, random);
    onPart?.(2, total);
    const repeats: Repeat[] = [];
    for (let r = 0; r < repeat; r++) {
      repeats.push(await measureRepeat(engine, loaded.model, options, random));
      onPart?.(r + 3, total);
    }
    const after = residentBytes();
    const grown = before === null || after === null ? null : after - before;
    const known = resident_bytes !== null && grown !== null;
    const resident_kv_bytes = known ? resident_bytes + grown : null;
    return { loaded, load_ms, resident_bytes, resident_kv_bytes, repeats };
  } catch (error) {
    await engine.close();
    await loaded.close();
    throw error;
  } finally {
    await engine.close();
  }
}

function memoryResults({ resident_bytes, resident_kv_bytes }: Measured, file_bytes: number | null) {
  const file = file_bytes === null ? null : { value: file_bytes / MIB, name: "file" };
  const row = (name: string, bytes: number | null) =>
    bytes === null ? [] : [benchResult(name, "MiB", [bytes / MIB], file)];
  return [...row("resident_mib", resident_bytes), ...row("resident_kv_mib", resident_kv_bytes)];
}

function speedResults(
  { repeats, loaded, load_ms }: Measured,
  { parallel }: InferBenchOptions,
  limits: MachineLimits,
): BenchResult[] {
  const of = (value: (repeat: Repeat) => number) => repeats.map(value);
  const { model } = loaded;
  const read = model && {
    value: (limits.read_gbps * 1e9) / model.bytes_per_token,
    name: "read bandwidth / bytes per token",
  };
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
    benchResult(
      "parallel_tokens_per_s",
      "tokens/s",
      of((r) => r.parallel_per_s),
    ),
    benchResult(
      `parallel_${parallel}_speedup`,
      "x",
      of((r) => r.parallel_per_s / decode_best),
    ),
    benchResult("load_ms", "ms", load_ms),
  ];
}

/** The suite "infer". */
export async function benchInfer(options: InferBenchOptions) {
  const { now_ms, repeat, prompt, decode, parallel } = options;
  const measured = await measureModel(options);
  const { loaded } = measured;
  try {
    const { machine, limits } = await benchMachine(options.threads);
    const loop = await loopMicroseconds(now_ms, repeat);
    const file_bytes = fileBytes(options.model);
    const results = [
      ...speedResults(measured, options, limits),
      ...memoryResults(measured, file_bytes),
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
      ...{ prompt, decode, parallel },
      engine: options.engine ?? "magnet",
      bytes_per_token: loaded.model?.bytes_per_token ?? null,
      file_bytes,
      results,
    };
  } finally {
    await loaded.close();
  }
}
export type InferReport = Awaited<ReturnType<typeof benchInfer>>;
