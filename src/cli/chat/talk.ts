/** The loop of a chat: a message in, an answer out, until the input ends. */
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import type { Context } from "../frame/command.ts";
import type { Answer, Conversation } from "./conversation.ts";
import { costText } from "./cost-text.ts";
import type { MessageInput } from "./message-input.ts";
import { runSlash } from "./slash.ts";

/** Control characters that a model may produce must not reach a terminal. */
export const printable = (text: string) =>
  text.replaceAll(/\p{Cc}/gu, (c) => (c === "\n" || c === "\t" ? c : "\u{fffd}"));

/** The document magnet.chat/1. */
export function answerDocument(conversation: Conversation, answer: Answer): object {
  return { model: conversation.source.name, ...answer };
}

/** Failures that end the turn and not the program; a server may be back for the next question. */
const TURN_ENDS = new Set([
  ...["PROMPT_TOO_LONG", "ENGINE_BUSY", "UNREACHABLE", "SERVER_REFUSED"],
  ...["PAYMENT_NEEDED", "PAYMENT_DECLINED", "SPENDING_CAP", "BAD_OFFER"],
]);

type Ask = (signal: AbortSignal, show: (piece: string) => void) => Promise<Answer | undefined>;

/** Until the input ends, /quit, or a signal (INTERRUPTED). Returns the number of questions. */
export async function talk(
  context: Context,
  conversation: Conversation,
  input: MessageInput,
): Promise<number> {
  const { out, signal } = context;
  const stop = () => input.close();
  signal.addEventListener("abort", stop, { once: true });
  let questions = 0;
  try {
    while (!signal.aborted) {
      const message = await input.next();
      if (message === undefined) break;
      if (message.trim() === "") continue;
      let ask: Ask = (...rest) => conversation.ask(message.trim(), ...rest);
      if (message.startsWith("/")) {
        const { next, say } = runSlash(conversation, message);
        if (say !== undefined) out.note(printable(say));
        if (next === "quit") break;
        if (next !== "regenerate") continue;
        ask = (...rest) => conversation.regenerate(...rest);
      }
      questions++;
      await takeTurn(context, conversation, { input, ask });
    }
  } finally {
    signal.removeEventListener("abort", stop);
    input.close();
  }
  if (signal.aborted)
    throw new MagnetError("INTERRUPTED", "the chat was stopped", { exit: "interrupted" });
  return questions;
}

async function takeTurn(
  { out, signal }: Context,
  conversation: Conversation,
  { input, ask }: { input: MessageInput; ask: Ask },
): Promise<void> {
  const turn = new AbortController();
  input.answering(turn);
  try {
    const both = AbortSignal.any([signal, turn.signal]);
    const answer = await ask(both, (piece) => out.text(printable(piece)));
    if (answer === undefined) out.note("there is no question yet");
    else report(out, conversation, answer);
  } catch (error) {
    const failure = toMagnetError(error);
    if (failure.code === "CANCELLED") out.text("\n");
    else if (TURN_ENDS.has(failure.code)) {
      const hint = failure.code === "PROMPT_TOO_LONG" ? "ask with less text" : failure.hint;
      out.note(printable(`${failure.message}${hint === undefined ? "" : `; ${hint}`}`));
    } else throw error;
  } finally {
    input.answering(undefined);
  }
}

function report(out: Context["out"], conversation: Conversation, answer: Answer): void {
  if (out.json) out.record("chat", answerDocument(conversation, answer));
  else out.text("\n");
  if (answer.finish_reason === "length") out.note("(cut off at the limit of tokens)");
  if (answer.paid !== undefined) out.note(costText(answer.paid));
  const { dropped_turns } = answer;
  if (dropped_turns > 0)
    out.note(`(the context is full: ${dropped_turns} of the oldest turns are no longer sent)`);
}
