/** What all of OpenAI's answers share: ids, time, usage, errors, and lines of a stream. */

import { toHex } from "../../core/bytes.ts";
import type { Random } from "../../core/random.ts";
import type { ApiError } from "../serve/api-error.ts";

export interface Envelope {
  id: string;
  created: number;
  model: string;
  system_fingerprint: string;
}

export const newId = (prefix: string, random: Random): string =>
  `${prefix}-${toHex(random.bytes(12))}`;

export interface Usage {
  prompt_tokens: number;
  cached_tokens: number;
  completion_tokens: number;
}

/** OpenAI's usage object; the tokens of `n` choices are added up, their prompt counts once. */
export const usageObject = ({ prompt_tokens, cached_tokens, completion_tokens }: Usage) => ({
  prompt_tokens,
  completion_tokens,
  total_tokens: prompt_tokens + completion_tokens,
  prompt_tokens_details: { cached_tokens },
});

export const errorObject = ({ message, type, param, code }: ApiError) => ({
  error: { message, type, param, code },
});

export const SSE = "text/event-stream; charset=utf-8";
export const sse = (data: object): string => `data: ${JSON.stringify(data)}\n\n`;
export const SSE_DONE = "data: [DONE]\n\n";
