/**
 * Text generation: a prompt or a conversation in, pieces of text out as they are made. Pieces are
 * whole characters and never hold a stop string. Deterministic for one seed, whatever the machine
 * and whoever else asks the engine.
 */
import { MagnetError } from "../core/errors.ts";
import { chatPrompt, endTokens, textPrompt } from "./chat-format.ts";
import { type ChatMessage, type ChatPart, encodeParts, encodePartsAsync } from "./chat-template.ts";
import type { TextEngine } from "./engine/open-engine.ts";
import type { Constraint, EngineResult, EngineToken } from "./engine/types.ts";
import type { SamplingInput } from "./sampling.ts";
import { StopText } from "./stop-text.ts";
import { StreamingDecoder } from "./streaming-decoder.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface GenerateOptions {
  /**
   * `complete` goes on with `prompt`; `chat` answers the last of `messages` in the model's
   * chat format, or as a plain dialogue ("User: ... Assistant:") where none is known.
   */
  mode: "complete" | "chat";
  /** Text, which the begin token is put before, or ready-made ids. */
  prompt?: string | Int32Array;
  messages?: readonly ChatMessage[];
  /** Default: what is left of the context. */
  max_tokens?: number;
  /** Texts that end the answer; up to 16. */
  stop?: readonly string[];
  sampling?: SamplingInput;
  /** Alternatives reported with each token, 0..20. */
  top_logprobs?: number;
  /** What the answer must look like (src/model/constraint/). */
  constraint?: Constraint;
  /** As of EngineRequest. */
  cache_scope?: string;
  signal?: AbortSignal;
}

export interface GeneratedPiece extends EngineToken {
  /** May be empty: the token completed no character, or may begin a stop string. */
  text: string;
}

/** finish_reason `stop`: end token or stop string; `length`: max_tokens or the context. */
export interface GenerateResult extends EngineResult {
  /** Text that was held back until the end; to be shown after the last piece. */
  tail: string;
}

const STOPS_MAX = 16;

/** The prompt in parts, or as the ids that were given, and the stop strings of its form. */
function promptOf(
  tokenizer: Tokenizer,
  options: GenerateOptions,
): { parts: readonly ChatPart[] | Int32Array; stop: readonly string[] } {
  const stop = options.stop ?? [];
  if (stop.length > STOPS_MAX || stop.some((text) => text.length === 0))
    throw new MagnetError("BAD_STOP", `stop takes up to ${STOPS_MAX} non-empty strings`, {
      exit: "usage",
    });
  const { mode, prompt = "", messages = [] } = options;
  if (mode === "complete" && typeof prompt !== "string") return { parts: prompt, stop };
  const made =
    mode === "complete" ? textPrompt(tokenizer, prompt as string) : chatPrompt(tokenizer, messages);
  return { parts: made.parts, stop: [...stop, ...made.stop] };
}

/** Ids of the prompt. Throws BAD_STOP, NO_MESSAGES, NO_CHAT_TOKENS. */
export function promptTokens(tokenizer: Tokenizer, options: GenerateOptions): Int32Array {
  const { parts } = promptOf(tokenizer, options);
  return parts instanceof Int32Array ? parts : encodeParts(tokenizer, parts);
}

/** A text that cannot fit, however it is cut into tokens, is refused before that work. */
function checkLength(tokenizer: Tokenizer, parts: readonly ChatPart[], context: number): void {
  let bytes = 0;
  for (const part of parts) if ("text" in part) bytes += Buffer.byteLength(part.text);
  const tokens = Math.ceil(bytes / tokenizer.longest_token);
  if (tokens <= context) return;
  throw new MagnetError(
    "PROMPT_TOO_LONG",
    `the prompt has at least ${tokens} tokens, the context ${context}`,
    { hint: "shorten the prompt or start a new conversation", exit: "usage" },
  );
}

async function encodedPrompt(
  tokenizer: Tokenizer,
  parts: readonly ChatPart[] | Int32Array,
  { context, signal }: { context: number; signal: AbortSignal | undefined },
): Promise<Int32Array> {
  if (parts instanceof Int32Array) return parts;
  checkLength(tokenizer, parts, context);
  return encodePartsAsync(tokenizer, parts, signal);
}

/**
 * Generates until an end token, a stop string, or the budget. Throws BAD_STOP, PROMPT_TOO_LONG and
 * what else Engine.generate throws; CANCELLED when the signal is aborted.
 */
export async function* generate(
  { engine, tokenizer }: TextEngine<Tokenizer>,
  options: GenerateOptions,
): AsyncGenerator<GeneratedPiece, GenerateResult> {
  const { parts, stop } = promptOf(tokenizer, options);
  const decoder = new StreamingDecoder(tokenizer, { skip_special: true });
  const stops = new StopText(stop);
  // Text is made as tokens are drawn, so that a stop string ends the computing at once; the reader
  // gets it token by token.
  const texts: string[] = [];
  const { sampling = {}, top_logprobs, constraint, cache_scope, signal } = options;
  const prompt = await encodedPrompt(tokenizer, parts, { context: engine.context, signal });
  const tokens = engine.generate({
    prompt,
    max_tokens: options.max_tokens ?? engine.context,
    sampling,
    end_tokens: endTokens(tokenizer),
    ends_with(token) {
      texts.push(stops.push(decoder.push(token)));
      return stops.stopped;
    },
    ...(top_logprobs === undefined ? {} : { top_logprobs }),
    ...(constraint === undefined ? {} : { constraint }),
    ...(cache_scope === undefined ? {} : { cache_scope }),
    ...(signal === undefined ? {} : { signal }),
  });
  const result = yield* withText(tokens, texts);
  return { ...result, tail: stops.push(decoder.end()) + stops.end() };
}

async function* withText(
  tokens: AsyncGenerator<EngineToken, EngineResult>,
  texts: string[],
): AsyncGenerator<GeneratedPiece, EngineResult> {
  try {
    for (;;) {
      const next = await tokens.next();
      if (next.done) return next.value;
      yield { ...next.value, text: texts.shift() ?? "" };
    }
  } finally {
    await tokens.return(undefined as never); // a reader that goes early
  }
}

/** The whole answer at once. */
export async function generateText(
  text_engine: TextEngine<Tokenizer>,
  options: GenerateOptions,
): Promise<GenerateResult & { text: string }> {
  const pieces = generate(text_engine, options);
  let text = "";
  for (;;) {
    const next = await pieces.next();
    if (next.done) return { ...next.value, text: text + next.value.tail };
    text += next.value.text;
  }
}
