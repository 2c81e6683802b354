/**
 * Characters of JSON strings as bytes. UTF-8 is enforced byte by byte: no overlong form, no
 * surrogates, nothing above U+10FFFF. A surrogate's escape stands in a valid pair only.
 */
import type { ByteEdge, MaybeState, ProgramBuilder } from "./program.ts";

/** Code points low..high, both included. */
export type Range = readonly [low: number, high: number];

export const CODE_POINT_MAX = 0x10ffff;

/** Sorted, disjoint, without surrogates. */
export function normalRanges(ranges: readonly Range[]): Range[] {
  const sorted = [...ranges].sort((a, b) => a[0] - b[0]);
  const out: [number, number][] = [];
  for (const [low, high] of sorted) {
    const last = out.at(-1);
    if (last && low <= last[1] + 1) last[1] = Math.max(last[1], high);
    else out.push([low, high]);
  }
  return out.flatMap(([low, high]): Range[] => {
    const below: Range[] = low < 0xd800 ? [[low, Math.min(high, 0xd7ff)]] : [];
    const above: Range[] = high > 0xdfff ? [[Math.max(low, 0xe000), high]] : [];
    return [...below, ...above];
  });
}

/** What is in none of them. */
export function complement(ranges: readonly Range[]): Range[] {
  const out: Range[] = [];
  let next = 0;
  for (const [low, high] of normalRanges(ranges)) {
    if (low > next) out.push([next, low - 1]);
    next = high + 1;
  }
  if (next <= CODE_POINT_MAX) out.push([next, CODE_POINT_MAX]);
  return normalRanges(out);
}

/** First code point of each UTF-8 length, and one beyond. */
const LENGTHS = [0, 0x80, 0x800, 0x10000, CODE_POINT_MAX + 1];
const LEAD_MARKS = [0, 0, 0xc0, 0xe0, 0xf0];

/** Edges that read one of the characters (normal ranges) as UTF-8. */
function utf8Edges(
  builder: ProgramBuilder,
  ranges: readonly Range[],
  next: MaybeState,
): ByteEdge[] {
  const edges: ByteEdge[] = [];
  for (const [low, high] of ranges) {
    for (let bytes = 1; bytes <= 4; bytes++) {
      const from = Math.max(low, LENGTHS[bytes - 1]!);
      const to = Math.min(high, LENGTHS[bytes]! - 1);
      if (from <= to)
        edges.push(...lengthEdges(builder, from, to, bytes, LEAD_MARKS[bytes]!, next));
    }
  }
  return edges;
}

/** Of `count` bytes in all, the first with `mark`: 6 bits of the code point a byte from behind. */
function lengthEdges(
  builder: ProgramBuilder,
  low: number,
  high: number,
  count: number,
  mark: number,
  next: MaybeState,
): ByteEdge[] {
  if (count === 1) return [{ low: mark | low, high: mark | high, target: next }];
  const shift = 6 * (count - 1);
  const rest = 2 ** shift;
  const edges: ByteEdge[] = [];
  const push = (first: number, last: number, from: number, to: number) => {
    const target = builder.bytes(lengthEdges(builder, from, to, count - 1, 0x80, next));
    edges.push({ low: mark | first, high: mark | last, target });
  };
  let first = Math.floor(low / rest);
  let last = Math.floor(high / rest);
  if (first === last) {
    push(first, first, low % rest, high % rest);
    return edges;
  }
  if (low % rest !== 0) {
    push(first, first, low % rest, rest - 1);
    first++;
  }
  const cut = high % rest !== rest - 1;
  if (cut) last--;
  if (first <= last) push(first, last, 0, rest - 1);
  if (cut) push(last + 1, last + 1, 0, high % rest);
  return edges;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** What JSON.stringify writes for characters that must be escaped. */
const SHORT_ESCAPES = new Map([
  [QUOTE, '"'],
  [BACKSLASH, "\\"],
  [0x08, "b"],
  [0x09, "t"],
  [0x0a, "n"],
  [0x0c, "f"],
  [0x0d, "r"],
]);
const RAW: readonly Range[] = complement([
  [0, 0x1f],
  [QUOTE, QUOTE],
  [BACKSLASH, BACKSLASH],
]);

function intersect(a: readonly Range[], b: readonly Range[]): Range[] {
  return complement([...complement(a), ...complement(b)]);
}

interface JsonCharacters {
  /** Written as they are. */
  raw: readonly Range[];
  /** What stands after the backslash of the others. */
  escapes: readonly string[];
}
const characters_of = new WeakMap<readonly Range[], JsonCharacters>();

/** A pattern's states share their ranges, so that each is worked out once. */
function jsonCharacters(ranges: readonly Range[]): JsonCharacters {
  const known = characters_of.get(ranges);
  if (known) return known;
  const has = (code: number) => ranges.some(([low, high]) => low <= code && code <= high);
  const escapes: string[] = [];
  for (let code = 0; code <= BACKSLASH; code++) {
    const must = code < 0x20 || code === QUOTE || code === BACKSLASH;
    if (must && has(code))
      escapes.push(SHORT_ESCAPES.get(code) ?? `u${code.toString(16).padStart(4, "0")}`);
  }
  const made = { raw: intersect(ranges, RAW), escapes };
  characters_of.set(ranges, made);
  return made;
}

/** One of the characters within a JSON string, as JSON.stringify writes it. */
export function charEdges(
  builder: ProgramBuilder,
  ranges: readonly Range[],
  next: MaybeState,
): ByteEdge[] {
  const { raw, escapes } = jsonCharacters(ranges);
  const edges = utf8Edges(builder, raw, next);
  if (escapes.length === 0) return edges;
  const target = builder.texts(escapes, next);
  return [...edges, { low: BACKSLASH, high: BACKSLASH, target }];
}

const byte = (text: string): number => text.charCodeAt(0);
/** Edges for the bytes of a text of single characters and ranges: "0-9a-f". */
export function asciiEdges(set: string, target: MaybeState): ByteEdge[] {
  const edges: ByteEdge[] = [];
  for (let i = 0; i < set.length; i++) {
    const range = set[i + 1] === "-" && i + 2 < set.length;
    const [low, high] = [byte(set[i]!), byte(set[range ? i + 2 : i]!)];
    edges.push({ low, high, target });
    if (range) i += 2;
  }
  return edges;
}

/** Any character within a JSON string, with every escape that JSON knows. */
export function anyChar(builder: ProgramBuilder, next: MaybeState): MaybeState {
  const hex = (count: number, then: MaybeState): MaybeState => {
    let state = then;
    for (let i = 0; i < count; i++) state = builder.bytes(asciiEdges("0-9a-fA-F", state));
    return state;
  };
  const low_half = builder.bytes(
    asciiEdges("dD", builder.bytes(asciiEdges("c-fC-F", hex(2, next)))),
  );
  const pair = hex(2, builder.text("\\u", low_half));
  const unicode = builder.bytes([
    ...asciiEdges("0-9a-cefA-CEF", hex(3, next)),
    ...asciiEdges(
      "dD",
      builder.bytes([...asciiEdges("0-7", hex(2, next)), ...asciiEdges("89abAB", pair)]),
    ),
  ]);
  const escaped = builder.bytes([
    ...asciiEdges('"\\/bfnrt', next),
    { low: byte("u"), high: byte("u"), target: unicode },
  ]);
  const edges = utf8Edges(builder, RAW, next);
  return builder.bytes([...edges, { low: BACKSLASH, high: BACKSLASH, target: escaped }]);
}
