/**
 * The engine's steps in the native library: one call a step (mg_batch_step of
 * cpp/include/magnet_infer.h) computes a mixed batch over the KV pool and draws the tokens.
 */
import { CPU, type Device, gpuOf, requireGpuMemory } from "../../native/device.ts";
import { liveHandles, TOP_LOGPROBS_MAX } from "../../native/sample.ts";
import { BATCH_ROWS_MAX, batchStep, KvPool } from "../batch.ts";
import type { ModelConfig } from "../config.ts";
import type { Constraints } from "../constraint/constraints.ts";
import type { InferenceModel, Rounding } from "../inference.ts";
import { availableMemoryBytes, requireMemory } from "../memory.ts";
import type { SamplerRequest, StepBackend, StepResults, StepSampler } from "./backend.ts";
import { BLOCK_TOKENS, blocksFor } from "./block-store.ts";
import type { StepArrays } from "./step-arrays.ts";
import { stepSampler } from "./step-sampler.ts";
import type { EngineOptions } from "./types.ts";

/**
 * Without `kv_tokens` the pool holds so many contexts, and takes no more of the memory. On a GPU a step
 * for many takes hardly longer than for one, and its memory is there to be used: a context for each
 * sequence that may run.
 */
const CONTEXTS = 4;
const MEMORY_SHARE = 0.25;
const GPU_MEMORY_SHARE = 0.5;
const SEQUENCES = 64;
const KV_BITS = 16;
const KEYS_AND_VALUES = {
  what: "keys and values need",
  hint: "keep fewer of them, or choose a shorter context",
};
/** A GPU computes a step of that many rows in a few milliseconds: no reader waits for it. */
const GPU_MIXED_PROMPT_ROWS = BATCH_ROWS_MAX;

/** What an engine's options say to the backend. */
export type NativeBackendOptions = Pick<
  EngineOptions,
  "kv_tokens" | "kv_bytes" | "context" | "rounding" | "sequences_max"
>;

/** Bytes of a token's keys and values in all layers. */
export function kvTokenBytes(config: ModelConfig): number {
  return (2 * config.n_layers * config.n_kv_heads * config.head_dim * KV_BITS) / 8;
}

/** Throws NOT_ENOUGH_MEMORY where the pool that was asked for cannot be. */
export function poolBlocks(
  config: ModelConfig,
  options: NativeBackendOptions,
  device: Device = CPU,
): number {
  const token_bytes = kvTokenBytes(config);
  const gpu = gpuOf(device);
  const available = gpu ? gpu.free_bytes : availableMemoryBytes();
  const { kv_bytes, context = config.context, sequences_max = SEQUENCES } = options;
  const kv_tokens =
    options.kv_tokens ?? (kv_bytes === undefined ? undefined : Math.floor(kv_bytes / token_bytes));
  if (kv_tokens !== undefined) {
    const blocks = Math.max(1, blocksFor(kv_tokens));
    const needed = blocks * BLOCK_TOKENS * token_bytes;
    if (gpu) requireGpuMemory(needed, gpu, KEYS_AND_VALUES);
    else requireMemory(needed, available, KEYS_AND_VALUES);
    return blocks;
  }
  const share = gpu ? GPU_MEMORY_SHARE : MEMORY_SHARE;
  const contexts = gpu ? Math.max(CONTEXTS, sequences_max) : CONTEXTS;
  const affordable = Math.floor(
    ((available ?? Number.POSITIVE_INFINITY) * share) / token_bytes / BLOCK_TOKENS,
  );
  return Math.max(1, Math.min(blocksFor(contexts * Math.min(context, config.context)), affordable));
}

export class NativeBackend implements StepBackend {
  readonly context: number;
  readonly vocab_size: number;
  readonly d_model: number;
  readonly blocks: number;
  readonly mixed_prompt_rows?: number;
  readonly #model: InferenceModel;
  readonly #pool: KvPool;
  readonly #rounding: Rounding;
  readonly #results: StepResults;
  readonly #constraints: Constraints | undefined;

  /**
   * The model stays the caller's, and open as long as the backend. constraints: of the model's
   * vocabulary, closed with the backend; without them constrained requests are refused.
   */
  constructor(
    model: InferenceModel,
    options: NativeBackendOptions = {},
    constraints?: Constraints,
  ) {
    this.#constraints = constraints;
    const { context, vocab_size, d_model } = model.config;
    this.#model = model;
    this.context = Math.min(context, options.context ?? context);
    this.vocab_size = vocab_size;
    this.d_model = d_model;
    this.#rounding = options.rounding ?? "bitnet";
    this.blocks = poolBlocks(model.config, options, model.device);
    if (model.device.kind === "cuda") this.mixed_prompt_rows = GPU_MIXED_PROMPT_ROWS;
    this.#pool = new KvPool(model, this.blocks, KV_BITS);
    this.#results = {
      tokens: new Int32Array(BATCH_ROWS_MAX),
      logprobs: new Float32Array(BATCH_ROWS_MAX),
      top_ids: new Int32Array(BATCH_ROWS_MAX * TOP_LOGPROBS_MAX),
      top_logprobs: new Float32Array(BATCH_ROWS_MAX * TOP_LOGPROBS_MAX),
      hidden: new Float32Array(0),
    };
  }

  createSampler(request: SamplerRequest): StepSampler {
    return stepSampler(this.#model.library, this.vocab_size, request, this.#constraints);
  }

  async step(arrays: StepArrays, signal: AbortSignal): Promise<StepResults> {
    const results = this.#results;
    const floats = arrays.n_hidden * this.d_model;
    if (results.hidden.length < floats) results.hidden = new Float32Array(floats);
    const options = { rounding: this.#rounding, signal };
    await batchStep(this.#model, this.#pool, arrays, results, options);
    return results;
  }

  liveHandles(): number {
    return liveHandles(this.#model.library);
  }

  close(): void {
    this.#constraints?.close();
    this.#pool.close();
  }
}
