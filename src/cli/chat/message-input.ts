/** Where a chat's messages come from; this one is a pipe or a file, terminal.ts the other. */
import { stdinLines } from "../stdin.ts";
import { BlockInput } from "./block-input.ts";

export interface MessageInput {
  /** The next message; undefined at the end. */
  next(): Promise<string | undefined>;
  /** Whom Ctrl-C stops. */
  answering(turn: AbortController | undefined): void;
  close(): void;
}

/** A question longer than this fits no context. */
export const MESSAGE_BYTES_MAX = 1 << 20;

/** Every line a message, or every block of lines (see block-input.ts). */
async function* pipedMessages(signal: AbortSignal): AsyncGenerator<string> {
  const block = new BlockInput();
  for await (const line of stdinLines(MESSAGE_BYTES_MAX, signal)) {
    const message = block.push(line);
    if (message !== undefined) yield message;
  }
  if (block.pending) yield block.take();
}

export function pipedInput(signal: AbortSignal): MessageInput {
  const messages = pipedMessages(signal);
  return {
    next: async () => (await messages.next()).value as string | undefined,
    answering: () => undefined, // a pipe has no keys; signals end the program
    close: () => void messages.return(undefined),
  };
}
