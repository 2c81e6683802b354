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
  return encodeParts(tokenizer, chatParts(messages, options));
}

/** A longer text is encoded on a worker thread: the thread that answers requests goes on. */
const LONG_TEXT_CHARS = 32 << 10;

function specialOf(tokenizer: Tokenizer, special: string): Int32Array {
  const id = tokenizer.specialId(special);
  if (id !== null) return Int32Array.of(id);
  throw new MagnetError("NO_CHAT_TOKENS", `the tokenizer has no token ${special}`, {
    hint: "use a completion instead of a chat, or a tokenizer trained by magnet",
  });
}

function joined(stretches: readonly Int32Array[]): Int32Array {
  const ids = new Int32Array(stretches.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const stretch of stretches) {
    ids.set(stretch, at);
    at += stretch.length;
  }
  return ids;
}

/** Ids of the parts. Throws NO_CHAT_TOKENS where the tokenizer lacks a special token of them. */
export function encodeParts(tokenizer: Tokenizer, parts: readonly ChatPart[]): Int32Array {
  const ids = (part: ChatPart) =>
    "text" in part ? tokenizer.encode(part.text) : specialOf(tokenizer, part.special);
  return joined(parts.map(ids));
}

/** The same without keeping this thread from its other work. Throws CANCELLED too. */
export async function encodePartsAsync(
  tokenizer: Tokenizer,
  parts: readonly ChatPart[],
  signal?: AbortSignal,
): Promise<Int32Array> {
  const stretches: Int32Array[] = [];
  for (const part of parts) {
    if ("special" in part) stretches.push(specialOf(tokenizer, part.special));
    else if (part.text.length < LONG_TEXT_CHARS) stretches.push(tokenizer.encode(part.text));
    else {
      const options = signal === undefined ? {} : { signal };
      const bytes = new TextEncoder().encode(part.text);
      stretches.push(await tokenizer.encodeBytesAsync(bytes, options));
    }
  }
  return joined(stretches);
}
