/** POST /v1/chat/completions: what may be asked, and the engine's request that it becomes. */
import { z } from "zod";
import type { ChatMessage } from "../../model/chat-template.ts";
import { badRequest } from "../serve/api-error.ts";
import { checkedFields, type KnownFields, knownFields } from "../serve/field-check.ts";
import { MESSAGES_MAX, TOP_LOGPROBS_MAX } from "../serve/limits.ts";
import type { AnswerFormat } from "../serve/served-model.ts";
import { commonFields, HARMLESS } from "./sampling-fields.ts";

const NO_TOOLS =
  "this server does not call tools; describe the wanted form with response_format json_schema";

const FIELDS: KnownFields = {
  done: [
    ...Object.keys(commonFields),
    ...["messages", "max_completion_tokens", "logprobs", "top_logprobs", "response_format"],
  ],
  harmless: HARMLESS,
  refused: {
    tools: NO_TOOLS,
    tool_choice: NO_TOOLS,
    functions: NO_TOOLS,
    function_call: NO_TOOLS,
    parallel_tool_calls: NO_TOOLS,
    modalities: "only text is answered",
    audio: "only text is answered",
    prediction: "predicted outputs are not used",
    web_search_options: "this server does not search the web",
    reasoning_effort: "the models have no reasoning levels",
    verbosity: "the models have no verbosity levels; ask for it in a message",
    moderation: "this server does not moderate",
  },
  neutral: {
    tool_choice: ["none", "auto"],
    function_call: ["none", "auto"],
    parallel_tool_calls: [true],
    reasoning_effort: ["none"],
    verbosity: ["medium"],
  },
};

const textPart = z.strictObject({ type: z.literal("text"), text: z.string() });
const otherPart = z.looseObject({ type: z.string() });
const nothing = z.union([z.null(), z.array(z.never()).max(0)]).optional();

const messageSchema = z.strictObject({
  role: z.string(),
  content: z.union([z.string(), z.array(z.union([textPart, otherPart])), z.null()]).optional(),
  /** Of the speaker; the chat format has no place for it. */
  name: z.string().nullish(),
  /** What earlier answers carry and clients send back. */
  refusal: z.null().optional(),
  annotations: nothing,
  audio: z.null().optional(),
  tool_calls: z.unknown().optional(),
  function_call: z.unknown().optional(),
  tool_call_id: z.unknown().optional(),
});

const jsonSchemaFormat = z.strictObject({
  type: z.literal("json_schema"),
  json_schema: z.strictObject({
    name: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, "letters, digits, _ and -, up to 64"),
    description: z.string().nullish(),
    schema: z.union([z.record(z.string(), z.unknown()), z.boolean()]).optional(),
    strict: z.boolean().nullish(),
  }),
});
const formatSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("text") }),
  z.strictObject({ type: z.literal("json_object") }),
  jsonSchemaFormat,
]);

const chatSchema = z.strictObject({
  ...commonFields,
  messages: z.array(messageSchema).min(1).max(MESSAGES_MAX),
  max_completion_tokens: z.int().min(1).optional(),
  logprobs: z.boolean().default(false),
  top_logprobs: z.int().min(0).max(TOP_LOGPROBS_MAX).optional(),
  response_format: formatSchema.optional(),
});
export type ChatFields = z.infer<typeof chatSchema>;
type Message = z.infer<typeof messageSchema>;

const ROLES: Record<string, ChatMessage["role"]> = {
  system: "system",
  developer: "system",
  user: "user",
  assistant: "assistant",
};

/** The text of a message: a string, or text parts one after the other. */
function contentOf({ content }: Message, at: string): string {
  if (typeof content === "string") return content;
  if (content === null || content === undefined)
    throw badRequest("invalid_parameter", `${at}.content: a text is expected`, `${at}.content`);
  return content
    .map((part, index) => {
      if (part.type === "text" && typeof part.text === "string") return part.text;
      const param = `${at}.content.${index}`;
      const type = JSON.stringify(part.type.slice(0, 32));
      throw badRequest("unsupported_content", `${param}: ${type} is not read, only text is`, param);
    })
    .join("");
}

function messageOf(message: Message, index: number): ChatMessage {
  const at = `messages.${index}`;
  const role = Object.hasOwn(ROLES, message.role) ? ROLES[message.role] : undefined;
  if (message.role === "tool" || message.role === "function")
    throw badRequest("unsupported_parameter", `${at}.role: ${NO_TOOLS}`, `${at}.role`);
  if (role === undefined)
    throw badRequest(
      "invalid_parameter",
      `${at}.role: one of ${Object.keys(ROLES).join(", ")} is expected`,
      `${at}.role`,
    );
  for (const field of ["tool_calls", "function_call", "tool_call_id"] as const) {
    const value = message[field];
    const empty = value === undefined || value === null || (Array.isArray(value) && !value.length);
    if (!empty)
      throw badRequest("unsupported_parameter", `${at}.${field}: ${NO_TOOLS}`, `${at}.${field}`);
  }
  return { role, content: contentOf(message, at) };
}

export interface ChatRequest {
  fields: ChatFields;
  messages: ChatMessage[];
  max_tokens: number | undefined;
  format: AnswerFormat | undefined;
}

function maxTokens({ max_tokens, max_completion_tokens }: ChatFields): number | undefined {
  if (max_tokens !== undefined && max_completion_tokens !== undefined)
    if (max_tokens !== max_completion_tokens)
      throw badRequest(
        "invalid_parameter",
        "max_tokens and max_completion_tokens differ; give one of them",
        "max_tokens",
      );
  return max_completion_tokens ?? max_tokens;
}

/** A schema is followed exactly whether or not `strict` is set. */
function formatOf({ response_format }: ChatFields): AnswerFormat | undefined {
  if (response_format === undefined || response_format.type === "text") return undefined;
  if (response_format.type === "json_object") return { kind: "json_object" };
  const { schema } = response_format.json_schema;
  return schema === undefined ? { kind: "json_object" } : { kind: "json_schema", schema };
}

/** Throws 400 with the field's name. */
export function parseChatRequest(body: Record<string, unknown>): ChatRequest {
  const { modalities, ...rest } = body;
  const textOnly = Array.isArray(modalities) && modalities.every((kind) => kind === "text");
  const fields = checkedFields(chatSchema, knownFields(textOnly ? rest : body, FIELDS));
  if (fields.top_logprobs !== undefined && !fields.logprobs)
    throw badRequest("invalid_parameter", "top_logprobs needs logprobs: true", "top_logprobs");
  return {
    fields,
    messages: fields.messages.map(messageOf),
    max_tokens: maxTokens(fields),
    format: formatOf(fields),
  };
}
