/** One request inside the engine: its checked options, its reader, and its times. */
import { MagnetError } from "../../core/errors.ts";
import { TOP_LOGPROBS_MAX } from "../../native/sample.ts";
import { parseSampling, type Sampling } from "../sampling.ts";
import type { StepResults, StepSampler } from "./backend.ts";
import type { StepPart } from "./scheduler.ts";
import type { Sequence } from "./sequence.ts";
import type { TokenQueue } from "./token-queue.ts";
import type { EngineRequest, EngineResult, EngineToken, TokenChoice } from "./types.ts";

/** What every kind of request has. */
interface JobBase {
  readonly sequence: Sequence;
  /** Fulfilled once the request holds nothing any more. */
  readonly released: PromiseWithResolvers<void>;
  /** Why it was ended from outside; known before it is released. */
  reason: unknown;
  ended: boolean;
}

/** A request for tokens. */
export interface GenerateJob extends JobBase {
  readonly kind: "generate";
  readonly request: EngineRequest;
  readonly sampling: Sampling;
  /** Tokens to draw at most. */
  readonly limit: number;
  readonly queue: TokenQueue;
  readonly submitted_ms: number;
  started_ms: number | undefined;
  first_token_ms: number | undefined;
  sampler: StepSampler | undefined;
  drawn: number;
}

/** A request for the mean hidden state. */
export interface EmbedJob extends JobBase {
  readonly kind: "embed";
  /** In double precision and in order of position: no digit depends on the cut into steps. */
  readonly sum: Float64Array;
}
export type Job = GenerateJob | EmbedJob;

export const cancelled = () =>
  new MagnetError("CANCELLED", "the request was cancelled", { exit: "interrupted" });

/** For a row without a token: its constraint leaves none, or the logits hold no number. */
export const nothingDrawn = () =>
  new MagnetError("NO_TOKEN", "no token could be drawn", {
    hint: "loosen the constraint, or give it more options; a damaged model gives this too",
  });

const usage = (code: string, message: string, hint?: string) =>
  new MagnetError(code, message, { exit: "usage", ...(hint === undefined ? {} : { hint }) });

/** Checks tokens that are to be computed, with room for `more` after them. */
export function checkTokens(
  tokens: Int32Array,
  limits: { context: number; model_context: number; vocab_size: number },
  more: number,
): void {
  const { context, model_context, vocab_size } = limits;
  if (tokens.length === 0) throw usage("EMPTY_PROMPT", "the prompt has no token", "give some text");
  const bad = tokens.find((token) => token < 0 || token >= vocab_size);
  if (bad !== undefined)
    throw usage("BAD_TOKEN", `token ${bad} is outside of the vocabulary of ${vocab_size}`);
  if (tokens.length + more <= context) return;
  const why = more > 0 ? " (one is needed for the answer)" : "";
  const small = context < model_context;
  const what = small ? `this engine takes ${context}` : `the context ${context}`;
  throw usage(
    "PROMPT_TOO_LONG",
    `the prompt has ${tokens.length} tokens, ${what}${why}`,
    small
      ? `allow a longer context, or more memory for keys and values (the model's context is ${model_context})`
      : "shorten the prompt or start a new conversation",
  );
}

/** Checked options of a request. Throws BAD_SAMPLING and BAD_REQUEST. */
export function checkOptions(request: EngineRequest): Sampling {
  const { max_tokens, top_logprobs = 0 } = request;
  if (!Number.isInteger(max_tokens) || max_tokens < 1)
    throw usage("BAD_REQUEST", `max_tokens is ${max_tokens}; it must be an integer of at least 1`);
  if (!Number.isInteger(top_logprobs) || top_logprobs < 0 || top_logprobs > TOP_LOGPROBS_MAX)
    throw usage("BAD_REQUEST", `top_logprobs is ${top_logprobs}; it goes from 0 to 20`);
  return parseSampling(request.sampling);
}

/** What was drawn as number `index` of a step, with the alternatives that were asked for. */
export function drawnToken(results: StepResults, index: number, top_count: number): EngineToken {
  const top: TokenChoice[] = [];
  for (let i = 0; i < top_count; i++) {
    const token = results.top_ids[index * TOP_LOGPROBS_MAX + i]!;
    if (token < 0) break;
    top.push({ token, logprob: results.top_logprobs[index * TOP_LOGPROBS_MAX + i]! });
  }
  return { token: results.tokens[index]!, logprob: results.logprobs[index]!, top };
}

/** Adds the hidden states of one part of a step; `first` is its first row in `hidden`. */
export function addHidden(
  { sum }: EmbedJob,
  { hidden }: StepResults,
  { start, count, first_output }: StepPart,
): void {
  if (start === 0) sum.fill(0); // also where it begins again after it had to give its blocks back
  const width = sum.length;
  for (let at = first_output * width; at < (first_output + count) * width; at++)
    sum[at % width]! += hidden[at]!;
}

/** Result of a request whose last token was drawn at `now_ms`. */
export function resultOf(
  job: GenerateJob,
  finish_reason: EngineResult["finish_reason"],
  now_ms: number,
): EngineResult {
  const started_ms = job.started_ms ?? now_ms;
  const first_ms = job.first_token_ms ?? now_ms;
  return {
    finish_reason,
    prompt_tokens: job.request.prompt.length,
    cached_tokens: job.sequence.cached_tokens ?? 0,
    completion_tokens: job.drawn,
    queued_ms: started_ms - job.submitted_ms,
    prefill_ms: first_ms - started_ms,
    decode_ms: now_ms - first_ms,
  };
}

/** The direction of the mean: a vector of unit length (all zeros stay zeros). */
export function unitVector(sum: Float64Array): Float32Array {
  const length = Math.sqrt(sum.reduce((square, value) => square + value * value, 0));
  return Float32Array.from(sum, (value) => (length > 0 ? value / length : 0));
}
