/**
 * Cuts JSONL into parts: each line is a document, the string in one of its fields. A line of up to
 * 1 MiB is one part; a longer one is never held, its text is cut as that of a large text file
 * (long-json-line.ts). Errors name the line.
 */
import { MagnetError } from "../core/errors.ts";
import { LineProblem, LongJsonLine } from "./long-json-line.ts";
import {
  checkText,
  isBlank,
  PART_BYTES,
  type Splitter,
  type TextPart,
  textChecker,
  textSplitter,
} from "./text-parts.ts";

/** The field that holds the text, unless another is named. */
export const TEXT_FIELD = "text";
/** A line up to this size is parsed as a whole. */
export const WHOLE_LINE_BYTES_MAX = 1024 * 1024;

function documentOfLine(line: Uint8Array, field: string): string {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(line));
  } catch {
    throw new LineProblem("not JSON");
  }
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  const text =
    isObject && Object.hasOwn(value as object, field) ? Reflect.get(value as object, field) : null;
  if (typeof text === "string") return text;
  throw new LineProblem(`no string field "${field}"`);
}

/** The line being read, where it is longer than is held. */
interface LongLine {
  json: LongJsonLine;
  check: ReturnType<typeof textChecker>;
}

class JsonlSplitter implements Splitter {
  #pieces: Uint8Array[] = [];
  #pending_bytes = 0;
  #long: LongLine | null = null;
  /** Of the current line: its first byte in the file, and its number from 1. */
  #offset = 0;
  #number = 1;

  constructor(
    private readonly name: string,
    private readonly field: string,
  ) {}

  push(piece: Uint8Array): TextPart[] {
    const parts: TextPart[] = [];
    let start = 0;
    for (let end = piece.indexOf(10); end >= 0; end = piece.indexOf(10, start)) {
      parts.push(...this.#take(piece.slice(start, end)), ...this.#endLine());
      start = end + 1;
    }
    if (start < piece.length) parts.push(...this.#take(piece.slice(start)));
    return parts;
  }

  finish(): TextPart[] {
    return this.#pending_bytes === 0 ? [] : this.#endLine();
  }

  /** The next bytes of the current line. */
  #take(bytes: Uint8Array): TextPart[] {
    this.#pending_bytes += bytes.length;
    if (this.#long) return this.#feed(bytes);
    this.#pieces.push(bytes);
    if (this.#pending_bytes <= WHOLE_LINE_BYTES_MAX) return [];
    const splitter = textSplitter(`${this.name}, line ${this.#number}`, PART_BYTES, true);
    this.#long = {
      json: new LongJsonLine(this.field, splitter),
      check: textChecker(this.name, this.#offset),
    };
    return this.#pieces.splice(0).flatMap((piece) => this.#feed(piece));
  }

  #feed(bytes: Uint8Array): TextPart[] {
    const { json, check } = this.#long!;
    check.push(bytes);
    return this.#placed(() => json.push(bytes));
  }

  #endLine(): TextPart[] {
    const long = this.#long;
    if (long) long.check.finish();
    const parts = long ? this.#placed(() => long.json.finish()) : this.#wholeLine();
    this.#offset += this.#pending_bytes + 1;
    this.#number++;
    this.#pieces = [];
    this.#pending_bytes = 0;
    this.#long = null;
    return parts;
  }

  #wholeLine(): TextPart[] {
    const pieces = this.#pieces;
    const bytes = pieces.length === 1 ? pieces[0]! : new Uint8Array(Buffer.concat(pieces));
    checkText(this.name, bytes, this.#offset);
    if (isBlank(bytes)) return [];
    const text = new TextEncoder().encode(this.#placed(() => documentOfLine(bytes, this.field)));
    return isBlank(text) ? [] : [{ bytes: text, starts: true, ends: true }];
  }

  /** Gives a problem its place. */
  #placed<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof LineProblem)) throw error;
      throw new MagnetError("DATA_BAD_JSON", `${this.name}:${this.#number}: ${error.message}`, {
        hint: `each line must be one JSON object: {"${this.field}": "..."}; another field is named with --text-field`,
      });
    }
  }
}

/** Splitter of JSONL: each line with a text is a document. Throws DATA_BAD_JSON, DATA_NOT_TEXT. */
export const jsonlSplitter = (name: string, field: string = TEXT_FIELD): Splitter =>
  new JsonlSplitter(name, field);
