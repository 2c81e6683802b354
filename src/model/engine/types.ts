/**
 * What the inference engine is asked for and what it gives. Everybody who generates text (serve,
 * chat, demo, bench) goes through it, so that requests share the batch and the prefix cache.
 */
import type { SamplingInput } from "../sampling.ts";

/** A compiled constraint (JSON schema); see src/model/constraint/. */
export interface Constraint {
  /** What mg_grammar_create takes. */
  readonly program: Uint8Array;
}

export interface EngineRequest {
  /** At least one. */
  prompt: Int32Array;
  /** At least 1; cut to what the context leaves. */
  max_tokens: number;
  sampling: SamplingInput;
  /** Ids that end the answer; they are not part of it. */
  end_tokens: ReadonlySet<number>;
  /**
   * Called with every token of the answer as it is drawn, before its reader has it; true ends the
   * answer with this token (a stop string is complete), and no more is computed. What it throws
   * fails the request.
   */
  ends_with?: (token: number) => boolean;
  /** Alternatives reported with each token, 0..20. */
  top_logprobs?: number;
  constraint?: Constraint;
  /**
   * Only requests of one scope share cached beginnings: else the time of an answer would tell one
   * user what another has asked. Default: one scope for all.
   */
  cache_scope?: string;
  /** Ends the request with CANCELLED within one step; its blocks and handles are free afterwards. */
  signal?: AbortSignal;
}

export interface TokenChoice {
  token: number;
  /** Natural log of its probability under the unmodified logits. */
  logprob: number;
}

export interface EngineToken extends TokenChoice {
  /** Most likely first; as many as were asked for. */
  top: TokenChoice[];
}

export interface EngineResult {
  /** `stop`: an end token or `ends_with`; `length`: max_tokens or the context. */
  finish_reason: "stop" | "length";
  prompt_tokens: number;
  /** Of the prompt, taken from the prefix cache. */
  cached_tokens: number;
  completion_tokens: number;
  queued_ms: number;
  prefill_ms: number;
  decode_ms: number;
}

export interface EngineStats {
  running: number;
  waiting: number;
  blocks_total: number;
  /** Held by sequences. */
  blocks_in_use: number;
  /** Held by the prefix cache alone: free when needed. */
  blocks_cached: number;
  prompt_tokens: number;
  cached_tokens: number;
  completion_tokens: number;
  steps: number;
  /** Native objects alive in the process (mg_live_handles). */
  live_handles: number;
}

export interface EngineOptions {
  /** Tokens that the KV pool holds in all; default: four contexts, within a quarter of the memory. */
  kv_tokens?: number;
  /** The same as memory, where `kv_tokens` is not given. */
  kv_bytes?: number;
  /** Longest sequence, where it is to be shorter than the model's context. */
  context?: number;
  /** Sequences that run at once; others wait. Default 64. */
  sequences_max?: number;
  /** Requests that may wait; beyond it ENGINE_BUSY (retryable). Default 256. */
  waiting_max?: number;
  rounding?: "bitnet" | "llamacpp";
  prefix_cache?: boolean;
}

/** The continuous-batching engine (engine.ts) or another library behind the same face. */
export interface Engine {
  readonly context: number;
  readonly vocab_size: number;
  /** Tokens as they are drawn; returns the result. Throws PROMPT_TOO_LONG, ENGINE_BUSY, CANCELLED. */
  generate(request: EngineRequest): AsyncGenerator<EngineToken, EngineResult>;
  /** Mean of the normed last hidden states, (d_model), of unit length. */
  embed(tokens: Int32Array, signal?: AbortSignal): Promise<Float32Array>;
  stats(): EngineStats;
  /** Ends running requests with CANCELLED and frees the pool. The model stays open. */
  close(): Promise<void>;
}
