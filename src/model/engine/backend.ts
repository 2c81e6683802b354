/**
 * What computes the steps of an engine: the native library (native-backend.ts), or a test's model
 * of which every token is known beforehand.
 */
import type { Sampling } from "../sampling.ts";
import type { StepArrays } from "./step-arrays.ts";
import type { Constraint } from "./types.ts";

/** What a sequence's sampler is made from. */
export interface SamplerRequest {
  sampling: Sampling;
  top_logprobs: number;
  constraint: Constraint | undefined;
  /** Draws that there will be at most: a constraint sees to it that its text can end in time. */
  token_budget: number;
  /** For the repetition penalty. */
  prompt: Int32Array;
}

/** State of one sequence's sampling; to be closed exactly once, outside of a step. */
export interface StepSampler {
  readonly address: bigint;
  close(): void;
}

/** What a step gives; the arrays are written anew by the next one. */
export interface StepResults {
  /** By drawn token; below 0: nothing could be drawn for it (its constraint allows no token). */
  tokens: Int32Array;
  logprobs: Float32Array;
  /** (drawn tokens, TOP_LOGPROBS_MAX), -1 beyond those asked for. */
  top_ids: Int32Array;
  top_logprobs: Float32Array;
  /** (rows with output hidden, d_model). */
  hidden: Float32Array;
}

export interface StepBackend {
  /** Longest sequence of the model, tokens. */
  readonly context: number;
  readonly vocab_size: number;
  readonly d_model: number;
  /** Of the KV pool. */
  readonly blocks: number;
  /** Rows of prompts in a step in which others decode; the scheduler's own number unless given. */
  readonly mixed_prompt_rows?: number;
  /** Throws what is wrong with one request's options. */
  createSampler(request: SamplerRequest): StepSampler;
  /** One call at a time. Aborted: rejects with CANCELLED, and nothing that was computed changes. */
  step(arrays: StepArrays, signal: AbortSignal): Promise<StepResults>;
  /** Native objects alive in the process. */
  liveHandles(): number;
  /** Frees the pool; not within a step. */
  close(): void;
}
