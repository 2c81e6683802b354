/**
 * `magnet chat`: talks with a model. On a terminal Ctrl-C stops the answer, not the program;
 * through a pipe every line is a turn; --prompt asks once.
 */
import readline from "node:readline";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import type { ChatMessage } from "../model/chat-template.ts";
import { type GenerateOptions, type GenerateResult, generate } from "../model/generate.ts";
import { ROUNDINGS } from "../model/inference.ts";
import { type LoadedModel, loadModel } from "../model/load-model.ts";
import { PrefixSession } from "../model/prefix-session.ts";
import { type Context, defineCommand, type FlagValues } from "./frame/command.ts";
import { usageError } from "./frame/strict.ts";
import { stdinLines } from "./stdin.ts";

const FLAGS = {
  prompt: { type: "string", value: "TEXT", summary: "ask this once and end" },
  complete: { type: "boolean", summary: "go on with the text instead of answering it" },
  system: { type: "string", value: "TEXT", summary: "put before the first question" },
  "max-tokens": { type: "integer", min: 1, max: 1_000_000, default: 256, summary: "of an answer" },
  temperature: { type: "number", min: 0, max: 100, default: 0.8, summary: "0: most likely token" },
  "top-k": { type: "integer", min: 0, default: 40, summary: "0 means off" },
  "top-p": { type: "number", min: 0, max: 1, default: 0.95, summary: "1 means off" },
  "min-p": { type: "number", min: 0, max: 1, default: 0, summary: "0 means off" },
  "repetition-penalty": { type: "number", min: 0.01, max: 100, default: 1, summary: "1 means off" },
  seed: { type: "integer", min: 0, default: 0, summary: "the same seed gives the same answer" },
  stop: { type: "list", value: "TEXT", summary: "ends the answer" },
  rounding: { type: "choice", options: ROUNDINGS, default: "bitnet", summary: "of activations" },
  threads: { type: "integer", min: 0, max: 64, default: 0, summary: "0 means all" },
  tokenizer: { type: "string", value: "FILE", summary: "a tokenizer.json (must be the model's)" },
} as const;
type ChatFlags = FlagValues<typeof FLAGS>;

/** Control characters that a model may produce must not reach a terminal. */
const printable = (text: string) =>
  text.replaceAll(/\p{Cc}/gu, (c) => (c === "\n" || c === "\t" ? c : "\u{fffd}"));

type Answer = GenerateResult & { text: string; tokens_per_s: number };

/** Streams one answer; `show` gets every piece. */
async function answer(
  loaded: LoadedModel,
  options: GenerateOptions,
  show: (piece: string) => void,
): Promise<Answer> {
  const pieces = generate(loaded, options);
  let text = "";
  let first_ms: number | undefined;
  for (;;) {
    const next = await pieces.next();
    const piece = next.done ? next.value.tail : next.value.text;
    text += piece;
    show(printable(piece));
    if (next.done) {
      const took_ms = performance.now() - (first_ms ?? performance.now());
      const decoded = Math.max(next.value.completion_tokens - 1, 0);
      const tokens_per_s = took_ms > 0 ? Math.round((decoded / took_ms) * 1e4) / 10 : 0;
      return { ...next.value, text, tokens_per_s };
    }
    first_ms ??= performance.now(); // the time of the prompt does not count
  }
}

function samplingOf(flags: ChatFlags): NonNullable<GenerateOptions["sampling"]> {
  const { temperature, top_k, top_p, min_p, repetition_penalty } = flags;
  return { temperature, top_k, top_p, min_p, repetition_penalty, seed: BigInt(flags.seed) };
}

/** A conversation, whose known beginning is computed once. */
class Conversation {
  private messages: ChatMessage[] = [];
  private readonly session: PrefixSession;

  constructor(
    private readonly loaded: LoadedModel,
    private readonly flags: ChatFlags,
  ) {
    this.session = new PrefixSession(loaded.model, { rounding: flags.rounding });
    this.clear();
  }

  clear(): void {
    const { system } = this.flags;
    this.messages = system === undefined ? [] : [{ role: "system", content: system }];
  }

