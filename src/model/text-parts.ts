/**
 * Cuts texts into parts, the unit that is tokenised and held out. A text file of up to 32 KiB is
 * one part. A larger one is cut at the first blank line behind every 16 KiB (or, without one, at a
 * line end, space or character before 64 KiB), so that one book can be trained on and tested on. A
 * JSONL line is one part. Everything must be UTF-8 without NUL. Works on pieces as they come, with
 * bounded memory.
 */
import { isUtf8 } from "node:buffer";
import { MagnetError } from "../core/errors.ts";

export interface TextPart {
  /** Valid UTF-8, not empty. */
  bytes: Uint8Array;
  /** The part begins (ends) its document: a begin (end) token belongs there. */
  starts: boolean;
  ends: boolean;
}
/** Takes the pieces of one file, gives its parts. */
export interface Splitter {
  push(piece: Uint8Array): TextPart[];
  finish(): TextPart[];
}

/** A text file up to this size is one document. */
export const WHOLE_BYTES_MAX = 32 * 1024;
/** Larger ones are cut behind this many bytes. */
export const PART_BYTES = 16 * 1024;
/** A text without blank lines is cut here at the latest. */
const PART_BYTES_MAX = 64 * 1024;
/** A longer line of JSONL is not a document. */
export const LINE_BYTES_MAX = 64 * 1024 * 1024;

function notText(name: string, offset: number, what: string): MagnetError {
  return new MagnetError("DATA_NOT_TEXT", `${name}: ${what} at byte ${offset}`, {
    hint: "give UTF-8 text; convert other encodings with: iconv -f FROM -t UTF-8",
  });
}

/** Offset of the first character that is not valid UTF-8. Only for the error message. */
function firstInvalid(bytes: Uint8Array): number {
  /**
   * Length of the valid text in bytes[0, end), not counting a character cut off by `end`; or -1.
   */
  const validLength = (end: number) => {
    for (let back = 0; back < 4 && back <= end; back++)
      if (isUtf8(bytes.subarray(0, end - back))) return end - back;
    return -1;
  };
  let low = 0;
  let high = bytes.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (validLength(middle) >= 0) low = middle;
    else high = middle - 1;
  }
  return validLength(low);
}

function checkText(name: string, bytes: Uint8Array, offset: number): void {
  if (offset === 0 && bytes.length >= 2) {
    const mark = (bytes[0]! << 8) | bytes[1]!;
    if (mark === 0xfffe || mark === 0xfeff) throw notText(name, 0, "UTF-16 text");
  }
  const nul = bytes.indexOf(0);
  if (nul >= 0) throw notText(name, offset + nul, "a NUL, so this is a binary file,");
  if (!isUtf8(bytes)) throw notText(name, offset + firstInvalid(bytes), "invalid UTF-8");
}

const isBlank = (bytes: Uint8Array) => !bytes.some((b) => b > 32);

/** Where to cut `bytes` at or behind `from`: behind the first blank line, or -1. */
function blankLineEnd(bytes: Buffer, from: number): number {
  const ends = ["\n\n", "\n\r\n"]
    .map((line) => [bytes.indexOf(line, Math.max(0, from - 1)), line.length] as const)
    .filter(([at]) => at >= 0)
    .map(([at, length]) => at + length);
  return ends.length === 0 ? -1 : Math.min(...ends);
}

/**
 * Where to cut text without a blank line: behind the last line end, space or character before
 * `limit`.
 */
function forcedCut(bytes: Buffer, limit: number): number {
  for (const separator of ["\n", " "]) {
    const at = bytes.lastIndexOf(separator, limit - 1);
    if (at >= limit / 2) return at + 1;
  }
  let cut = limit;
  while (cut > limit - 4 && (bytes[cut]! & 0xc0) === 0x80) cut--;
  return cut;
}

/**
 * Splitter of a text file. `part_bytes` Infinity keeps it whole. Throws DATA_NOT_TEXT with the
 * place.
 */
