/** OpenAI's endpoints below /v1. What is not here (responses, files, ...) is answered with 404. */

import { streamAnswer, wholeAnswer } from "../serve/answer-rendering.ts";
import type { ChoiceRequest } from "../serve/choices.ts";
import type { ServeContext, ServeHono, ServeParts } from "../serve/context.ts";
import type { PromptInput, ServedModel } from "../serve/served-model.ts";
import { type ChatForm, chatCompletion, chatStream } from "./chat-answer.ts";
import { parseChatRequest } from "./chat-request.ts";
import {
  checkTokens,
  embeddingInputs,
  embeddingList,
  parseEmbeddingRequest,
} from "./embedding-request.ts";
import { type Envelope, newId } from "./envelope.ts";
import { type CommonFields, includeUsage, samplingOf, seedOf, stopsOf } from "./sampling-fields.ts";
import { type TextForm, textCompletion, textStream } from "./text-answer.ts";
import { parseTextRequest } from "./text-request.ts";

function envelope(parts: ServeParts, prefix: string, model: ServedModel): Envelope {
  return {
    id: newId(prefix, parts.random),
    created: Math.floor(parts.clock.now_ms() / 1000),
    model: model.id,
    system_fingerprint: model.fingerprint,
  };
}

/** `n` choices of every prompt, in OpenAI's order; without a seed a random one is drawn. */
function choicesOf(
  parts: ServeParts,
  model: ServedModel,
  fields: CommonFields,
  prompts: readonly PromptInput[],
  rest: Omit<ChoiceRequest, "prompt" | "stop" | "sampling">,
): { request: ChoiceRequest; leader: number }[] {
  const seed = fields.seed === undefined ? parts.randomSeed() : seedOf(fields.seed);
  const stop = stopsOf(fields);
  return prompts.flatMap((prompt, p) =>
    Array.from({ length: fields.n }, (_, i) => ({
      request: {
        prompt,
        stop,
        sampling: samplingOf(fields, seed, i, model.config.vocab_size),
        ...rest,
      },
      leader: p * fields.n,
    })),
  );
}

async function chat(context: ServeContext, parts: ServeParts): Promise<Response> {
  const { fields, messages, max_tokens, format } = parseChatRequest(await parts.body(context));
  const model = parts.models.find(fields.model);
  const work = context.get("work");
  const include_usage = includeUsage(fields);
  const constraint = format && model.constraint(format);
  const top_logprobs = fields.top_logprobs ?? 0;
  const rest = { max_tokens, top_logprobs, constraint };
  const job = parts.job(model, work, choicesOf(parts, model, fields, [{ messages }], rest));
  const form: ChatForm = {
    envelope: envelope(parts, "chatcmpl", model),
    ...{ model, logprobs: fields.logprobs, include_usage, choices: fields.n },
    usage: () => work.usage,
  };
  if (fields.stream) return streamAnswer(context, job, chatStream(form));
  return context.json(chatCompletion(form, await wholeAnswer(job, fields.logprobs)));
}

async function completion(context: ServeContext, parts: ServeParts): Promise<Response> {
  const { fields, prompts } = parseTextRequest(await parts.body(context));
  const model = parts.models.find(fields.model);
  const work = context.get("work");
  const include_usage = includeUsage(fields);
  for (const prompt of prompts) if ("tokens" in prompt) checkTokens(model, prompt.tokens, "prompt");
  const rest = { max_tokens: fields.max_tokens, top_logprobs: fields.logprobs ?? 0 };
  const choices = choicesOf(parts, model, fields, prompts, rest);
  const job = parts.job(model, work, choices);
  const echoOf = ({ prompt }: ChoiceRequest): string => {
    if (!fields.echo || "messages" in prompt) return "";
    return "text" in prompt ? prompt.text : model.tokenizer.decode(prompt.tokens);
  };
  const form: TextForm = {
    envelope: envelope(parts, "cmpl", model),
    ...{ model, logprobs: fields.logprobs, include_usage },
    echoes: choices.map(({ request }) => echoOf(request)),
    usage: () => work.usage,
  };
  if (fields.stream) return streamAnswer(context, job, textStream(form));
  const whole = await wholeAnswer(job, fields.logprobs !== undefined);
  return context.json(textCompletion(form, whole));
}

async function embeddings(context: ServeContext, parts: ServeParts): Promise<Response> {
  const fields = parseEmbeddingRequest(await parts.body(context));
  const model = parts.models.find(fields.model);
  const work = context.get("work");
  work.model = model.id;
  const inputs = await embeddingInputs(model, fields, work.signal);
  const vectors = await parts.embed(model, inputs, work.signal);
  const prompt_tokens = inputs.reduce((sum, tokens) => sum + tokens.length, 0);
  work.addResult({ prompt_tokens, cached_tokens: 0, completion_tokens: 0 });
  return context.json(embeddingList(fields, model.id, vectors, prompt_tokens));
}

const modelObject = ({ id, created_s }: ServedModel) => ({
  id,
  object: "model",
  created: created_s,
  owned_by: "magnet",
});

export function addOpenAiRoutes(app: ServeHono, parts: ServeParts): void {
  app.post("/v1/chat/completions", (context) => chat(context, parts));
  app.post("/v1/completions", (context) => completion(context, parts));
  app.post("/v1/embeddings", (context) => embeddings(context, parts));
  app.get("/v1/models", (context) =>
    context.json({ object: "list", data: parts.models.list().map(modelObject) }),
  );
  // An id may hold slashes.
  app.get("/v1/models/:id{.+}", (context) =>
    context.json(modelObject(parts.models.find(context.req.param("id")))),
  );
}
