/**
 * A conversation: system text, turns, and what is sent of them. A context that fills up loses the
 * oldest turns; nothing else is ever changed in what was said.
 */
import { toMagnetError } from "../../core/errors.ts";
import type { ChatMessage } from "../../model/chat-template.ts";
import type { AnswerEnd, AnswerSource } from "./answer-source.ts";
import type { ChatSettings } from "./settings.ts";

export interface Answer extends AnswerEnd {
  text: string;
  first_token_ms: number;
  /** After the first token. */
  tokens_per_s: number;
  /** Oldest turns that the context had no room for. */
  dropped_turns: number;
}

interface Turn {
  question: string;
  answer: string;
}

/**
 * Of the context, what is kept of an old conversation once it fills up. Less than all that fits, so
 * that the prefix cache serves the next turns instead of one turn falling out every time.
 */
const KEPT_SHARE = 0.5;
/** Room that an answer gets before old turns keep theirs, unless max_tokens asks for less. */
const ANSWER_SHARE = 0.25;

const rounded = (value: number) => Math.round(value * 10) / 10;

/**
 * Tokens a second after the first. A short answer of a server may arrive in one piece: then the
 * time for all of it is what is known.
 */
function rateOf(tokens: number, took: { decoded_ms: number; first_token_ms: number }): number {
  const { decoded_ms, first_token_ms } = took;
  const in_one_piece = decoded_ms < 0.1 * first_token_ms && tokens < 16;
  const [count, ms] = in_one_piece
    ? [tokens, decoded_ms + first_token_ms]
    : [tokens - 1, decoded_ms];
  return ms > 0 ? rounded((1000 * Math.max(count, 0)) / ms) : 0;
}

export class Conversation {
  system: string | undefined;
  settings: ChatSettings;
  last: Answer | undefined;
  /** The question that /regenerate asks again, even where its answer was stopped at once. */
  private asked: string | undefined;
  private turns: Turn[] = [];
  /** Turns before this one are no longer sent. */
  private first = 0;
  private regenerated = 0;

  constructor(
    readonly source: AnswerSource,
    settings: ChatSettings,
  ) {
    this.settings = settings;
  }

  clear(): void {
    this.turns = [];
    this.first = 0;
    this.last = undefined;
    this.asked = undefined;
  }

  /** Everything that was said, for a file. */
  messages(): ChatMessage[] {
    return [...this.systemMessage(), ...messagesOf(this.turns)];
  }

  /** Goes on with a conversation from a file. */
  restore(messages: readonly ChatMessage[]): void {
    this.clear();
    const systems = messages.filter(({ role }) => role === "system");
    this.system = systems.length > 0 ? systems.map((m) => m.content).join("\n\n") : undefined;
    for (const { role, content } of messages) {
      if (role === "user") this.turns.push({ question: content, answer: "" });
      const turn = this.turns.at(-1);
      if (role === "assistant" && turn) turn.answer += content;
    }
    this.asked = this.turns.at(-1)?.question;
  }

  /** Tokens of what would be sent, where the source knows. */
  contextUsed(): number | null {
    const messages = [...this.systemMessage(), ...messagesOf(this.turns.slice(this.first))];
    return messages.length === 0 ? 0 : this.source.count(messages);
  }

  /** One turn. An answer that was stopped stays as far as it came. */
  async ask(question: string, signal: AbortSignal, show: (piece: string) => void): Promise<Answer> {
    this.regenerated = 0;
    return this.take(question, signal, show);
  }

  /** The last question once more, with another seed; undefined where there is none. */
  async regenerate(
    signal: AbortSignal,
    show: (piece: string) => void,
  ): Promise<Answer | undefined> {
    if (this.asked === undefined) return undefined;
    if (this.turns.at(-1)?.question === this.asked) this.turns.pop();
    this.first = Math.min(this.first, this.turns.length);
    this.regenerated++;
    return this.take(this.asked, signal, show);
  }

  private async take(question: string, signal: AbortSignal, show: (piece: string) => void) {
    this.asked = question;
    const before = this.first;
    let text = "";
    try {
      const answer = await this.answerWithin(question, signal, (piece) => {
        text += piece;
        show(piece);
      });
      this.turns.push({ question, answer: text });
      this.last = { ...answer, dropped_turns: this.first - before };
      return this.last;
    } catch (error) {
      const stopped = toMagnetError(error).code === "CANCELLED";
      if (stopped && text !== "") this.turns.push({ question, answer: text });
      throw error;
    }
  }

  /** Drops turns until the question fits, by counting or by the server's refusal. */
  private async answerWithin(question: string, signal: AbortSignal, show: (piece: string) => void) {
    this.makeRoom(question);
    for (;;) {
      try {
        return await this.stream(this.sent(question), signal, show);
      } catch (error) {
        const refused = toMagnetError(error).code === "PROMPT_TOO_LONG";
        const left = this.turns.length - this.first;
        if (!refused || left === 0 || this.settings.complete) throw error;
        this.first += Math.ceil(left / 2);
      }
    }
  }

  private async stream(
    messages: readonly ChatMessage[],
    signal: AbortSignal,
    show: (piece: string) => void,
  ): Promise<Omit<Answer, "dropped_turns">> {
    const seed = this.settings.seed + this.regenerated;
    const settings = { ...this.settings, seed };
    const started = performance.now();
    const pieces = this.source.answer({ messages, settings, signal });
    let text = "";
    let first: number | undefined;
    let count = 0;
    for (;;) {
      const next = await pieces.next();
      if (next.done) {
        const end = performance.now();
        const tokens = next.value.completion_tokens ?? count;
        const first_token_ms = rounded((first ?? end) - started);
        const tokens_per_s = rateOf(tokens, { decoded_ms: end - (first ?? end), first_token_ms });
        return { text, ...next.value, first_token_ms, tokens_per_s };
      }
      first ??= performance.now();
      count++;
      text += next.value;
      show(next.value);
    }
  }

  /** Where the source counts tokens, turns go before it has to refuse. */
  private makeRoom(question: string): void {
    const { context } = this.source;
    if (context === null || this.settings.complete) return;
    const room = Math.min(this.settings.max_tokens, Math.floor(context * ANSWER_SHARE));
    const tooLong = (limit: number) => (this.source.count(this.sent(question)) ?? 0) > limit;
    if (!tooLong(context - room)) return;
    while (this.first < this.turns.length && tooLong(context * KEPT_SHARE)) this.first++;
  }

  private sent(question: string): ChatMessage[] {
    const now: ChatMessage = { role: "user", content: question };
    if (this.settings.complete) return [now];
    return [...this.systemMessage(), ...messagesOf(this.turns.slice(this.first)), now];
  }

  private systemMessage(): ChatMessage[] {
    return this.system === undefined ? [] : [{ role: "system", content: this.system }];
  }
}

const messagesOf = (turns: readonly Turn[]): ChatMessage[] =>
  turns.flatMap(({ question, answer }) => [
    { role: "user", content: question },
    { role: "assistant", content: answer },
  ]);
