/** Where a chat's answers come from: a model in this process, or a server. */
import type { ChatMessage } from "../../model/chat-template.ts";
import type { ChatSettings } from "./settings.ts";

export interface AnswerRequest {
  /** The last one is the user's. */
  messages: readonly ChatMessage[];
  settings: ChatSettings;
  signal: AbortSignal;
}

/** What an answer was paid with; amounts are decimal base units. */
export interface PaidFor {
  /** "0" where an answer was owed from before. */
  amount: string;
  transaction: string;
  nonce: string;
  redeemed: boolean;
  /** Spent in this chat, and on this day. */
  session: string;
  day: string;
}

export interface AnswerEnd {
  finish_reason: "stop" | "length";
  /** Null where a server does not say. */
  prompt_tokens: number | null;
  completion_tokens: number | null;
  /** Absent where nothing was paid. */
  paid?: PaidFor;
}

export interface AnswerSource {
  /** The model's name. */
  readonly name: string;
  /** Tokens of its context; null where only the server knows. */
  readonly context: number | null;
  /** What people should know before they ask. */
  readonly notes: readonly string[];
  /** Tokens of the conversation as it would be asked; null where only the server knows. */
  count(messages: readonly ChatMessage[]): number | null;
  /** Pieces of the answer. Throws PROMPT_TOO_LONG, CANCELLED, and a server's own refusals. */
  answer(request: AnswerRequest): AsyncGenerator<string, AnswerEnd>;
  close(): Promise<void>;
}
