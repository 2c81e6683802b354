/**
 * `magnet chat`: talks with a model in this process, or with a server. On a terminal Ctrl-C stops
 * the answer, not the program; through a pipe every line is a turn; --prompt asks once.
 */
import path from "node:path";
import { ENGINES } from "../model/engine/open-text-model.ts";
import { HEAD_FORMATS, ROUNDINGS } from "../model/inference.ts";
import { onDevice } from "../native/device.ts";
import type { AnswerSource } from "./chat/answer-source.ts";
import { Conversation } from "./chat/conversation.ts";
import { costText } from "./chat/cost-text.ts";
import { LineHistory } from "./chat/history.ts";
import { apiKeyOf, schemaOf } from "./chat/input-files.ts";
import { localSource } from "./chat/local-source.ts";
import { MESSAGE_BYTES_MAX, type MessageInput, pipedInput } from "./chat/message-input.ts";
import { checkPayFlags, openPayer, PAY_FLAGS, paySettings, type Question } from "./chat/paying.ts";
import { remoteSource } from "./chat/remote-source.ts";
import { type ChatSettings, SAMPLING_FLAGS } from "./chat/settings.ts";
import { answerDocument, printable, talk } from "./chat/talk.ts";
import { DEVICE_FLAG, deviceOf } from "./device-flag.ts";
import { type Context, defineCommand, type FlagValues } from "./frame/command.ts";
import { usageError } from "./frame/strict.ts";
import { readStdin, utf8 } from "./stdin.ts";

const FLAGS = {
  prompt: { type: "string", value: "TEXT", summary: "ask this once and end; - takes all of stdin" },
  complete: { type: "boolean", summary: "go on with the text instead of answering it" },
  system: { type: "string", value: "TEXT", summary: "put before the first question" },
  ...SAMPLING_FLAGS,
  schema: { type: "string", value: "FILE", summary: "a JSON schema that every answer follows" },
  stop: { type: "list", value: "TEXT", summary: "ends the answer" },
  rounding: { type: "choice", options: ROUNDINGS, default: "bitnet", summary: "of activations" },
  head: { type: "choice", options: HEAD_FORMATS, default: "file", summary: "its weights" },
  engine: { type: "choice", options: ENGINES, default: "magnet", summary: "what computes" },
  device: DEVICE_FLAG,
  threads: { type: "integer", min: 0, max: 64, default: 0, summary: "0 means all" },
  tokenizer: { type: "string", value: "FILE", summary: "a tokenizer.json (must be the model's)" },
  url: {
    type: "string",
    value: "URL",
    summary: "ask an OpenAI-compatible server; MODEL is its name there",
  },
  "api-key-file": { type: "string", value: "FILE", summary: "key for --url (or MAGNET_API_KEY)" },
  ...PAY_FLAGS,
  "no-history": { type: "boolean", summary: "do not keep the typed lines for the next chat" },
} as const;
type ChatFlags = FlagValues<typeof FLAGS>;

const settingsOf = (flags: ChatFlags): ChatSettings => ({
  temperature: flags.temperature,
  top_k: flags.top_k,
  top_p: flags.top_p,
  min_p: flags.min_p,
  repetition_penalty: flags.repetition_penalty,
  seed: flags.seed,
  max_tokens: flags.max_tokens,
  stop: flags.stop,
  rounding: flags.rounding,
  complete: flags.complete,
  ...(flags.schema === undefined ? {} : { schema: schemaOf(flags.schema) }),
});

/** Typed lines are remembered in the data folder. */
async function historyOf(context: Context, flags: ChatFlags): Promise<LineHistory | undefined> {
  if (flags.no_history) return undefined;
  const { data_dir } = (await context.config()).values.node;
  return new LineHistory(path.join(data_dir, "chat-history"), (text) => context.out.warn(text));
}

/** A terminal where both ends are one; else lines. */
async function inputOf(context: Context, flags: ChatFlags, asker: Asker): Promise<MessageInput> {
  const terminal = process.stdin.isTTY === true && context.out.options.terminal;
  if (!terminal) {
    if (process.stdin.isTTY) context.out.note("one question a line; /help, /quit");
    return pipedInput(context.signal);
  }
  const { Terminal } = await import("./chat/terminal.ts");
  const history = await historyOf(context, flags);
  context.out.note("Ctrl-C stops an answer, /help lists the commands, /quit ends");
  const input = new Terminal(history, (text) => context.out.note(text));
  asker.ask = (question) => input.ask(question);
  return input;
}

