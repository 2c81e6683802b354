/**
 * A client of OpenAI-compatible servers, ours and others': streamed answers over fetch. A server's
 * refusal keeps its message and becomes one error; nothing of an answer is trusted beyond its shape.
 */
import { z } from "zod";
import { MagnetError } from "../core/errors.ts";
import { eventData } from "./event-stream.ts";

export interface CompletionServer {
  /** As given: with or without the path /v1. */
  url: string;
  api_key?: string;
  /** In place of fetch: one that pays, for example. */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
}

/** Pieces of text, then why it ended. */
export interface CompletionEnd {
  finish_reason: "stop" | "length";
  /** Null where the server does not say. */
  prompt_tokens: number | null;
  completion_tokens: number | null;
}

/** Bytes of a refusal that are read: it is shown in one line. */
const REFUSAL_CHARS_MAX = 64 << 10;

const choice = z.object({
  text: z.string().nullish(),
  delta: z.object({ content: z.string().nullish() }).nullish(),
  finish_reason: z.string().nullish(),
});
const chunkSchema = z.object({
  choices: z.array(choice).default([]),
  usage: z
    .object({ prompt_tokens: z.number().nullish(), completion_tokens: z.number().nullish() })
    .nullish(),
  error: z.object({ message: z.string() }).nullish(),
});
const refusalSchema = z.object({
  error: z.object({ message: z.string(), code: z.union([z.string(), z.number()]).nullish() }),
});
const modelsSchema = z.object({ data: z.array(z.object({ id: z.string() })) });

/** The address that routes are below; a path that is given stays. Throws BAD_URL. */
export function serverBase(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed === undefined || !/^https?:$/.test(parsed.protocol) || parsed.username !== "")
    throw new MagnetError("BAD_URL", `"${url}" is no address of a server`, {
      hint: "for example http://127.0.0.1:8080; a key is given in a file",
      exit: "usage",
    });
  const path = parsed.pathname.replace(/\/+$/, "");
  return `${parsed.origin}${path === "" ? "/v1" : path}`;
}

/** By the paid API's code; without --pay a server only says that a payment is wanted. */
const PAY_HINTS: Readonly<Record<string, string>> = {
  payment_required: "--pay pays for answers, within limits (magnet config show: pay)",
  insufficient_funds: "the wallet holds too little of the token: send it some",
};

const refused = (message: string, options: { code?: string; status?: number } = {}) => {
  if (options.code === "context_length_exceeded")
    return new MagnetError("PROMPT_TOO_LONG", message, { hint: "shorten the prompt" });
  const auth = options.status === 401 || options.status === 403;
  const again = options.status === 429 || options.status === 503;
  const pay = options.status === 402;
  const hint = auth
    ? "give the server's key with --api-key-file"
    : pay
      ? PAY_HINTS[options.code ?? ""]
      : undefined;
  const name = auth ? "KEY_REFUSED" : pay ? "PAYMENT_NEEDED" : "SERVER_REFUSED";
  return new MagnetError(name, message, {
    retryable: again,
    exit: auth ? "auth" : again ? "retry" : "failed",
    ...(hint === undefined ? {} : { hint }),
  });
};

/** The error object of a refusal, or its status where there is none. */
async function refusalOf(response: Response): Promise<MagnetError> {
  const { status } = response;
  const text = (await response.text().catch(() => "")).slice(0, REFUSAL_CHARS_MAX);
  let message = `the server answered ${status}`;
  let code: string | undefined;
  try {
    const { error } = refusalSchema.parse(JSON.parse(text));
    message = `${message}: ${error.message}`;
    code = String(error.code);
  } catch {
    // Another kind of server, or a proxy: the status says enough.
  }
  return refused(message, { status, ...(code === undefined ? {} : { code }) });
}

const cancelled = () => new MagnetError("CANCELLED", "the request was cancelled");

async function call(
  server: CompletionServer,
  route: string,
  init: { body?: object; signal: AbortSignal },
): Promise<Response> {
  const { body, signal } = init;
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (server.api_key !== undefined) headers.authorization = `Bearer ${server.api_key}`;
  let response: Response;
  try {
    const send = server.fetch ?? fetch;
    response = await send(`${serverBase(server.url)}${route}`, {
      method: body === undefined ? "GET" : "POST",
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...{ headers, signal, redirect: "error", timeout: false }, // a long prompt takes its time
    } as RequestInit);
  } catch (cause) {
    if (cause instanceof MagnetError) throw cause;
    if (signal.aborted) throw cancelled();
    throw new MagnetError("UNREACHABLE", `no server answers at ${server.url}`, {
      hint: "is it running? magnet serve MODEL starts one",
      exit: "unreachable",
      retryable: true,
      cause,
    });
  }
  if (!response.ok) throw await refusalOf(response);
  return response;
}

/** Names of the models that the server has. */
export async function serverModels(
  server: CompletionServer,
  signal: AbortSignal,
): Promise<string[]> {
  const response = await call(server, "/models", { signal });
  const parsed = modelsSchema.safeParse(await response.json().catch(() => undefined));
  if (parsed.success) return parsed.data.data.map(({ id }) => id);
  throw new MagnetError("BAD_STREAM", `${server.url} lists no models`, {
    hint: "the address is not that of an OpenAI-compatible server",
  });
}

function parseChunk(data: string): z.infer<typeof chunkSchema> {
  try {
    return chunkSchema.parse(JSON.parse(data));
  } catch (cause) {
    throw new MagnetError("BAD_STREAM", "the server sent something that is no completion", {
      hint: "the address is not that of an OpenAI-compatible server",
      cause,
    });
  }
}

/**
 * Streams an answer: of `/chat/completions` where the body has messages, else of `/completions`.
 * Throws UNREACHABLE, SERVER_REFUSED, KEY_REFUSED, PROMPT_TOO_LONG, BAD_STREAM, CANCELLED.
 */
export async function* streamCompletion(
  server: CompletionServer,
  body: Record<string, unknown>,
  signal: AbortSignal,
): AsyncGenerator<string, CompletionEnd> {
  const route = "messages" in body ? "/chat/completions" : "/completions";
  const asked = { ...body, stream: true, stream_options: { include_usage: true } };
  const response = await call(server, route, { body: asked, signal });
  const end: CompletionEnd = {
    finish_reason: "stop",
    prompt_tokens: null,
    completion_tokens: null,
  };
  try {
    for await (const data of eventData(response.body ?? new ReadableStream())) {
      if (data === "[DONE]") return end;
      const { choices, usage, error } = parseChunk(data);
      if (error) throw refused(error.message);
      end.prompt_tokens = usage?.prompt_tokens ?? end.prompt_tokens;
      end.completion_tokens = usage?.completion_tokens ?? end.completion_tokens;
      if (choices[0]?.finish_reason === "length") end.finish_reason = "length";
      const text = choices[0]?.delta?.content ?? choices[0]?.text;
      if (text) yield text;
    }
  } catch (error) {
    if (signal.aborted) throw cancelled();
    if (error instanceof MagnetError) throw error;
    throw broken(error);
  }
  if (signal.aborted) throw cancelled();
  throw broken(undefined);
}

const broken = (cause: unknown) =>
  new MagnetError("SERVER_REFUSED", "the server broke the answer off", {
    hint: "its log says why",
    retryable: true,
    cause,
  });
