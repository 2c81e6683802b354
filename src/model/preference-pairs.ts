/**
 * Preference pairs as people write them: JSONL with {"prompt", "chosen", "rejected"}. Strings are
 * text that goes on, or with `format` chat a question and two answers; lists of messages are
 * conversations, as {"prompt": [...], "chosen": "answer" or [...]} or whole in "chosen" and
 * "rejected". An optional "heldout" (true or false) says which side a pair belongs to.
 */
import type { ChatMessage } from "./chat-template.ts";
import { badLine, type JsonLine, jsonLines } from "./json-lines.ts";

export const PAIR_FORMATS = ["auto", "text", "chat"] as const;
/** What strings mean: `auto` and `text` a text that goes on, `chat` a question and its answers. */
export type PairFormat = (typeof PAIR_FORMATS)[number];

export interface PreferencePair {
  /** `file:line`, for messages. */
  place: string;
  /** A text to go on with, or a conversation to answer. */
  prompt: string | ChatMessage[];
  chosen: string;
  rejected: string;
  /** What the line says; null where it says nothing. */
  heldout: boolean | null;
}

const HINT =
  'each line must be one JSON object: {"prompt": "...", "chosen": "...", "rejected": "..."}';
const ROLES: readonly unknown[] = ["system", "user", "assistant"];

type Content = string | ChatMessage[];

/** A field as text or messages. */
function contentOf(place: string, name: string, value: unknown): Content {
  if (typeof value === "string") return value;
  if (value === undefined) throw badLine(place, `no field "${name}"`, HINT);
  if (!Array.isArray(value))
    throw badLine(place, `"${name}" is neither a string nor a list of messages`, HINT);
  return value.map((message, i) => {
    const { role, content } = (message ?? {}) as { role?: unknown; content?: unknown };
    if (ROLES.includes(role) && typeof content === "string")
      return { role: role as ChatMessage["role"], content };
    throw badLine(
      place,
      `message ${i + 1} of "${name}" is not {"role": system|user|assistant, "content": "..."}`,
      HINT,
    );
  });
}

const sameMessages = (a: readonly ChatMessage[], b: readonly ChatMessage[]) =>
  a.length === b.length &&
  a.every(({ role, content }, i) => b[i]!.role === role && b[i]!.content === content);

/** Splits a response into the conversation before its last answer, and that answer. */
function answerOf(
  place: string,
  name: string,
  response: Content,
): { before: ChatMessage[]; text: string } {
  if (typeof response === "string") return { before: [], text: response };
  const last = response.at(-1);
  if (last?.role !== "assistant")
    throw badLine(place, `"${name}" does not end with a message of the assistant`, HINT);
  return { before: response.slice(0, -1), text: last.content };
}

function chatPair(place: string, fields: { prompt: Content; chosen: Content; rejected: Content }) {
  const asked: ChatMessage[] =
    typeof fields.prompt === "string"
      ? fields.prompt === ""
        ? []
        : [{ role: "user", content: fields.prompt }]
      : fields.prompt;
  const chosen = answerOf(place, "chosen", fields.chosen);
  const rejected = answerOf(place, "rejected", fields.rejected);
  if (!sameMessages(chosen.before, rejected.before))
    throw badLine(place, '"chosen" and "rejected" answer different conversations', HINT);
  // The responses may repeat the prompt, or be whole conversations without one beside them.
  const repeats = sameMessages(asked, chosen.before.slice(0, asked.length));
  const prompt = repeats ? chosen.before : [...asked, ...chosen.before];
  if (!prompt.some(({ role }) => role === "user"))
    throw badLine(place, "no message of the user comes before the answers", HINT);
  return { prompt, chosen: chosen.text, rejected: rejected.text };
}

/** Checks one line. Throws PAIRS_INVALID naming it. */
export function parsePair({ place, value }: JsonLine, format: PairFormat): PreferencePair {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw badLine(place, "not a JSON object", HINT);
  const object = value as Record<string, unknown>;
  const chosen = contentOf(place, "chosen", object.chosen);
  const rejected = contentOf(place, "rejected", object.rejected);
  const inside = Array.isArray(chosen) && object.prompt === undefined;
  const prompt = inside ? [] : contentOf(place, "prompt", object.prompt);
  const heldout = object.heldout ?? null;
  if (heldout !== null && typeof heldout !== "boolean")
    throw badLine(place, '"heldout" is neither true nor false', HINT);
  const isText = [prompt, chosen, rejected].every((part) => typeof part === "string");
  if (!isText && format === "text")
    throw badLine(place, "messages, where --format text takes strings", HINT);
  const pair =
    isText && format !== "chat"
      ? { prompt, chosen: chosen as string, rejected: rejected as string }
      : chatPair(place, { prompt, chosen, rejected });
  for (const name of ["chosen", "rejected"] as const)
    if (pair[name].trim() === "") throw badLine(place, `"${name}" is empty`, HINT);
  if (pair.chosen === pair.rejected)
    throw badLine(place, '"chosen" and "rejected" are the same', "a pair needs a difference");
  return { place, ...pair, heldout };
}

/** The pairs of files, in order. Throws PAIRS_INVALID naming file and line, NOT_FOUND, CANCELLED. */
export async function* readPairs(
  files: readonly string[],
  options: { format?: PairFormat | undefined; signal?: AbortSignal | undefined } = {},
): AsyncGenerator<PreferencePair> {
  for (const file of files)
    for await (const line of jsonLines(file, { hint: HINT, signal: options.signal }))
      yield parsePair(line, options.format ?? "auto");
}
