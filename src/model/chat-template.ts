/**
 * magnet's chat format, in three forms that agree: ids, text, and a Jinja template for HF and GGUF.
 *   <|begin_of_text|><|user|>question<|assistant|>answer<|end_of_text|><|user|>...
 * A system message is put before the next user message, with a blank line between. Ids are made
 * part by part, so that no text of a message can stand for a special token.
 */
import { MagnetError } from "../core/errors.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: string;
}
export interface ChatOptions {
  /** Ends with <|assistant|>, for the model to go on; true unless given. */
  add_generation_prompt?: boolean;
}
/** One stretch of a conversation: a special token or plain text. */
export type ChatPart = { special: string } | { text: string };

const BOS = "<|begin_of_text|>";
const EOS = "<|end_of_text|>";
const ROLES = { user: "<|user|>", assistant: "<|assistant|>" } as const;

/** The format as a Jinja template (tokenizer_config.json, tokenizer.chat_template of GGUF). */
export const CHAT_TEMPLATE = [
  `{{- '${BOS}' -}}`,
  "{%- set ns = namespace(system='') -%}",
  "{%- for message in messages -%}",
  "{%- if message['role'] == 'system' -%}",
  "{%- set ns.system = ns.system + message['content'] + '\\n\\n' -%}",
  "{%- elif message['role'] == 'user' -%}",
  `{{- '${ROLES.user}' + ns.system + message['content'] -}}`,
  "{%- set ns.system = '' -%}",
  "{%- elif message['role'] == 'assistant' -%}",
  `{{- '${ROLES.assistant}' + message['content'] + '${EOS}' -}}`,
  "{%- endif -%}",
  "{%- endfor -%}",
  `{%- if add_generation_prompt -%}{{- '${ROLES.assistant}' -}}{%- endif -%}`,
].join("");

/** The parts of a conversation, in order. */
export function chatParts(messages: readonly ChatMessage[], options: ChatOptions = {}): ChatPart[] {
  const parts: ChatPart[] = [{ special: BOS }];
  let system = "";
  for (const { role, content } of messages) {
    if (role === "system") {
      system += `${content}\n\n`;
      continue;
    }
    const text = role === "user" ? system + content : content;
    if (role === "user") system = "";
    parts.push({ special: ROLES[role] }, { text });
    if (role === "assistant") parts.push({ special: EOS });
  }
  if (options.add_generation_prompt ?? true) parts.push({ special: ROLES.assistant });
  return parts;
}

/** The conversation as text: what the Jinja template gives. */
export function renderChat(messages: readonly ChatMessage[], options: ChatOptions = {}): string {
  return chatParts(messages, options)
    .map((part) => ("special" in part ? part.special : part.text))
    .join("");
}

/** Ids of a conversation. Throws NO_CHAT_TOKENS where the tokenizer lacks a special token of it. */
export function encodeChat(
  tokenizer: Tokenizer,
  messages: readonly ChatMessage[],
  options: ChatOptions = {},
): Int32Array {
  const ids: number[] = [];
  for (const part of chatParts(messages, options)) {
    if ("text" in part) {
      for (const id of tokenizer.encode(part.text)) ids.push(id);
      continue;
    }
    const id = tokenizer.specialId(part.special);
    if (id === null)
      throw new MagnetError("NO_CHAT_TOKENS", `the tokenizer has no token ${part.special}`, {
        hint: "use a completion instead of a chat, or a tokenizer trained by magnet",
      });
    ids.push(id);
  }
  return Int32Array.from(ids);
}