export function textSplitter(name: string, part_bytes: number): Splitter {
  let pending = Buffer.alloc(0);
  let offset = 0;
  let emitted = 0;
  const emit = (length: number, ends: boolean): TextPart[] => {
    const bytes = new Uint8Array(pending.subarray(0, length));
    checkText(name, bytes, offset);
    const hasMark = offset === 0 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
    pending = pending.subarray(length);
    offset += length;
    const content = hasMark ? bytes.subarray(3) : bytes;
    if (isBlank(content) && (emitted === 0 || content.length === 0)) return [];
    return [{ bytes: content, starts: emitted++ === 0, ends }];
  };
  return {
    push(piece) {
      pending = Buffer.concat([pending, piece]);
      const parts: TextPart[] = [];
      while (pending.length > part_bytes) {
        const limit = Math.max(PART_BYTES_MAX, part_bytes);
        const blank = blankLineEnd(pending.subarray(0, limit), part_bytes);
        if (blank < 0 && pending.length <= limit) break;
        const cut = blank >= 0 ? blank : forcedCut(pending, limit);
        if (cut >= pending.length) break; // the end of a document is known only when more follows
        parts.push(...emit(cut, false));
      }
      return parts;
    },
    finish: () => (pending.length === 0 ? [] : emit(pending.length, true)),
  };
}

function documentOfLine(name: string, number: number, line: Uint8Array): string {
  const at = `${name}, line ${number}`;
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(line));
  } catch {
    throw new MagnetError("DATA_BAD_JSON", `${at}: not JSON`, {
      hint: 'each line must be one JSON object: {"text": "..."}',
    });
  }
  const text = (value as { text?: unknown } | null)?.text;
  if (typeof text === "string") return text;
  throw new MagnetError("DATA_BAD_JSON", `${at}: no string field "text"`, {
    hint: 'each line must be one JSON object: {"text": "..."}',
  });
}

/** Splitter of JSONL: each line with a text is a document. Throws DATA_BAD_JSON, DATA_NOT_TEXT. */
export function jsonlSplitter(name: string): Splitter {
  let pieces: Uint8Array[] = [];
  let pending_bytes = 0;
  let offset = 0;
  let number = 0;
  const take = (piece: Uint8Array): void => {
    pieces.push(piece);
    pending_bytes += piece.length;
    if (pending_bytes > LINE_BYTES_MAX)
      throw new MagnetError(
        "DATA_BAD_JSON",
        `${name}, line ${number + 1}: longer than ${LINE_BYTES_MAX} bytes`,
        { hint: "put each document on a line of its own, or give it as .txt" },
      );
  };
  const line = (): TextPart[] => {
    const bytes = pieces.length === 1 ? pieces[0]! : new Uint8Array(Buffer.concat(pieces));
    number++;
    checkText(name, bytes, offset);
    offset += bytes.length + 1;
    pieces = [];
    pending_bytes = 0;
    if (isBlank(bytes)) return [];
    const text = new TextEncoder().encode(documentOfLine(name, number, bytes));
    return isBlank(text) ? [] : [{ bytes: text, starts: true, ends: true }];
  };
  return {
    push(piece) {
      const parts: TextPart[] = [];
      let start = 0;
      for (let end = piece.indexOf(10); end >= 0; end = piece.indexOf(10, start)) {
        take(piece.slice(start, end));
        parts.push(...line());
        start = end + 1;
      }
      if (start < piece.length) take(piece.slice(start));
      return parts;
    },
    finish: () => (pending_bytes === 0 ? [] : line()),
  };
}

/**
 * Size of the parts of a text file: whole up to 32 KiB, unless it is all there is; then it is cut
 * into about 64, so that some can be held out.
 */
export function partBytesFor(size_bytes: number, only_file: boolean): number {
  if (only_file) return Math.min(PART_BYTES, Math.max(512, Math.floor(size_bytes / 64)));
  return size_bytes <= WHOLE_BYTES_MAX ? Number.POSITIVE_INFINITY : PART_BYTES;
}
