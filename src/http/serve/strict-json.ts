/**
 * JSON from strangers: the text is scanned once before it is parsed, so that what JSON.parse lets
 * pass in silence is refused with its place: too deep, too many values, a name twice in an object
 * (two readers could see two requests), numbers that are no finite number, halves of surrogate
 * pairs, and the name that reaches into prototypes.
 */
import { badRequest } from "./api-error.ts";
import { JSON_DEPTH_MAX, JSON_NAMES_MAX, JSON_VALUES_MAX } from "./limits.ts";

const fail = (message: string): never => {
  throw badRequest("invalid_json", message);
};

/** An own property of this name changes the prototype of whatever copies it. */
const FORBIDDEN = "__proto__";
/** Longest part of a hostile name that is shown. */
const SHOWN = 40;
const shown = (name: string): string => JSON.stringify(name.slice(0, SHOWN));

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;

/** Index after the string that begins at `start`. JSON.parse judges what is in it. */
function stringEnd(text: string, start: number): number {
  for (let from = start + 1; ; ) {
    const quote = text.indexOf('"', from);
    if (quote < 0) return fail("a string has no end");
    let backslashes = 0;
    while (text.charCodeAt(quote - 1 - backslashes) === BACKSLASH) backslashes++;
    if (backslashes % 2 === 0) return quote + 1;
    from = quote + 1;
  }
}

/** The name in quotes as it is read, whatever escapes it is written with. */
function nameOf(quoted: string): string {
  if (!quoted.includes("\\")) return quoted.slice(1, -1);
  try {
    return JSON.parse(quoted) as string;
  } catch {
    return fail("a name is no valid string");
  }
}

/** Depth, number of values, and names of every object, in one pass without recursion. */
function scan(text: string): void {
  /** Names of the open objects; null for an array. */
  const open: (Set<string> | null)[] = [];
  let values = 0;
  for (let at = 0; at < text.length; ) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      const end = stringEnd(text, at);
      let after = end;
      while (after < text.length && text.charCodeAt(after) <= 0x20) after++;
      const names = open.at(-1);
      if (names && text.charCodeAt(after) === COLON) checkName(names, text.slice(at, end));
      at = end;
      continue;
    }
    if (code === 0x7b || code === 0x5b) {
      open.push(code === 0x7b ? new Set() : null);
      if (open.length > JSON_DEPTH_MAX) fail(`the JSON is nested deeper than ${JSON_DEPTH_MAX}`);
    } else if (code === 0x7d || code === 0x5d) open.pop();
    else if (code === COMMA && ++values > JSON_VALUES_MAX)
      fail(`the JSON has more than ${JSON_VALUES_MAX} values`);
    at++;
  }
}

function checkName(names: Set<string>, quoted: string): void {
  const name = nameOf(quoted);
  if (name === FORBIDDEN) fail(`the name ${shown(name)} is not allowed`);
  if (names.has(name)) fail(`the name ${shown(name)} stands twice in one object`);
  if (names.size >= JSON_NAMES_MAX) fail(`an object has more than ${JSON_NAMES_MAX} names`);
  names.add(name);
}

/** Infinite numbers (1e999) and broken text in a parsed value. The depth is bounded by `scan`. */
function checkValue(value: unknown): void {
  if (typeof value === "number" && !Number.isFinite(value)) fail("a number is out of range");
  if (typeof value === "string" && !value.isWellFormed())
    fail("a text has half of a surrogate pair; send whole characters");
  if (typeof value !== "object" || value === null) return;
  if (Array.isArray(value)) for (let i = 0; i < value.length; i++) checkValue(value[i]);
  else for (const name in value) checkValue((value as Record<string, unknown>)[name]);
}

/** Parses a request body, which must be an object. Throws `invalid_json` (400). */
export function parseStrictJson(bytes: Uint8Array): Record<string, unknown> {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return fail("the body is not UTF-8");
  }
  if (text.trim() === "") fail("the body is empty; a JSON object is expected");
  scan(text);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return fail(`the body is not JSON: ${String((error as Error).message).slice(0, 200)}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return fail("the body must be a JSON object");
  checkValue(value);
  return value as Record<string, unknown>;
}
