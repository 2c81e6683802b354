/** The commands of a chat: what people type after a slash. Each one says on stderr what it did. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { z } from "zod";
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import { readSmallText, requireReplaceable } from "../../core/read-file.ts";
import type { Conversation } from "./conversation.ts";
import { changedSettings, settingLines } from "./settings.ts";

/** What the program does after a command. */
export type SlashResult = { next: "go-on" | "quit" | "regenerate"; say?: string };

interface SlashCommand {
  usage: string;
  does: string;
  run(conversation: Conversation, text: string): SlashResult;
}

const goOn = (say: string): SlashResult => ({ next: "go-on", say });

/** A conversation longer than this fits no context. */
const FILE_BYTES_MAX = 16 << 20;
const MAGIC = '{"schema":"magnet.conversation/1"';
const saved = z.object({
  messages: z
    .array(z.object({ role: z.enum(["system", "user", "assistant"]), content: z.string() }))
    .max(100_000),
});

/** No shell stands between the line and the file: the home folder is written out here. */
function fileOf(text: string, command: string): string {
  if (text === "")
    throw new MagnetError("MISSING_FILE", `/${command} needs a file`, {
      hint: `write /${command} FILE`,
    });
  return text.startsWith("~/") ? path.join(os.homedir(), text.slice(2)) : text;
}

function save(conversation: Conversation, text: string): SlashResult {
  const file = fileOf(text, "save");
  const messages = conversation.messages();
  const document = { schema: "magnet.conversation/1", model: conversation.source.name, messages };
  requireReplaceable(file, MAGIC);
  const temporary = `${file}.${process.pid}.tmp`;
  try {
    fs.writeFileSync(temporary, `${JSON.stringify(document)}\n`, { mode: 0o600 });
    fs.renameSync(temporary, file);
  } finally {
    fs.rmSync(temporary, { force: true });
  }
  return goOn(`${messages.length} messages are in ${file}`);
}

function load(conversation: Conversation, text: string): SlashResult {
  const file = fileOf(text, "load");
  const content = readSmallText(file, FILE_BYTES_MAX);
  const refuse = () =>
    new MagnetError("BAD_CONVERSATION", `${file} holds no conversation`, {
      hint: "/save writes one; or any JSON object with messages of role and content",
    });
  let value: unknown;
  try {
    value = JSON.parse(content);
  } catch {
    throw refuse();
  }
  const parsed = saved.safeParse(value);
  if (!parsed.success) throw refuse();
  conversation.restore(parsed.data.messages);
  return goOn(`${parsed.data.messages.length} messages of ${file}: the conversation goes on`);
}

function set(conversation: Conversation, text: string): SlashResult {
  const [name, value, ...more] = text.split(/\s+/).filter((word) => word !== "");
  if (name === undefined) return goOn(settingLines(conversation.settings));
  if (value === undefined || more.length > 0)
    throw new MagnetError("BAD_SETTING", "/set takes a name and a value", {
      hint: "for example /set temperature 0.5; /set alone lists them",
    });
  conversation.settings = changedSettings(conversation.settings, name, value);
  return goOn(`${name} is ${value}`);
}

function system(conversation: Conversation, text: string): SlashResult {
  if (text !== "") {
    conversation.system = text;
    return goOn("this is said before the first question from now on");
  }
  return goOn(conversation.system ?? "nothing is said before the first question");
}

function stats(conversation: Conversation): SlashResult {
  const { last, source } = conversation;
  const used = conversation.contextUsed();
  const context = source.context === null ? "" : ` of ${source.context}`;
  const lines = [
    last === undefined
      ? "answer    none yet"
      : `answer    ${last.completion_tokens ?? "?"} tokens, ${last.tokens_per_s} tokens/s, ` +
        `first token after ${last.first_token_ms} ms (prompt: ${last.prompt_tokens ?? "?"} tokens)`,
    used === null ? "context   only the server knows" : `context   ${used}${context} tokens used`,
  ];
  return goOn(lines.join("\n"));
}

const COMMANDS: Record<string, SlashCommand> = {
  help: { usage: "/help", does: "lists the commands", run: () => goOn(HELP) },
  clear: {
    usage: "/clear",
    does: "forgets the conversation",
    run(conversation) {
      conversation.clear();
      return goOn("a new conversation");
    },
  },
  system: { usage: "/system TEXT", does: "is said before the first question", run: system },
  set: { usage: "/set NAME VALUE", does: "changes a setting; /set alone lists them", run: set },
  regenerate: {
    usage: "/regenerate",
    does: "answers the last question anew",
    run: () => ({ next: "regenerate" }),
  },
  save: { usage: "/save FILE", does: "writes the conversation", run: save },
  load: { usage: "/load FILE", does: "goes on with a saved one", run: load },
  stats: { usage: "/stats", does: "speed of the last answer, context used", run: stats },
  quit: {
    usage: "/quit",
    does: "ends; so do Ctrl-D and Ctrl-C twice",
    run: () => ({ next: "quit" }),
  },
};
const HELP = [
  ...Object.values(COMMANDS).map(({ usage, does }) => `${usage.padEnd(16)} ${does}`),
  'Ctrl-C stops an answer. A text of several lines stands between two """, or is pasted, or has',
  "a backslash at the end of each line but the last. A question that begins with / needs a space.",
].join("\n");

/** Runs the line `/name text`. An unknown name and a failing command are said, never thrown. */
export function runSlash(conversation: Conversation, line: string): SlashResult {
  const [, name = "", text = ""] = /^\/(\S*)\s*([\s\S]*)$/.exec(line) ?? [];
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) return goOn(`there is no command /${name}; /help lists them`);
  try {
    return command.run(conversation, text.trim());
  } catch (error) {
    const { code, message, hint } = toMagnetError(error);
    return goOn(`${code}: ${message}${hint === undefined ? "" : `. Hint: ${hint}`}`);
  }
}
