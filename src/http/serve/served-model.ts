/**
 * What the server asks of a model: answers as streams of pieces, embeddings, and what it costs. The
 * routes know nothing below this face, so that tests can put a slow or a failing model in its place.
 */
import type { ChatMessage } from "../../model/chat-template.ts";
import type { ModelConfig } from "../../model/config.ts";
import type { Constraint, EngineStats, TokenChoice } from "../../model/engine/types.ts";
import type { SamplingInput } from "../../model/sampling.ts";
import type { Tokenizer } from "../../model/tokenizer.ts";

/** A conversation, a text that is gone on with, or ready-made ids (nothing is added to them). */
export type PromptInput =
  | { messages: readonly ChatMessage[] }
  | { text: string }
  | { tokens: Int32Array };

export interface AnswerRequest {
  prompt: PromptInput;
  /** Default: what is left of the context. */
  max_tokens?: number | undefined;
  stop: readonly string[];
  sampling: SamplingInput;
  /** Alternatives reported with each token. */
  top_logprobs: number;
  constraint?: Constraint | undefined;
  /** Of the prefix cache: answers of different scopes share nothing. */
  cache_scope: string;
  /** Ends the answer with CANCELLED. */
  signal: AbortSignal;
}

export interface AnswerPiece {
  /** May be empty: the token completed no character, or may begin a stop string. */
  text: string;
  token: number;
  logprob: number;
  top: readonly TokenChoice[];
}

export interface AnswerResult {
  finish_reason: "stop" | "length";
  prompt_tokens: number;
  cached_tokens: number;
  completion_tokens: number;
  /** Text that was held back until the end. */
  tail: string;
  queued_ms: number;
  prefill_ms: number;
  decode_ms: number;
}

export type Answer = AsyncGenerator<AnswerPiece, AnswerResult>;

/** A schema that the answer must follow, or any JSON object. */
export type AnswerFormat = { kind: "json_object" } | { kind: "json_schema"; schema: unknown };

export interface ServedModel {
  /** The name that requests use. */
  readonly id: string;
  /** Seconds since the Unix epoch. */
  readonly created_s: number;
  readonly context: number;
  readonly config: ModelConfig;
  readonly tokenizer: Pick<Tokenizer, "encode" | "decode" | "decodeBytes" | "hash">;
  /** Parameters in all, for listings. */
  readonly parameters: number;
  /** Bytes of the file or folder; 0 where unknown. */
  readonly size_bytes: number;
  readonly format: string;
  readonly on_gpu: boolean;
  /** SHA-256 in hex that tells models apart in listings. */
  readonly digest: string;
  /** The tokenizer has the tokens of the chat format. */
  readonly has_chat_format: boolean;
  /** Names the model's contents and its arithmetic; equal fingerprints give equal seeded texts. */
  readonly fingerprint: string;
  answer(request: AnswerRequest): Answer;
  /** Compiles a constraint. Throws UNSUPPORTED_SCHEMA naming the keyword. */
  constraint(format: AnswerFormat): Constraint;
  /**
   * Ids of a text as a prompt: with the begin token where the tokenizer has one. Throws
   * PROMPT_TOO_LONG, or leaves out what is beyond the context where `cut` is set.
   */
  promptTokens(text: string, signal: AbortSignal, cut?: boolean): Promise<Int32Array>;
  /** Unit vector of d_model values. */
  embed(tokens: Int32Array, signal: AbortSignal): Promise<Float32Array>;
  stats(): EngineStats;
  close(): Promise<void>;
}
