/**
 * The checks of single flags that stand above citty, each refused with a code and the nearest
 * spelling.
 */
import { parseArgs } from "node:util";
import { didYouMean } from "../../core/did-you-mean.ts";
import { MagnetError } from "../../core/errors.ts";
import type { Flag, Flags } from "./command.ts";

/** A mistake on the command line: exit 2. */
export const usageError = (code: string, message: string, hint: string): MagnetError =>
  new MagnetError(code, message, { hint, exit: "usage" });

/**
 * What citty lets pass: unknown flags, flags given twice (it keeps the last), missing or
 * superfluous values, values that do not fit. Returns all values of the flags that may be repeated.
 */
export function checkFlags(name: string, rest: string[], flags: Flags): Map<string, string[]> {
  const options = Object.entries(flags).map(([key, { type, short }]) => [
    key,
    { type: type === "boolean" ? type : "string", ...(short ? { short } : {}) },
  ]);
  const { tokens } = parseArgs({
    args: rest,
    options: Object.fromEntries(options),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const given = new Map<string, string[]>();
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const flag = Object.hasOwn(flags, token.name) ? flags[token.name] : undefined;
    if (!flag) throw unknownFlag(name, token.rawName, flags);
    const text = checkValue(token.rawName, flag, token.value, token.inlineValue === true);
    const texts = given.get(token.name) ?? [];
    if (texts.length > 0 && flag.type !== "boolean" && flag.type !== "list")
      throw usageError("FLAG_TWICE", `--${token.name} is given twice`, "give it once");
    given.set(token.name, [...texts, text]);
  }
  return given;
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

/** Checks one value against its flag; throws MISSING_VALUE or BAD_VALUE. */
function checkValue(
  rawName: string,
  flag: Flag,
  text: string | undefined,
  inline: boolean,
): string {
  if (flag.type === "boolean") {
    if (inline)
      throw usageError("BAD_VALUE", `${rawName} takes no value`, `write ${rawName} alone`);
    return "";
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
  if (flag.type === "integer" || flag.type === "number") checkNumber(rawName, flag, text);
  return text;
}

/** The value in the flag's type; a text that is no number becomes NaN. */
export function typedValue(flag: Flag, text: string): string | number {
  if (flag.type !== "integer" && flag.type !== "number") return text;
  const isNumber = /^[+-]?(\d[\d_]*\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text);
  return isNumber ? Number(text.replaceAll("_", "")) : Number.NaN;
}

function checkNumber(rawName: string, flag: Flag & { min?: number; max?: number }, text: string) {
  const value = typedValue(flag, text) as number;
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
}

/** What the help shows for a value where the flag names none. */
export function placeholderOf(flag: Flag): string {
  if (flag.value) return flag.value;
  if (flag.type === "choice") return flag.options.join("|");
  return flag.type === "integer" || flag.type === "number" ? "N" : "TEXT";
}