/** Where a person can be asked; set once there is such a place. */
interface Asker {
  ask: Question;
}

async function once(context: Context, conversation: Conversation, prompt: string): Promise<void> {
  const { out, signal } = context;
  const answer = await conversation.ask(prompt, signal, (piece) => out.text(printable(piece)));
  out.text("\n");
  if (answer.paid !== undefined) out.note(costText(answer.paid));
  if (out.json) out.result("chat", answerDocument(conversation, answer), "");
}

const noPrompt = () =>
  usageError(
    "MISSING_FLAG",
    "magnet chat --json needs a question",
    "write --prompt TEXT, or pipe questions, one a line",
  );

/** The model in this process, or the server's. */
async function sourceOf(
  context: Context,
  model: string | undefined,
  flags: ChatFlags,
  { settings, asker }: { settings: ChatSettings; asker: Asker },
): Promise<AnswerSource> {
  const { url, engine, threads, head, tokenizer } = flags;
  if (url !== undefined) {
    const api_key = apiKeyOf(flags.api_key_file);
    const server = { url, ...(api_key === undefined ? {} : { api_key }) };
    if (!flags.pay) return remoteSource(server, model, context.signal);
    const { values } = await context.config(paySettings(flags));
    const payer = await openPayer(context, values, () => asker.ask);
    return remoteSource(server, model, context.signal, payer);
  }
  if (model === undefined)
    throw usageError("MISSING_ARGUMENT", "magnet chat needs MODEL", "name a model, or --url URL");
  const given = tokenizer === undefined ? {} : { tokenizer };
  const { out } = context;
  return onDevice(
    deviceOf(out, flags),
    (line) => out.note(line),
    ({ device }) => localSource(model, settings, { engine, device, threads, head, ...given }),
  );
}

export const chat = defineCommand({
  summary: "Talks with a model",
  details:
    "MODEL is a checkpoint, a run folder, a Hugging Face folder or a .gguf file. While talking, /help lists\nthe commands; through a pipe every line is a turn, with --json every answer one line of JSON.",
  examples: [
    { command: "magnet chat model.gguf", does: "a conversation" },
    {
      command: 'magnet chat run/ --complete --prompt "Call me" --temperature 0',
      does: "go on with a text",
    },
    { command: "magnet chat model.gguf --prompt - < question.txt", does: "ask a file" },
    { command: "magnet chat --url http://127.0.0.1:8080", does: "talk with a server" },
    {
      command: "magnet chat --url https://ai.example.org --pay --max-per-session 0.05",
      does: "pay for its answers, with a limit",
    },
  ],
  args: { model: { value: "MODEL", summary: "what to talk with", optional: true } },
  flags: FLAGS,
  graceful: true,
  async run(context, { args, flags }) {
    const { out } = context;
    if (out.json && flags.prompt === undefined && process.stdin.isTTY === true) throw noPrompt();
    const prompt = flags.prompt === "-" ? await promptFromStdin() : flags.prompt;
    const settings = settingsOf(flags);
    checkPayFlags(flags);
    const asker: Asker = { ask: askerOf(context, prompt) };
    const source = await sourceOf(context, args.model, flags, { settings, asker });
    try {
      const conversation = new Conversation(source, settings);
      conversation.system = flags.system;
      for (const note of source.notes) out.note(note);
      if (prompt !== undefined) await once(context, conversation, prompt);
      else if (
        (await talk(context, conversation, await inputOf(context, flags, asker))) === 0 &&
        out.json
      )
        throw noPrompt();
    } finally {
      await source.close();
    }
    return undefined;
  },
});

/** A single question on a terminal; a conversation's input asks by itself. */
function askerOf({ out }: Context, prompt: string | undefined): Question {
  const terminal = process.stdin.isTTY === true && out.options.terminal;
  if (prompt === undefined || !terminal) return undefined;
  return async (question) => {
    const { askOnce } = await import("./chat/ask-once.ts");
    return askOnce(question);
  };
}

async function promptFromStdin(): Promise<string> {
  const bytes = await readStdin(MESSAGE_BYTES_MAX, "ask with less text");
  return utf8(bytes, "standard input");
}
