/**
 * The engine's steps in the native library: one call a step (mg_batch_step of
 * cpp/include/magnet_infer.h) computes a mixed batch over the KV pool and draws the tokens.
 */
import { liveHandles, TOP_LOGPROBS_MAX } from "../../native/sample.ts";
import { BATCH_ROWS_MAX, batchStep, KvPool } from "../batch.ts";
import type { InferenceModel, Rounding } from "../inference.ts";
import { availableMemoryBytes } from "../memory.ts";
import { Sampler } from "../sampling.ts";
import type { SamplerRequest, StepBackend, StepResults, StepSampler } from "./backend.ts";
import { BLOCK_TOKENS, blocksFor } from "./block-store.ts";
import type { StepArrays } from "./step-arrays.ts";

/** Without `kv_tokens` the pool holds so many contexts, and takes no more of the memory. */
const CONTEXTS = 4;
const MEMORY_SHARE = 0.25;
const KV_BITS = 16;

export interface NativeBackendOptions {
  /** Tokens that the pool holds in all. */
  kv_tokens?: number;
  rounding?: Rounding;
}

/** Bytes of a token's keys and values in all layers. */
function tokenBytes({ config }: InferenceModel): number {
  return (2 * config.n_layers * config.n_kv_heads * config.head_dim * KV_BITS) / 8;
}

function poolBlocks(model: InferenceModel, kv_tokens: number | undefined): number {
  if (kv_tokens !== undefined) return Math.max(1, blocksFor(kv_tokens));
  const wanted = CONTEXTS * model.config.context;
  const memory = (availableMemoryBytes() ?? Number.POSITIVE_INFINITY) * MEMORY_SHARE;
  const affordable = Math.floor(memory / tokenBytes(model) / BLOCK_TOKENS);
  return Math.max(1, Math.min(blocksFor(wanted), affordable));
}

export class NativeBackend implements StepBackend {
  readonly context: number;
  readonly vocab_size: number;
  readonly d_model: number;
  readonly blocks: number;
  readonly #model: InferenceModel;
  readonly #pool: KvPool;
  readonly #rounding: Rounding;
  readonly #results: StepResults;

  /** The model stays the caller's, and open as long as the backend. */
  constructor(model: InferenceModel, options: NativeBackendOptions = {}) {
    const { context, vocab_size, d_model } = model.config;
    this.#model = model;
    this.context = context;
    this.vocab_size = vocab_size;
    this.d_model = d_model;
    this.#rounding = options.rounding ?? "bitnet";
    this.blocks = poolBlocks(model, options.kv_tokens);
    this.#pool = new KvPool(model, this.blocks, KV_BITS);
    this.#results = {
      tokens: new Int32Array(BATCH_ROWS_MAX),
      logprobs: new Float32Array(BATCH_ROWS_MAX),
      top_ids: new Int32Array(BATCH_ROWS_MAX * TOP_LOGPROBS_MAX),
      top_logprobs: new Float32Array(BATCH_ROWS_MAX * TOP_LOGPROBS_MAX),
      hidden: new Float32Array(0),
    };
  }

  createSampler({ sampling, top_logprobs, token_budget, prompt }: SamplerRequest): StepSampler {
    const sampler = new Sampler(this.vocab_size, sampling, { top_logprobs, token_budget });
    try {
      sampler.prompt(prompt);
      return { address: BigInt(sampler.handle), close: () => sampler.close() };
    } catch (error) {
      sampler.close();
      throw error;
    }
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
    return liveHandles();
  }

  close(): void {
    this.#pool.close();
  }
}
