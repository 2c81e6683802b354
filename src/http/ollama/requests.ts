/** What Ollama's endpoints may be asked. */
import { z } from "zod";
import type { ChatMessage } from "../../model/chat-template.ts";
import { badRequest } from "../serve/api-error.ts";
import { checkedFields, type KnownFields, knownFields } from "../serve/field-check.ts";
import { EMBEDDING_INPUTS_MAX, MESSAGES_MAX, TOP_LOGPROBS_MAX } from "../serve/limits.ts";
import type { AnswerFormat } from "../serve/served-model.ts";

const NO_IMAGES = "images are not read, only text is";
const NO_TOOLS = "this server does not call tools; describe the wanted form with format";

/** In every request that answers. The model stays loaded as long as the server runs. */
const common = {
  model: z.string().min(1).max(256),
  stream: z.boolean().default(true),
  format: z.union([z.literal(["", "json"]), z.record(z.string(), z.unknown())]).default(""),
  options: z.unknown().optional(),
  keep_alive: z.union([z.string().max(32), z.number()]).optional(),
  logprobs: z.boolean().default(false),
  top_logprobs: z.int().min(0).max(TOP_LOGPROBS_MAX).default(0),
};
const HARMLESS = ["truncate", "shift"];
const REFUSED = {
  think: "the models do not think before they answer",
  images: NO_IMAGES,
  tools: NO_TOOLS,
};

const CHAT_FIELDS: KnownFields = {
  done: [...Object.keys(common), "messages"],
  harmless: HARMLESS,
  refused: REFUSED,
};
const messageSchema = z.strictObject({
  role: z.enum(["system", "user", "assistant"]),
  content: z.string(),
  images: z.array(z.never(), NO_IMAGES).max(0, NO_IMAGES).nullish(),
  tool_calls: z.array(z.never(), NO_TOOLS).max(0, NO_TOOLS).nullish(),
});
const chatSchema = z.strictObject({
  ...common,
  messages: z.array(messageSchema).max(MESSAGES_MAX).default([]),
});

const GENERATE_FIELDS: KnownFields = {
  done: [...Object.keys(common), "prompt", "system", "raw"],
  harmless: HARMLESS,
  refused: {
    ...REFUSED,
    suffix: "text is only added at the end; the models are not trained to fill gaps",
    template: "the chat format is the model's own; use raw: true for a text of your own form",
    context: "send the conversation to /api/chat instead",
    width: NO_IMAGES,
    height: NO_IMAGES,
    steps: NO_IMAGES,
  },
  neutral: { suffix: [""], template: [""] },
};
const generateSchema = z.strictObject({
  ...common,
  prompt: z.string().default(""),
  system: z.string().default(""),
  raw: z.boolean().default(false),
});

const EMBED_FIELDS: KnownFields = {
  done: ["model", "input", "prompt", "truncate"],
  harmless: ["options", "keep_alive"],
  refused: { dimensions: "a vector has the model's width; it cannot be shortened" },
};
const embedSchema = z.strictObject({
  model: common.model,
  input: z.union([z.string(), z.array(z.string()).max(EMBEDDING_INPUTS_MAX)]),
  truncate: z.boolean().default(true),
});
const oldEmbedSchema = z.strictObject({ model: common.model, prompt: z.string() });

const SHOW_FIELDS: KnownFields = {
  done: ["model"],
  harmless: ["verbose", "options"],
  refused: {
    system: "a server's models are not changed",
    template: "a server's models are not changed",
  },
  neutral: { system: [""], template: [""] },
};

export type ChatFields = Omit<z.infer<typeof chatSchema>, "messages"> & { messages: ChatMessage[] };
export type GenerateFields = z.infer<typeof generateSchema>;
export type CommonFields = Omit<ChatFields, "messages">;

function checkLogprobs<T extends { logprobs: boolean; top_logprobs: number }>(fields: T): T {
  if (fields.top_logprobs > 0 && !fields.logprobs)
    throw badRequest("invalid_parameter", "top_logprobs needs logprobs: true", "top_logprobs");
  return fields;
}

export const parseChat = (body: Record<string, unknown>): ChatFields =>
  checkLogprobs(checkedFields(chatSchema, knownFields(body, CHAT_FIELDS)));

export const parseGenerate = (body: Record<string, unknown>): GenerateFields =>
  checkLogprobs(checkedFields(generateSchema, knownFields(body, GENERATE_FIELDS)));

export const parseEmbed = (body: Record<string, unknown>): z.infer<typeof embedSchema> =>
  checkedFields(embedSchema, knownFields(body, EMBED_FIELDS));

export const parseOldEmbed = (body: Record<string, unknown>): z.infer<typeof oldEmbedSchema> =>
  checkedFields(oldEmbedSchema, knownFields(body, EMBED_FIELDS));

/** `name` is what older clients call the model. */
export function parseShow({ name, ...body }: Record<string, unknown>): { model: string } {
  const fields = name === undefined || body.model !== undefined ? body : { ...body, model: name };
  return checkedFields(z.strictObject({ model: common.model }), knownFields(fields, SHOW_FIELDS));
}

export function formatOf({ format }: CommonFields): AnswerFormat | undefined {
  if (format === "") return undefined;
  return format === "json" ? { kind: "json_object" } : { kind: "json_schema", schema: format };
}

/** keep_alive 0 asks to unload; a server keeps its models, but says what Ollama says. */
export const asksToUnload = ({ keep_alive }: CommonFields): boolean =>
  keep_alive === 0 || (typeof keep_alive === "string" && /^0+(\.0+)?(ms|s|m|h)?$/.test(keep_alive));
