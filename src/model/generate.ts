/**
 * Text generation: a prompt or a conversation in, pieces of text out as they are made. Pieces are
 * whole characters and never hold a stop string. Deterministic for one seed, whatever the machine.
 */
import { MagnetError } from "../core/errors.ts";
import { type ChatPrompt, chatPrompt, endTokens } from "./chat-format.ts";
import type { ChatMessage } from "./chat-template.ts";
import type { Rounding } from "./inference.ts";
import type { LoadedModel } from "./load-model.ts";
import { PrefixSession } from "./prefix-session.ts";
import { parseSampling, type SamplingInput, sampleToken } from "./sampling.ts";
import { StopText } from "./stop-text.ts";
import { StreamingDecoder } from "./streaming-decoder.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface GenerateOptions {
  /**
   * `complete` goes on with `prompt`; `chat` answers the last of `messages` in the model's
   * chat format, or as a plain dialogue ("User: ... Assistant:") where none is known.
   */
  mode: "complete" | "chat";
  prompt?: string;
  messages?: readonly ChatMessage[];
  /** Default: what is left of the context. */
  max_tokens?: number;
  /** Texts that end the answer; up to 16. */
  stop?: readonly string[];
  sampling?: SamplingInput;
  rounding?: Rounding;
  signal?: AbortSignal;
  /** Kept by the caller between turns, so that a known beginning is not computed again. */
  session?: PrefixSession;
}

export interface GeneratedPiece {
  /** May be empty: the token completed no character, or may begin a stop string. */
  text: string;
  token: number;
  /** Natural log of the token's probability under the unmodified logits. */
  logprob: number;
}

export interface GenerateResult {
  /** `stop`: end token or stop string; `length`: max_tokens or the context. */
  finish_reason: "stop" | "length";
  prompt_tokens: number;
  completion_tokens: number;
  /** Text that was held back until the end; to be shown after the last piece. */
  tail: string;
}

const STOPS_MAX = 16;
/** Tokens that the repetition penalty looks back on. */
const RECENT_TOKENS = 256;

const withBos = (tokenizer: Tokenizer, text: string): Int32Array => {
  const ids = tokenizer.encode(text);
  return tokenizer.bos_id === null ? ids : Int32Array.of(tokenizer.bos_id, ...ids);
};

/** Ids of the prompt, and the stop strings that its form adds. */
export function promptTokens(tokenizer: Tokenizer, options: GenerateOptions): ChatPrompt {
  const stop = options.stop ?? [];
  if (stop.length > STOPS_MAX || stop.some((text) => text.length === 0))
    throw new MagnetError("BAD_STOP", `stop takes up to ${STOPS_MAX} non-empty strings`, {
      exit: "usage",
    });
  if (options.mode === "complete")
    return { tokens: withBos(tokenizer, options.prompt ?? ""), stop };
  const prompt = chatPrompt(tokenizer, options.messages ?? []);
  return { tokens: prompt.tokens, stop: [...stop, ...prompt.stop] };
}

function budget(prompt: Int32Array, context: number, max_tokens: number | undefined): number {
  if (prompt.length === 0)
    throw new MagnetError("EMPTY_PROMPT", "the prompt has no token", {
      hint: "this tokenizer has no begin token; give some text",
      exit: "usage",
    });
  const room = context - prompt.length;
  if (room < 1)
    throw new MagnetError(
      "PROMPT_TOO_LONG",
      `the prompt has ${prompt.length} tokens, the context ${context} (one is needed for the answer)`,
      { hint: "shorten the prompt or start a new conversation" },
    );
  return Math.min(max_tokens ?? room, room);
}

/**
 * Generates until an end token, a stop string, or the budget. Throws PROMPT_TOO_LONG, BAD_STOP,
 * ...; CANCELLED when the signal is aborted.
 */
export async function* generate(
  loaded: Pick<LoadedModel, "model" | "tokenizer">,
  options: GenerateOptions,
): AsyncGenerator<GeneratedPiece, GenerateResult> {
  const { tokenizer, model } = loaded;
  const { signal } = options;
  const sampling = parseSampling(options.sampling ?? {});
  const prompt = promptTokens(tokenizer, options);
  const ends = endTokens(tokenizer);
  const decoder = new StreamingDecoder(tokenizer, { skip_special: true });
  const stops = new StopText(prompt.stop);
  const session =
    options.session ?? new PrefixSession(model, { rounding: options.rounding ?? "bitnet" });
  let recent = [...prompt.tokens.subarray(-RECENT_TOKENS)];
  let completion_tokens = 0;
  const result = (finish_reason: GenerateResult["finish_reason"]): GenerateResult => ({
    finish_reason,
    prompt_tokens: prompt.tokens.length,
    completion_tokens,
    tail: stops.push(decoder.end()) + stops.end(),
  });
  try {
    const limit = budget(prompt.tokens, session.context, options.max_tokens);
    if (limit < 1) return result("length");
    let logits = await session.prepare(prompt.tokens, signal);
    for (;;) {
      const { token, logprob } = sampleToken(
        logits,
        sampling,
        completion_tokens,
        Int32Array.from(recent),
      );
      completion_tokens++;
      if (ends.has(token)) return result("stop");
      yield { text: stops.push(decoder.push(token)), token, logprob };
      if (stops.stopped) return result("stop");
      if (completion_tokens >= limit) return result("length");
      recent = [...recent.slice(1 - RECENT_TOKENS), token];
      logits = await session.next(token, signal);
    }
  } finally {
    if (options.session === undefined) session.close();
  }
}

/** The whole answer at once. */
export async function generateText(
  loaded: Pick<LoadedModel, "model" | "tokenizer">,
  options: GenerateOptions,
): Promise<GenerateResult & { text: string }> {
  const pieces = generate(loaded, options);
  let text = "";
  for (;;) {
    const next = await pieces.next();
    if (next.done) return { ...next.value, text: text + next.value.tail };
    text += next.value.text;
  }
}
