/** Answers of an OpenAI-compatible server, ours or another one. */
import { MagnetError } from "../../core/errors.ts";
import {
  type CompletionServer,
  serverModels,
  streamCompletion,
} from "../../http/completion-client.ts";
import { usageError } from "../frame/strict.ts";
import type { AnswerEnd, AnswerSource } from "./answer-source.ts";
import type { Payer } from "./paying.ts";
import type { ChatSettings } from "./settings.ts";

/** The model that is meant: the named one, or the server's only one. Throws NO_MODEL. */
async function modelOf(server: CompletionServer, named: string | undefined, signal: AbortSignal) {
  const models = await serverModels(server, signal);
  const known = models.slice(0, 20).join(", ");
  if (named === undefined && models.length === 1) return models[0]!;
  if (named === undefined)
    throw usageError("NO_MODEL", `the server has ${models.length} models`, `name one of: ${known}`);
  if (models.includes(named)) return named;
  throw new MagnetError("NO_MODEL", `the server has no model ${named}`, {
    hint: `name one of: ${known}`,
    exit: "usage",
  });
}

function formatOf(schema: unknown, complete: boolean): object {
  if (complete)
    throw usageError(
      "SCHEMA_NEEDS_CHAT",
      "servers take a schema in a chat only",
      "leave out --complete, or ask the model in this process",
    );
  return { type: "json_schema", json_schema: { name: "answer", schema, strict: true } };
}

/**
 * What goes into the request. Options that OpenAI's API does not have are sent only where they do
 * something, so that a strict server of others is not asked for them.
 */
function requestOf(settings: ChatSettings): Record<string, unknown> {
  const { temperature, top_p, seed, max_tokens, stop, top_k, min_p, repetition_penalty } = settings;
  const { schema, complete } = settings;
  return {
    ...{ temperature, top_p, seed, max_tokens },
    ...(stop.length > 0 ? { stop } : {}),
    ...(top_k !== 0 ? { top_k } : {}),
    ...(min_p > 0 ? { min_p } : {}),
    ...(repetition_penalty !== 1 ? { repetition_penalty } : {}),
    ...(schema === undefined ? {} : { response_format: formatOf(schema, complete) }),
  };
}

/** An answer that is paid for where the server asks: then acknowledged, or claimed if it broke off. */
async function* paidAnswer(
  payer: Payer,
  server: CompletionServer,
  body: Record<string, unknown>,
  signal: AbortSignal,
): AsyncGenerator<string, AnswerEnd> {
  const purchase = payer.purchase();
  const fetch = (url: string, init: RequestInit) => purchase.fetch(url, init);
  let done = false;
  try {
    const end = yield* streamCompletion({ ...server, fetch }, body, signal);
    done = true;
    const { prompt_tokens, completion_tokens } = end;
    // A receipt says what was got: where the server does not count, there is nothing to sign.
    if (prompt_tokens !== null && completion_tokens !== null)
      await purchase.answered(prompt_tokens + completion_tokens);
    const paid = payer.costOf(purchase);
    return paid === undefined ? end : { ...end, paid };
  } finally {
    if (!done) await purchase.failed();
  }
}

/** Finds the model; throws what the client does, NO_MODEL, and BAD_URL. */
export async function remoteSource(
  server: CompletionServer,
  named: string | undefined,
  signal: AbortSignal,
  payer?: Payer,
): Promise<AnswerSource> {
  const model = await modelOf(server, named, signal);
  return {
    name: model,
    context: null,
    notes: [],
    count: () => null,
    answer({ messages, settings, signal: stop }) {
      const prompt = messages.at(-1)?.content ?? "";
      const subject = settings.complete ? { prompt } : { messages };
      const body = { model, ...subject, ...requestOf(settings) };
      if (payer === undefined) return streamCompletion(server, body, stop);
      return paidAnswer(payer, server, body, stop);
    },
    close: async () => payer?.close(),
  };
}
