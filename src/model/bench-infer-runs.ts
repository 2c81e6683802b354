/**
 * The measurements of `magnet bench infer` on one model: its loads, and repeats of prefill, decoding,
 * first token and parallel clients through the batching engine as a user meets it.
 */
import { MagnetError } from "../core/errors.ts";
import { residentBytes } from "../core/process-memory.ts";
import { type Random, seededRandom } from "../core/random.ts";
import { type ChosenDevice, gpuOf } from "../native/device.ts";
import type { ModelConfig } from "./config.ts";
import { BLOCK_TOKENS } from "./engine/block-store.ts";
import { kvTokenBytes } from "./engine/native-backend.ts";
import { openEngine } from "./engine/open-engine.ts";
import { type EngineName, openTextModel } from "./engine/open-text-model.ts";
import type { Engine, EngineResult } from "./engine/types.ts";
import type { InferenceModel } from "./inference.ts";
import { type LoadedModel, type LoadOptions, loadModel } from "./load-model.ts";

export interface InferBenchOptions {
  /** A .gguf file or what else loadModel takes. */
  model: string;
  load: LoadOptions;
  /** What computes; magnet unless given. */
  engine?: EngineName;
  device: ChosenDevice;
  /** 0 is not allowed here: figures belong to a number of threads. */
  threads: number;
  /** Tokens of a prompt before decoding, and tokens decoded. */
  prompt: number;
  decode: number;
  /** Clients at once, each number for rows of its own. */
  parallel: readonly number[];
  repeat: number;
  /** Rows for the other heads and the other rounding, beside those of the file as it is. */
  all_heads: boolean;
  now_ms: () => number;
  onPart?: (done: number, total: number) => void;
}

/** Prompts of the prefill rows. */
export const PREFILL_TOKENS = [128, 512];
const FIRST_TOKEN_PROMPT = 128;

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

export const randomTokens = (random: Random, vocab_size: number, length: number) =>
  Int32Array.from({ length }, () => random.below(vocab_size));

/** As far as the context goes; at least one. */
const prefillLengths = (context: number) =>
  PREFILL_TOKENS.filter((length, i) => i === 0 || length < context).map((length) =>
    Math.min(length, context - 1),
  );

/** Everything measured in one repeat. */
export interface Repeat {
  decode_per_s: number;
  prefill_per_s: number[];
  /** Of a prompt of FIRST_TOKEN_PROMPT. */
  first_token_ms: number;
  /** The same prompt computed by one native call, without the engine; null for another engine. */
  native_prefill_ms: number | null;
  /** Of each number of clients. */
  parallel_per_s: number[];
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
  const parallel_per_s: number[] = [];
  for (const clients of parallel) {
    const prompts = Array.from({ length: clients }, () => tokens(prompt));
    parallel_per_s.push(await parallelRate(engine, prompts, decode, now_ms));
  }
  return {
    decode_per_s: ((completion_tokens - 1) * 1000) / decode_ms,
    prefill_per_s,
    ...{ first_token_ms, native_prefill_ms, parallel_per_s },
  };
}

/** A model as this suite opens it. */
export interface Subject {
  config: ModelConfig;
  /** null where another engine computes. */
  model: InferenceModel | null;
  engine: () => Engine;
  close: () => Promise<void> | void;
}

/** Another engine opens its caches with the model, so that its load takes longer by that. */
async function openSubject(options: InferBenchOptions): Promise<Subject> {
  const { model, engine = "magnet", device } = options;
  const load = { ...options.load, device: device.device };
  const sequences = { sequences_max: Math.max(64, ...options.parallel) };
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

/** Of the device's memory: the process's on the CPU, everybody's on a GPU. */
function usedBytes({ device }: ChosenDevice): number | null {
  const gpu = gpuOf(device);
  return gpu ? gpu.memory_bytes - gpu.free_bytes : residentBytes();
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
  const before = usedBytes(options.device);
  const start_ms = now_ms();
  const loaded = await openSubject(options);
  load_ms.push(now_ms() - start_ms);
  Bun.gc(true);
  const after = usedBytes(options.device);
  const resident_bytes = before === null || after === null ? null : after - before;
  return { loaded, load_ms, resident_bytes };
}

function checkContext({ context }: Engine, { prompt, decode }: InferBenchOptions): void {
  if (prompt + decode > context)
    throw new MagnetError("BAD_FLAGS", `${prompt} + ${decode} tokens; the context is ${context}`, {
      hint: "give a smaller --prompt or --decode",
      exit: "usage",
    });
}

export interface Measured {
  loaded: Subject;
  load_ms: number[];
  resident_bytes: number | null;
  /** With the engine and its pool after all of the work. */
  resident_kv_bytes: number | null;
  pool_bytes: number;
  repeats: Repeat[];
}

/** Loads the model and measures it; it is left open. */
export async function measureModel(options: InferBenchOptions): Promise<Measured> {
  const { repeat, onPart } = options;
  const total = repeat + 2;
  const { loaded, load_ms, resident_bytes } = await measureLoads(options);
  onPart?.(1, total);
  const before = usedBytes(options.device);
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
    const after = usedBytes(options.device);
    const pool_bytes = engine.stats().blocks_total * BLOCK_TOKENS * kvTokenBytes(loaded.config);
    const grown = before === null || after === null ? null : after - before;
    const known = resident_bytes !== null && grown !== null;
    const resident_kv_bytes = known ? resident_bytes + grown : null;
    return { loaded, load_ms, resident_bytes, resident_kv_bytes, pool_bytes, repeats };
  } catch (error) {
    await engine.close();
    await loaded.close();
    throw error;
  } finally {
    await engine.close();
  }
}

/** Tokens a second of one client, by repeat: for the rows of another head. */
export async function measureDecoding(
  loaded: LoadedModel,
  options: InferBenchOptions,
): Promise<number[]> {
  const { prompt, decode, repeat, now_ms } = options;
  const { engine } = openEngine(loaded);
  const random = seededRandom(618);
  const rate = async (tokens: number) => {
    const ids = randomTokens(random, engine.vocab_size, prompt);
    const { completion_tokens, decode_ms } = await ask(engine, ids, tokens, now_ms);
    return ((completion_tokens - 1) * 1000) / decode_ms;
  };
  try {
    await rate(Math.min(8, decode));
    const rates: number[] = [];
    for (let r = 0; r < repeat; r++) rates.push(await rate(decode));
    return rates;
  } finally {
    await engine.close();
  }
}
