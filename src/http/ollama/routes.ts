/** Ollama's endpoints below /api. Its models are those the server was started with. */
import type { Context } from "hono";
import { checkTokens } from "../openai/embedding-request.ts";
import { streamAnswer, wholeAnswer } from "../serve/answer-rendering.ts";
import { ApiError, badRequest } from "../serve/api-error.ts";
import type { ServeContext, ServeHono, ServeParts } from "../serve/context.ts";
import type { PromptInput, ServedModel } from "../serve/served-model.ts";
import { loadedOllama, type OllamaForm, ollamaStream, wholeOllama } from "./answers.ts";
import { processes, show, tags } from "./listings.ts";
import {
  asksToUnload,
  type CommonFields,
  formatOf,
  type GenerateFields,
  parseChat,
  parseEmbed,
  parseGenerate,
  parseOldEmbed,
  parseShow,
} from "./requests.ts";
import { parseOptions } from "./sampling-options.ts";

export const ollamaError = ({ message }: ApiError) => ({ error: message });

/** prompt: undefined asks only whether the model is there. */
async function answer(
  context: ServeContext,
  parts: ServeParts,
  fields: CommonFields,
  chat: boolean,
  promptOf: (model: ServedModel) => PromptInput | undefined,
): Promise<Response> {
  const model = parts.models.find(fields.model);
  const work = context.get("work");
  const form: OllamaForm = {
    ...{ name: fields.model, model, chat, logprobs: fields.logprobs },
    now_ms: () => parts.clock.now_ms(),
    elapsed_ms: () => work.elapsed_ms,
  };
  const prompt = promptOf(model);
  if (prompt === undefined) return context.json(loadedOllama(form, asksToUnload(fields)));
  const format = formatOf(fields);
  const request = {
    prompt,
    ...parseOptions(fields.options ?? {}, parts.randomSeed),
    top_logprobs: fields.top_logprobs,
    constraint: format && model.constraint(format),
  };
  const job = parts.job(model, work, [{ request, leader: 0 }]);
  if (fields.stream) return streamAnswer(context, job, ollamaStream(form));
  const [choice] = await wholeAnswer(job, fields.logprobs);
  return context.json(wholeOllama(form, choice!));
}

async function chat(context: ServeContext, parts: ServeParts): Promise<Response> {
  const fields = parseChat(await parts.body(context));
  const { messages } = fields;
  return answer(context, parts, fields, true, () =>
    messages.length === 0 ? undefined : { messages },
  );
}

/** In the model's chat format where it has one; `raw` and plain models go on with the text. */
function generatePrompt(fields: GenerateFields, model: ServedModel): PromptInput | undefined {
  const { prompt, system, raw } = fields;
  if (prompt === "") return undefined;
  if (raw) return { text: prompt };
  if (!model.has_chat_format) return { text: system === "" ? prompt : `${system}\n\n${prompt}` };
  const question = { role: "user", content: prompt } as const;
  if (system === "") return { messages: [question] };
  return { messages: [{ role: "system", content: system }, question] };
}

async function generate(context: ServeContext, parts: ServeParts): Promise<Response> {
  const fields = parseGenerate(await parts.body(context));
  return answer(context, parts, fields, false, (model) => generatePrompt(fields, model));
}

async function embed(context: ServeContext, parts: ServeParts): Promise<Response> {
  const { model: name, input, truncate } = parseEmbed(await parts.body(context));
  const texts = typeof input === "string" ? [input] : input;
  const { vectors, tokens } = await vectorsOf(context, parts, name, texts, truncate);
  const total_duration = Math.round(context.get("work").elapsed_ms * 1e6);
  return context.json({
    model: name,
    embeddings: vectors.map((vector) => [...vector]),
    total_duration,
    load_duration: 0,
    prompt_eval_count: tokens,
  });
}

async function vectorsOf(
  context: ServeContext,
  parts: ServeParts,
  name: string,
  texts: readonly string[],
  truncate: boolean,
): Promise<{ vectors: Float32Array[]; tokens: number }> {
  const model = parts.models.find(name);
  const work = context.get("work");
  work.model = model.id;
  const inputs: Int32Array[] = [];
  for (const [index, text] of texts.entries()) {
    if (text === "") throw badRequest("invalid_parameter", `input.${index} is empty`, "input");
    const tokens = await model.promptTokens(text, work.signal, truncate);
    checkTokens(model, tokens, "input");
    inputs.push(tokens);
  }
  const vectors = await parts.embed(model, inputs, work.signal);
  const tokens = inputs.reduce((sum, input) => sum + input.length, 0);
  work.addResult({ prompt_tokens: tokens, cached_tokens: 0, completion_tokens: 0 });
  return { vectors, tokens };
}

async function oldEmbeddings(context: ServeContext, parts: ServeParts): Promise<Response> {
  const { model, prompt } = parseOldEmbed(await parts.body(context));
  if (prompt === "") return context.json({ embedding: [] });
  const { vectors } = await vectorsOf(context, parts, model, [prompt], true);
  return context.json({ embedding: [...vectors[0]!] });
}

/** Changing the models of a server is not done over the network. */
const FIXED = ["/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete"];

export function addOllamaRoutes(app: ServeHono, parts: ServeParts): void {
  const { models } = parts;
  // Clients look for this text to see whether an Ollama server is there.
  app.get("/", (context: Context) => context.text("Ollama is running"));
  app.get("/api/version", (context) => context.json({ version: parts.version }));
  app.get("/api/tags", (context) => context.json(tags(models.list())));
  app.get("/api/ps", (context) => context.json(processes(models.list())));
  app.post("/api/show", async (context) =>
    context.json(show(models.find(parseShow(await parts.body(context)).model))),
  );
  app.post("/api/chat", (context) => chat(context, parts));
  app.post("/api/generate", (context) => generate(context, parts));
  app.post("/api/embed", (context) => embed(context, parts));
  app.post("/api/embeddings", (context) => oldEmbeddings(context, parts));
  for (const path of FIXED)
    app.all(path, () => {
      throw new ApiError(
        501,
        "not_implemented",
        `${path}: models are given when the server starts`,
      );
    });
}
