/**
 * Cuts texts into parts, the unit that is tokenised and held out. A text file of up to 32 KiB is
 * one part. A larger one is cut at the first blank line behind every 16 KiB (or, without one, at a
 * line end, space or character before 64 KiB), so that one book can be trained on and tested on.
 * Everything must be UTF-8 without NUL. Works on pieces as they come, with bounded memory. JSONL:
 * see jsonl-parts.ts.
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

/**
 * Throws DATA_NOT_TEXT with the place; `offset` is that of bytes[0] in the file or text.
 */
export function checkText(name: string, bytes: Uint8Array, offset: number): void {
  if (offset === 0 && bytes.length >= 2) {
    const mark = (bytes[0]! << 8) | bytes[1]!;
    if (mark === 0xfffe || mark === 0xfeff) throw notText(name, 0, "UTF-16 text");
  }
  const nul = bytes.indexOf(0);
  if (nul >= 0) throw notText(name, offset + nul, "a NUL, so this is a binary file,");
  if (!isUtf8(bytes)) throw notText(name, offset + firstInvalid(bytes), "invalid UTF-8");
}

/** Only spaces, line ends and control characters. */
export const isBlank = (bytes: Uint8Array) => !bytes.some((b) => b > 32);

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

/** A byte-order mark in UTF-8. */
const startsWithMark = (bytes: Uint8Array) =>
  bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;

/** Bytes at the end of valid text that begin a character without completing it: 0 to 3. */
function cutCharacter(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back]!;
    if ((byte & 0xc0) === 0x80) continue; // inside a character: its first byte is further back
    const needed = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return needed > back ? back : 0;
  }
  return 0;
}

/** `checkText` for text that comes in pieces; `finish` refuses a character without its end. */
export function textChecker(name: string, offset: number) {
  let pending = Buffer.alloc(0);
  let done = offset;
  return {
    push(piece: Uint8Array): void {
      const bytes = pending.length === 0 ? Buffer.from(piece) : Buffer.concat([pending, piece]);
      const whole = bytes.subarray(0, bytes.length - cutCharacter(bytes));
      checkText(name, whole, done);
      done += whole.length;
      pending = bytes.subarray(whole.length);
    },
    finish(): void {
      checkText(name, pending, done);
    },
  };
}

/**
 * Splitter of a text file. `part_bytes` Infinity keeps it whole. `checked` text is passed on as it
 * is: no byte-order mark is taken off. Throws DATA_NOT_TEXT with the place.
 */
export function textSplitter(name: string, part_bytes: number, checked = false): Splitter {
  let pending = Buffer.alloc(0);
  let offset = 0;
  let emitted = 0;
  const emit = (length: number, ends: boolean): TextPart[] => {
    const bytes = new Uint8Array(pending.subarray(0, length));
    if (!checked) checkText(name, bytes, offset);
    const hasMark = !checked && offset === 0 && startsWithMark(bytes);
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

/**
 * Size of the parts of a text file: whole up to 32 KiB, unless it is all there is; then it is cut
 * into about 64, so that some can be held out. `packed` sizes are of the compressed file; a text is
 * rarely packed to less than a quarter.
 */
export function partBytesFor(size_bytes: number, only_file: boolean, packed = false): number {
  const text_bytes = packed ? 4 * size_bytes : size_bytes;
  if (only_file) return Math.min(PART_BYTES, Math.max(512, Math.floor(text_bytes / 64)));
  return text_bytes <= WHOLE_BYTES_MAX ? Number.POSITIVE_INFINITY : PART_BYTES;
}
