/**
 * The text that models are measured on: of every held-out document an excerpt, so that many documents
 * speak and a measurement is cheap. The bytes depend on the documents alone; every tokenizer and every
 * context is measured on the same ones.
 */
import { sha256 } from "../../core/bytes.ts";
import type { LanguageDocument } from "./documents.ts";

export interface Excerpt {
  readonly domain: number;
  readonly bytes: Uint8Array;
}

/** Shorter ones say little beside what it costs to begin them. */
const EXCERPT_BYTES_MIN = 512;
const SPACE = 32;

const isInsideCharacter = (byte: number | undefined) => ((byte ?? 0) & 0xc0) === 0x80;

/** The first place from `at` on that begins a word, or at least a character; `end` at the latest. */
function wordStart(bytes: Uint8Array, at: number, end: number): number {
  if (at === 0) return 0;
  const limit = Math.min(end, at + 64);
  for (let i = at; i < limit; i++) if (bytes[i]! <= SPACE) return i;
  let i = at;
  while (i < end && isInsideCharacter(bytes[i])) i++;
  return i;
}

/** `length` bytes or a little less of a document, from a place that its content decides. */
function excerptOf({ domain, bytes }: LanguageDocument, length: number): Excerpt {
  if (bytes.length <= length) return { domain, bytes };
  const digest = sha256(bytes);
  const draw = new DataView(digest.buffer, digest.byteOffset).getUint32(0);
  const place = draw % (bytes.length - length + 1);
  const start = wordStart(bytes, place, place + length);
  const end = wordStart(bytes, place + length, bytes.length);
  return { domain, bytes: bytes.subarray(start, end) };
}

/** One excerpt of each document, about `bytes` in all where the documents are long enough. */
export function excerptsOf(documents: readonly LanguageDocument[], bytes: number): Excerpt[] {
  const length = Math.max(EXCERPT_BYTES_MIN, Math.floor(bytes / Math.max(1, documents.length)));
  return documents.map((document) => excerptOf(document, length));
}
