/**
 * Cuts a text into stretches of a prompt and its continuation. Cuts lie before a space or line end,
 * or where a script has none between characters, so that a tokenizer makes of the two pieces what
 * it makes of the whole, and nothing about a cut tells true continuations from others.
 */
import { sha256 } from "../core/bytes.ts";
import { seededRandom } from "../core/random.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Of a prompt and of a response, in tokens or bytes; reached as closely as words allow. */
export interface PairLengths {
  prompt: number;
  response: number;
}
/** What lengths are counted with. */
export type TextUnits = Pick<Tokenizer, "encodeBytes" | "encodeBytesAsync" | "tokens">;
export interface TextCut {
  prompt: string;
  continuation: string;
}

/** A space is looked for this far behind a place; beyond, scripts without spaces are assumed. */
const WORD_BYTES_MAX = 24;
/** A longer text would hold up timers and sockets while it is tokenised. */
const LONG_TEXT_BYTES = 64 * 1024;

const isSpace = (byte: number | undefined) => byte === 32 || byte === 10 || byte === 9;

/** The first place at or behind `from` where text may be cut. */
export function cutPlace(bytes: Uint8Array, from: number): number {
  for (let at = from; at < Math.min(bytes.length, from + WORD_BYTES_MAX); at++)
    if (isSpace(bytes[at]) && !isSpace(bytes[at - 1])) return at;
  let at = from;
  while (at < bytes.length && (bytes[at]! & 0xc0) === 0x80) at++;
  return at;
}

/** Byte offset at which each unit (token or byte) of a text begins, and its end. */
async function unitOffsets(bytes: Uint8Array, tokenizer: TextUnits | undefined) {
  if (!tokenizer) return { count: bytes.length, at: (unit: number) => unit };
  const isLong = bytes.length > LONG_TEXT_BYTES;
  const ids = isLong ? await tokenizer.encodeBytesAsync(bytes) : tokenizer.encodeBytes(bytes);
  const tokens = tokenizer.tokens();
  const offsets = new Float64Array(ids.length + 1);
  for (const [i, id] of ids.entries()) offsets[i + 1] = offsets[i]! + tokens[id]!.length;
  return { count: ids.length, at: (unit: number) => offsets[unit]! };
}

/**
 * The stretches of a text, one behind the other from a place that the seed and the text give. None
 * where the text is too short.
 */
export async function cutText(
  bytes: Uint8Array,
  options: { lengths: PairLengths; tokenizer?: TextUnits | undefined; seed: bigint },
): Promise<TextCut[]> {
  const { lengths, tokenizer, seed } = options;
  const units = await unitOffsets(bytes, tokenizer);
  const length = lengths.prompt + lengths.response;
  const spare = units.count - length;
  if (spare < 0) return [];
  const digest = sha256(`${seed}\n`, bytes);
  const random = seededRandom(new DataView(digest.buffer, digest.byteOffset).getBigUint64(0));
  const decoder = new TextDecoder();
  const text = (from: number, to: number) => decoder.decode(bytes.subarray(from, to));
  const cuts: TextCut[] = [];
  const first = random.below(Math.min(spare, length) + 1);
  for (let unit = first; unit + length <= units.count; unit += length) {
    const places = [unit, unit + lengths.prompt, unit + length].map((u) =>
      u === 0 ? 0 : cutPlace(bytes, units.at(u)),
    ) as [number, number, number];
    const prompt = text(places[0], places[1]);
    const continuation = text(places[1], places[2]);
    if (prompt.trim() !== "" && continuation.trim() !== "") cuts.push({ prompt, continuation });
  }
  return cuts;
}