  /** One turn. An answer that was cut off stays in the history as far as it came. */
  async ask(content: string, signal: AbortSignal, show: (piece: string) => void): Promise<Answer> {
    const messages: ChatMessage[] = [...this.messages, { role: "user", content }];
    const { complete, max_tokens, stop, rounding } = this.flags;
    const subject = complete ? { mode: "complete", prompt: content } : { mode: "chat", messages };
    const options = {
      ...subject,
      ...{ max_tokens, stop, rounding, signal },
      sampling: samplingOf(this.flags),
      session: this.session,
    } as GenerateOptions;
    let text = "";
    try {
      return await answer(this.loaded, options, (piece) => {
        text += piece;
        show(piece);
      });
    } finally {
      this.messages = [...messages, { role: "assistant", content: text }];
    }
  }

  close(): void {
    this.session.close();
  }
}

export const chat = defineCommand({
  summary: "Talks with a model",
  details:
    "MODEL is a checkpoint, a run folder, a Hugging Face folder or a .gguf file. While talking: /clear\nforgets the conversation, /help lists the commands, /quit ends.",
  examples: [
    { command: "magnet chat model.gguf", does: "a conversation" },
    {
      command: 'magnet chat run/ --complete --prompt "Call me" --temperature 0',
      does: "go on with a text",
    },
  ],
  args: { model: { value: "MODEL", summary: "what to talk with" } },
  flags: FLAGS,
  graceful: true,
  async run(context, { args, flags }) {
    if (context.out.json && flags.prompt === undefined)
      throw usageError("MISSING_FLAG", "magnet chat --json needs --prompt", "write --prompt TEXT");
    const { threads, tokenizer } = flags;
    const path = tokenizer === undefined ? {} : { tokenizer_path: tokenizer };
    const loaded = await loadModel(args.model, { threads, ...path });
    const conversation = new Conversation(loaded, flags);
    try {
      if (flags.prompt !== undefined) await once(context, conversation, loaded, flags.prompt);
      else await talk(context, conversation);
    } finally {
      conversation.close();
      loaded.close();
    }
  },
});

async function once(
  { out, signal }: Context,
  conversation: Conversation,
  loaded: LoadedModel,
  prompt: string,
): Promise<void> {
  const result = await conversation.ask(prompt, signal, (piece) => out.text(piece));
  out.text("\n");
  if (out.json) out.result("chat", { model: loaded.name, ...result }, "");
}

const HELP = "/clear forgets the conversation, /quit ends; Ctrl-C stops an answer";

/** A question longer than this fits no context. */
const LINE_BYTES_MAX = 1 << 20;

function openTerminal(): readline.Interface {
  const options = { input: process.stdin, output: process.stderr, terminal: true };
  return readline.createInterface({ ...options, prompt: "> " });
}

async function talk(context: Context, conversation: Conversation): Promise<void> {
  const { out } = context;
  const terminal = process.stdin.isTTY === true ? openTerminal() : undefined;
  let turn: AbortController | undefined;
  // In raw mode the terminal sends no signal: Ctrl-C arrives here.
  terminal?.on("SIGINT", () => (turn ? turn.abort() : terminal.close()));
  const onAbort = () => terminal?.close();
  context.signal.addEventListener("abort", onAbort, { once: true });
  if (terminal) out.note(HELP);
  terminal?.prompt();
  try {
    for await (const line of terminal ?? stdinLines(LINE_BYTES_MAX, context.signal)) {
      const text = line.trim();
      if (text === "/quit") break;
      if (text === "/clear") conversation.clear();
      else if (text.startsWith("/")) out.note(HELP);
      else if (text !== "") {
        turn = new AbortController();
        await takeTurn(context, conversation, text, turn.signal);
        turn = undefined;
      }
      terminal?.prompt();
    }
  } finally {
    context.signal.removeEventListener("abort", onAbort);
    terminal?.close();
  }
  if (context.signal.aborted)
    throw new MagnetError("INTERRUPTED", "the chat was stopped", { exit: "interrupted" });
}

/** A stopped answer, and a question that does not fit, end the turn and not the program. */
async function takeTurn(
  { out, signal }: Context,
  conversation: Conversation,
  text: string,
  stopped: AbortSignal,
): Promise<void> {
  try {
    const both = AbortSignal.any([signal, stopped]);
    const { finish_reason } = await conversation.ask(text, both, (piece) => out.text(piece));
    out.text("\n");
    if (finish_reason === "length") out.note("(cut off at the limit of tokens)");
  } catch (error) {
    const { code, message } = toMagnetError(error);
    if (code === "PROMPT_TOO_LONG") out.note(`${message}; /clear starts a new conversation`);
    else if (code === "CANCELLED") out.text("\n");
    else throw error;
  }
}
