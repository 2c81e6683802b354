/**
 * Strict parsing of the command line: citty splits it, and what citty would let pass is refused
 * here: an unknown flag, a surplus or missing argument and a value out of range are usage errors
 * (exit 2) that name the nearest valid spelling. citty's own dispatcher (runMain) is not used: it
 * drops flags that stand before the command, knows no command with both words and subcommands, and
 * ends the process by itself.
 */
import { parseArgs } from "citty";
import { didYouMean } from "../../core/did-you-mean.ts";
import type { MagnetError } from "../../core/errors.ts";
import {
  type Arguments,
  type Command,
  cittyArgs,
  type Entry,
  type Flags,
  type GlobalFlags,
  type Group,
} from "./command.ts";
import { checkFlags, placeholderOf, typedValue, usageError } from "./strict.ts";

/** Accepted by every command, anywhere on the line. */
export const GLOBAL_FLAGS = {
  json: { type: "boolean", summary: "one JSON document (or NDJSON) on stdout" },
  quiet: { type: "boolean", summary: "no progress and no notes on stderr" },
  verbose: { type: "boolean", summary: "debug log and stack traces" },
  "no-color": { type: "boolean", summary: "no colour (NO_COLOR does the same)" },
  config: { type: "string", value: "PATH", summary: "configuration file" },
  "data-dir": { type: "string", value: "PATH", summary: "folder of this node's data" },
  yes: { type: "boolean", summary: "answer yes to every question" },
  help: { type: "boolean", short: "h", summary: "show help and exit" },
} as const satisfies Flags;

/** The command a line names, the words up to it, and everything else in order. */
export interface Resolved {
  path: string[];
  target: Command | Group;
  rest: string[];
}

/** Walks down the tree by the words that are not flags. Throws UNKNOWN_COMMAND. */
export async function resolveCommand(root: Group, argv: string[]): Promise<Resolved> {
  const rest: string[] = [];
  const path: string[] = [];
  let target: Command | Group = root;
  let i = 0;
  for (; i < argv.length && target.kind === "group"; i++) {
    const word = argv[i]!;
    if (word === "--") break;
    if (word.startsWith("-")) {
      rest.push(word);
      const flag = (GLOBAL_FLAGS as Flags)[word.slice(2)];
      if (flag?.type === "string" && i + 1 < argv.length) rest.push(argv[++i]!);
      continue;
    }
    const entry: Entry | undefined = Object.hasOwn(target.subCommands, word)
      ? target.subCommands[word]
      : undefined;
    if (!entry && target.otherwise) break;
    if (!entry) throw unknownCommand(path, word, target);
    path.push(word);
    target = await entry();
  }
  rest.push(...argv.slice(i));
  const helpOnly = rest.every((word) => word.startsWith("-")) && rest.some(isHelp);
  if (target.kind === "group" && target.otherwise && !helpOnly) target = target.otherwise;
  return { path, target, rest };
}

const isHelp = (word: string) => word === "--help" || word === "-h";

function unknownCommand(path: string[], word: string, group: Group): MagnetError {
  const prefix = ["magnet", ...path].join(" ");
  const candidates = Object.keys(group.subCommands);
  return usageError(
    "UNKNOWN_COMMAND",
    `${prefix} has no command "${word}"`,
    didYouMean(word, candidates, `${prefix} --help lists the commands`),
  );
}

type Values = Record<string, string | string[] | number | boolean | undefined>;
export interface Parsed {
  args: Record<string, string | string[] | undefined>;
  flags: Values;
  global: GlobalFlags;
  help: boolean;
}

const snake = (name: string) => name.replaceAll("-", "_");

/** Splits `rest` by the declared flags; `help` skips the checks for what is missing. */
export function parseCommandLine(
  name: string,
  rest: string[],
  declared: { args: Arguments; flags: Flags },
): Parsed {
  const flags: Flags = { ...declared.flags, ...GLOBAL_FLAGS };
  const lists = checkFlags(name, rest, flags);
  const parsed = parseArgs(rest, cittyArgs(flags));
  const values: Values = {};
  for (const [key, flag] of Object.entries(flags)) {
    const value = parsed[key];
    if (flag.type === "list") values[snake(key)] = lists.get(key) ?? [];
    else if (key.startsWith("no-")) values[snake(key)] = parsed[key.slice(3)] === false;
    else if (flag.type === "boolean") values[snake(key)] = value === true;
    else if (typeof value === "string") values[snake(key)] = typedValue(flag, value);
  }
  const help = values.help === true;
  const global = takeGlobal(values);
  fillDefaults(name, values, declared.flags, help);
  const args = help ? {} : takeArguments(name, parsed._, declared.args);
  return { args, flags: values, global, help };
}

function takeGlobal(values: Values): GlobalFlags {
  const global: GlobalFlags = {
    json: values.json === true,
    quiet: values.quiet === true,
    verbose: values.verbose === true,
    no_color: values.no_color === true,
    yes: values.yes === true,
    config: values.config as string | undefined,
    data_dir: values.data_dir as string | undefined,
  };
  for (const key of Object.keys(GLOBAL_FLAGS)) delete values[snake(key)];
  return global;
}

function fillDefaults(name: string, values: Values, flags: Flags, help: boolean): void {
  for (const [key, flag] of Object.entries(flags)) {
    const at = snake(key);
    if (values[at] !== undefined) continue;
    if ("required" in flag && flag.required && !help)
      throw usageError(
        "MISSING_FLAG",
        `${name} needs --${key}`,
        `write --${key} ${placeholderOf(flag)}`,
      );
    if ("default" in flag) values[at] = flag.default;
  }
}

function takeArguments(name: string, words: string[], declared: Arguments) {
  const args: Record<string, string | string[] | undefined> = {};
  let next = 0;
  for (const [key, argument] of Object.entries(declared)) {
    if (argument.many) {
      args[key] = words.slice(next);
      if (next >= words.length && !argument.optional) throw missingArgument(name, argument.value);
      next = words.length;
      continue;
    }
    if (next >= words.length && !argument.optional) throw missingArgument(name, argument.value);
    args[key] = words[next++];
  }
  if (next < words.length)
    throw usageError(
      "SURPLUS_ARGUMENT",
      `${name} does not take "${words[next]}"`,
      `${name} --help shows its arguments`,
    );
  return args;
}

const missingArgument = (name: string, value: string) =>
  usageError("MISSING_ARGUMENT", `${name} needs ${value}`, `${name} --help shows its arguments`);
