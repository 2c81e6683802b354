/**
 * Strict parsing of the command line: an unknown flag, a surplus or missing argument and a value out of
 * range are usage errors (exit 2) that name the nearest valid spelling. Nothing is accepted silently.
 */
import { parseArgs } from "node:util";
import { didYouMean } from "../../core/did-you-mean.ts";
import { MagnetError } from "../../core/errors.ts";
import type { Arguments, Command, Entry, Flag, Flags, GlobalFlags, Group } from "./command.ts";

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

export const usageError = (code: string, message: string, hint: string): MagnetError =>
  new MagnetError(code, message, { hint, exit: "usage" });

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
    const entry: Entry | undefined = Object.hasOwn(target.commands, word)
      ? target.commands[word]
      : undefined;
    if (!entry && target.otherwise) break;
    if (!entry) throw unknownCommand(path, word, target);
    path.push(word);
    target = await entry.load();
  }
  rest.push(...argv.slice(i));
  const helpOnly = rest.every((word) => word.startsWith("-")) && rest.some(isHelp);
  if (target.kind === "group" && target.otherwise && !helpOnly) target = target.otherwise;
  return { path, target, rest };
}

const isHelp = (word: string) => word === "--help" || word === "-h";

function unknownCommand(path: string[], word: string, group: Group): MagnetError {
  const prefix = ["magnet", ...path].join(" ");
  const candidates = Object.keys(group.commands);
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
  const options = Object.fromEntries(
    Object.entries(flags).map(([key, flag]) => [
      key,
      {
        type: flag.type === "boolean" ? ("boolean" as const) : ("string" as const),
        multiple: true,
        ...(flag.short ? { short: flag.short } : {}),
      },
    ]),
  );
  const { tokens } = parseArgs({
    args: rest,
    options,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const values: Values = {};
  const words: string[] = [];
  for (const token of tokens) {
    if (token.kind === "positional") words.push(token.value);
    if (token.kind !== "option") continue;
    const flag = Object.hasOwn(flags, token.name) ? flags[token.name] : undefined;
    if (!flag) throw unknownFlag(name, token.rawName, flags);
    const value = flagValue(token.rawName, flag, token.value, token.inlineValue === true);
    addValue(values, token.name, flag, value);
  }
  const help = values.help === true;
  const global = takeGlobal(values);
  fillDefaults(name, values, declared.flags, help);
  const args = help ? {} : takeArguments(name, words, declared.args);
  return { args, flags: values, global, help };
}

function unknownFlag(name: string, rawName: string, flags: Flags): MagnetError {
  const candidates = Object.keys(flags).map((key) => `--${key}`);
  const typed = rawName.startsWith("--") ? rawName : `-${rawName}`;
  return usageError(
    "UNKNOWN_FLAG",
    `${name} has no flag ${rawName}`,
    didYouMean(typed, candidates, `${name} --help lists the flags`),
  );
}

function addValue(values: Values, key: string, flag: Flag, value: string | number | boolean) {
  const name = snake(key);
  if (flag.type === "list") {
    values[name] = [...((values[name] as string[] | undefined) ?? []), value as string];
    return;
  }
  if (values[name] !== undefined && flag.type !== "boolean")
    throw usageError("FLAG_TWICE", `--${key} is given twice`, "give it once");
  values[name] = value;
}

/** Checks one value against its flag; throws MISSING_VALUE or BAD_VALUE. */
function flagValue(
  rawName: string,
  flag: Flag,
  text: string | undefined,
  inline: boolean,
): string | number | boolean {
  if (flag.type === "boolean") {
    if (inline)
      throw usageError("BAD_VALUE", `${rawName} takes no value`, `write ${rawName} alone`);
    return true;
  }
  const placeholder = flag.value ?? placeholderOf(flag);
  if (text === undefined || (!inline && text.startsWith("--")))
    throw usageError(
      "MISSING_VALUE",
      `${rawName} needs a value`,
      `write ${rawName} ${placeholder}`,
    );
  if (text === "" || text.includes("\0"))
    throw usageError(
      "BAD_VALUE",
      `${rawName} got an empty value`,
      `write ${rawName} ${placeholder}`,
    );
  if (flag.type === "choice" && !flag.options.includes(text)) {
    const all = `one of ${flag.options.join(", ")}`;
    throw usageError(
      "BAD_VALUE",
      `${rawName} cannot be "${text}"`,
      didYouMean(text, flag.options, all),
    );
  }
  if (flag.type === "integer" || flag.type === "number") return numberValue(rawName, flag, text);
  return text;
}

function numberValue(rawName: string, flag: Flag & { min?: number; max?: number }, text: string) {
  const value = /^[+-]?(\d[\d_]*\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)
    ? Number(text.replaceAll("_", ""))
    : Number.NaN;
  const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY } = flag;
  const fits = flag.type === "integer" ? Number.isSafeInteger(value) : Number.isFinite(value);
  if (!(fits && value >= min && value <= max)) {
    const kind = flag.type === "integer" ? "a whole number" : "a number";
    const low = Number.isFinite(min) ? ` from ${min}` : "";
    const high = Number.isFinite(max) ? ` to ${max}` : low ? " up" : "";
    throw usageError(
      "BAD_VALUE",
      `${rawName} cannot be "${text}"`,
      `it takes ${kind}${low}${high}`,
    );
  }
  return value;
}

/** What the help shows for a value where the flag names none. */
export function placeholderOf(flag: Flag): string {
  if (flag.value) return flag.value;
  if (flag.type === "choice") return flag.options.join("|");
  return flag.type === "integer" || flag.type === "number" ? "N" : "TEXT";
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
    if (flag.type === "boolean") values[at] = false;
    else if (flag.type === "list") values[at] = [];
    else values[at] = flag.default;
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
