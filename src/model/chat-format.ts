/**
 * How a conversation becomes ids for a given model. Files of other makers carry their format as a
 * Jinja program (tokenizer.chat_template); instead of running it, the formats that ternary models
 * use are recognised by what the program writes:
 *   magnet  <|user|>...<|assistant|>...<|end_of_text|> (chat-template.ts)
 *   llama3  <|start_header_id|>role<|end_header_id|>\n\n...<|eot_id|>
 *   bitnet  Role: ...<|eot_id|> (BitNet-b1.58-2B-4T)
 *   plain   "User: ..." lines, where the model names no format or an unknown one; `reason` says which
 * Invariant: ids of special tokens come from the format alone. A message is encoded as text, so
 * that nothing in it can stand for one.
 */
import { MagnetError } from "../core/errors.ts";
import { CHAT_TEMPLATE, type ChatMessage, type ChatPart, chatParts } from "./chat-template.ts";
import type { Tokenizer } from "./tokenizer.ts";

export type ChatFormatName = "magnet" | "llama3" | "bitnet" | "plain";

export interface ChatFormat {
  name: ChatFormatName;
  /** Why it is the plain dialogue. */
  reason?: string;
  /** Stop strings that the format needs, because no token ends a turn. */
  stop: readonly string[];
  /** The conversation up to where the assistant speaks. */
  parts(messages: readonly ChatMessage[]): ChatPart[];
}

export interface PromptParts {
  parts: readonly ChatPart[];
  stop: readonly string[];
}

/** As Python's str.strip and JavaScript's trim agree on ASCII; the templates' `trim`. */
const trimmed = (text: string): string => text.trim();
const capitalised = (role: string): string => role.charAt(0).toUpperCase() + role.slice(1);

/** The begin token, where the vocabulary has one. */
function beginOf(tokenizer: Tokenizer): ChatPart[] {
  const bos = tokenizer.specials.find(({ id }) => id === tokenizer.bos_id);
  return bos === undefined ? [] : [{ special: bos.content }];
}

/** Llama 3's headers; without the date lines that the template of 3.1 puts before the system. */
function llama3Parts(begin: ChatPart[], messages: readonly ChatMessage[]): ChatPart[] {
  const header = (role: string): ChatPart[] => [
    { special: "<|start_header_id|>" },
    { text: role },
    { special: "<|end_header_id|>" },
  ];
  const turns = messages.flatMap(({ role, content }): ChatPart[] => [
    ...header(role),
    { text: `\n\n${trimmed(content)}` },
    { special: "<|eot_id|>" },
  ]);
  return [...begin, ...turns, ...header("assistant"), { text: "\n\n" }];
}

function bitnetParts(begin: ChatPart[], messages: readonly ChatMessage[]): ChatPart[] {
  const turns = messages.flatMap(({ role, content }): ChatPart[] => [
    { text: `${capitalised(role)}: ${trimmed(content)}` },
    { special: "<|eot_id|>" },
  ]);
  return [...begin, ...turns, { text: "Assistant: " }];
}

function plainParts(begin: ChatPart[], messages: readonly ChatMessage[]): ChatPart[] {
  const lines = messages.map(({ role, content }) => `${capitalised(role)}: ${content}`);
  return [...begin, { text: `${lines.join("\n")}\nAssistant:` }];
}

const LLAMA3_TOKENS = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"];
const MAGNET_TOKENS = ["<|begin_of_text|>", "<|end_of_text|>", "<|user|>", "<|assistant|>"];

/** The name of the format, or why none is known. */
function recognise(tokenizer: Tokenizer): { name: ChatFormatName; reason?: string } {
  const has = (names: readonly string[]) => names.every((n) => tokenizer.specialId(n) !== null);
  const { chat_template } = tokenizer;
  // Our own checkpoints state no template: the vocabulary's tokens say what it was made for.
  if (chat_template === null || chat_template === CHAT_TEMPLATE)
    return has(MAGNET_TOKENS)
      ? { name: "magnet" }
      : { name: "plain", reason: "the model states no chat format" };
  if (chat_template.includes("<|start_header_id|>") && has(LLAMA3_TOKENS))
    return { name: "llama3" };
  const turns_end = chat_template.includes("<|eot_id|>") && has(["<|eot_id|>"]);
  const role_words = /\|\s*capitalize/.test(chat_template) && chat_template.includes("Assistant: ");
  if (turns_end && role_words) return { name: "bitnet" };
  return {
    name: "plain",
    reason: "the model's chat template is of a kind that magnet does not know",
  };
}

const formats = new WeakMap<Tokenizer, ChatFormat>();

/** The format of this tokenizer's model. */
export function chatFormat(tokenizer: Tokenizer): ChatFormat {
  const known = formats.get(tokenizer);
  if (known) return known;
  const begin = beginOf(tokenizer);
  const makers: Record<ChatFormatName, ChatFormat["parts"]> = {
    magnet: (messages) => chatParts(messages),
    llama3: (messages) => llama3Parts(begin, messages),
    bitnet: (messages) => bitnetParts(begin, messages),
    plain: (messages) => plainParts(begin, messages),
  };
  const recognised = recognise(tokenizer);
  const { name } = recognised;
  const format = { ...recognised, stop: name === "plain" ? ["\nUser:"] : [], parts: makers[name] };
  formats.set(tokenizer, format);
  return format;
}

/**
 * The parts of a conversation up to where the assistant speaks, and the stop strings that its form
 * adds. Throws NO_MESSAGES.
 */
export function chatPrompt(tokenizer: Tokenizer, messages: readonly ChatMessage[]): PromptParts {
  if (messages.length === 0)
    throw new MagnetError("NO_MESSAGES", "a chat needs at least one message", { exit: "usage" });
  const format = chatFormat(tokenizer);
  return { parts: format.parts(messages), stop: format.stop };
}

/** The parts of a text that is gone on with. */
export const textPrompt = (tokenizer: Tokenizer, text: string): PromptParts => ({
  parts: [...beginOf(tokenizer), { text }],
  stop: [],
});

/** Tokens that end an answer: end of text or of a turn, and those that begin another turn. */
const END_NAMES = [
  ...MAGNET_TOKENS,
  ...["<|eot_id|>", "<|eom_id|>", "<|start_header_id|>", "<|endoftext|>", "</s>"],
];

/** Ids that end an answer; the end token that the model's file states is among them. */
export function endTokens(tokenizer: Tokenizer): Set<number> {
  const ids = [tokenizer.eos_id, ...END_NAMES.map((name) => tokenizer.specialId(name))];
  return new Set(ids.filter((id) => id !== null));
}
