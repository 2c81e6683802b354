/**
 * The routes that are sold, and what a request to each may use at most. A body is read by the same
 * parsers as later by its route, so that a request that can never be answered is refused before it
 * is paid. Where a limit of tokens is missing, it is written into the body: what was paid for and
 * what is computed are the same.
 */

import { parseChat, parseEmbed, parseGenerate, parseOldEmbed } from "../ollama/requests.ts";
import { parseOptions } from "../ollama/sampling-options.ts";
import { parseChatRequest } from "../openai/chat-request.ts";
import { parseEmbeddingRequest } from "../openai/embedding-request.ts";
import { parseTextRequest } from "../openai/text-request.ts";
import { DEFAULT_MAX_TOKENS } from "./limits.ts";

type Body = Record<string, unknown>;

/** What a request asks for. */
export interface Order {
  model: string;
  /** Answers that are asked for; 0 for embeddings. */
  choices: number;
  /** Tokens that each may have at most. */
  max_tokens: number;
  /** Asks for nothing that is computed: it costs nothing. */
  free: boolean;
  /** The request as it is answered. */
  body: Body;
}

type Reader = (body: Body) => Order;

function openAiChat(body: Body): Order {
  const { fields, max_tokens = DEFAULT_MAX_TOKENS } = parseChatRequest(body);
  const limited = { ...body, max_completion_tokens: max_tokens };
  return { model: fields.model, choices: fields.n, max_tokens, free: false, body: limited };
}

function openAiText(body: Body): Order {
  const { fields, prompts } = parseTextRequest(body);
  const { model, max_tokens, n } = fields;
  return { model, choices: n * prompts.length, max_tokens, free: false, body };
}

const embeddings =
  (parse: (body: Body) => { model: string }): Reader =>
  (body) => ({ model: parse(body).model, choices: 0, max_tokens: 0, free: false, body });

/** Ollama keeps the limit among its options. */
function ollama(body: Body, model: string, options: unknown, asks: boolean): Order {
  const { max_tokens = DEFAULT_MAX_TOKENS } = parseOptions(options ?? {}, () => 0n);
  const limited = { ...((options ?? {}) as Body), num_predict: max_tokens };
  return { model, choices: 1, max_tokens, free: !asks, body: { ...body, options: limited } };
}

function ollamaChat(body: Body): Order {
  const { model, options, messages } = parseChat(body);
  return ollama(body, model, options, messages.length > 0);
}

function ollamaGenerate(body: Body): Order {
  const { model, options, prompt } = parseGenerate(body);
  return ollama(body, model, options, prompt !== "");
}

const READERS: Record<string, Reader> = {
  "/v1/chat/completions": openAiChat,
  "/v1/completions": openAiText,
  "/v1/embeddings": embeddings(parseEmbeddingRequest),
  "/api/chat": ollamaChat,
  "/api/generate": ollamaGenerate,
  "/api/embed": embeddings(parseEmbed),
  "/api/embeddings": embeddings(parseOldEmbed),
};

/** Paths that cost something. */
export const SOLD_ROUTES: readonly string[] = Object.keys(READERS);

/** How a sold route reads its body; undefined where nothing is sold. */
export const readerOf = (method: string, path: string): Reader | undefined =>
  method === "POST" && Object.hasOwn(READERS, path) ? READERS[path] : undefined;
