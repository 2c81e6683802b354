/**
 * MessagePack bodies from strangers. Every byte is walked once before anything is built: depth,
 * number of elements, string keys, no `__proto__`, no extension types, nothing cut off and nothing
 * left over. Only then msgpackr decodes, and the schema of the type (strict) decides. Nothing here
 * throws on bad input.
 */
import { Packr } from "msgpackr/pack";
import { DEPTH_MAX, ELEMENTS_MAX } from "./limits.ts";
import type { MessageSpec } from "./protocol.ts";

// `skipValues` leaves out undefined fields; the type declarations of msgpackr do not know it yet.
const packr = new Packr({
  useRecords: false,
  moreTypes: false,
  skipValues: [undefined],
} as ConstructorParameters<typeof Packr>[0]);

/** Plain data (objects, arrays, strings, numbers, booleans, null, bytes) as MessagePack. */
export const encodeBody = (body: unknown): Uint8Array => packr.pack(body);

/** A decoded body, or why the frame is dropped. */
export type Decoded = { ok: true; body: unknown } | { ok: false; reason: string };

/** Checks limit, structure and schema, in this order. `bytes` is exactly one body. */
export function decodeBody(spec: MessageSpec, bytes: Uint8Array): Decoded {
  if (bytes.length > spec.limit_bytes) return { ok: false, reason: "oversize" };
  const reason = structureError(bytes);
  if (reason !== undefined) return { ok: false, reason };
  let value: unknown;
  try {
    value = packr.unpack(bytes);
  } catch {
    return { ok: false, reason: "undecodable" };
  }
  const parsed = spec.schema.safeParse(value);
  return parsed.success ? { ok: true, body: parsed.data } : { ok: false, reason: "schema" };
}

const FORBIDDEN_KEYS = new Set(["__proto__", "constructor", "prototype"]);
const KEY_MAX = 64;

/** What one item announces: how long its head and payload are, and how many items it contains. */
interface Item {
  end: number;
  /** Contained items; a map of n entries has 2n. */
  children: number;
  is_map: boolean;
  /** Offset of the characters of a string, -1 for anything else. */
  text_at: number;
}

/**
 * Undefined if the bytes are exactly one acceptable value. Iterative: depth cannot exhaust a stack.
 */
export function structureError(bytes: Uint8Array): string | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  /** Items still to come on each open level, and whether the level is a map. */
  const open: { left: number; is_map: boolean; keys: Set<string> }[] = [];
  let at = 0;
  let elements = 0;
  do {
    const item = readItem(view, at);
    if (typeof item === "string") return item;
    if (item.end > bytes.length) return "truncated";
    if (++elements > ELEMENTS_MAX) return "too_many_elements";
    const level = open.at(-1);
    if (level?.is_map && level.left % 2 === 0) {
      const error = keyError(bytes, item, level.keys);
      if (error !== undefined) return error;
    }
    at = item.end;
    if (level) level.left--;
    // Each child takes a byte at least: a head cannot announce more than is there.
    if (item.children > bytes.length - at) return "truncated";
    if (item.children > 0) {
      if (open.length >= DEPTH_MAX) return "too_deep";
      open.push({ left: item.children, is_map: item.is_map, keys: new Set() });
    }
    while (open.length > 0 && open.at(-1)!.left === 0) open.pop();
  } while (open.length > 0);
  return at === bytes.length ? undefined : "trailing_bytes";
}

function keyError(bytes: Uint8Array, item: Item, seen: Set<string>): string | undefined {
  if (item.text_at < 0) return "key_not_a_string";
  if (item.end - item.text_at > KEY_MAX) return "long_key";
  const key = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString(
    "utf8",
    item.text_at,
    item.end,
  );
  if (FORBIDDEN_KEYS.has(key)) return "forbidden_key";
  if (seen.has(key)) return "duplicate_key";
  seen.add(key);
  return undefined;
}

const leaf = (end: number): Item => ({ end, children: 0, is_map: false, text_at: -1 });
const text = (text_at: number, length: number): Item => ({
  end: text_at + length,
  children: 0,
  is_map: false,
  text_at,
});
const list = (end: number, n: number): Item => ({ end, children: n, is_map: false, text_at: -1 });
const map = (end: number, n: number): Item => ({ end, children: 2 * n, is_map: true, text_at: -1 });

/** Bytes after the head byte for 0xca..0xd3: float32, float64, uint8..64, int8..64. */
const NUMBER_BYTES = [4, 8, 1, 2, 4, 8, 1, 2, 4, 8];

/** Reads the head at `at` (MessagePack specification, "Formats"). */
function readItem(view: DataView, at: number): Item | string {
  if (at >= view.byteLength) return "truncated";
  const head = view.getUint8(at);
  const body = at + 1;
  if (head <= 0x7f || head >= 0xe0) return leaf(body);
  if (head <= 0x8f) return map(body, head & 15);
  if (head <= 0x9f) return list(body, head & 15);
  if (head <= 0xbf) return text(body, head & 31);
  if (head === 0xc0 || head === 0xc2 || head === 0xc3) return leaf(body);
  if (head >= 0xca && head <= 0xd3) return leaf(body + NUMBER_BYTES[head - 0xca]!);
  const width = LENGTH_BYTES[head];
  if (width === undefined) return "forbidden_type"; // 0xc1 and the extension types
  if (body + width > view.byteLength) return "truncated";
  const length =
    width === 1 ? view.getUint8(body) : width === 2 ? view.getUint16(body) : view.getUint32(body);
  const after = body + width;
  if (head <= 0xc6) return leaf(after + length);
  if (head <= 0xdb) return text(after, length);
  return head <= 0xdd ? list(after, length) : map(after, length);
}

/** Width of the length field: bin 8/16/32, str 8/16/32, array 16/32, map 16/32. */
const LENGTH_BYTES: Record<number, number> = {
  196: 1,
  197: 2,
  198: 4,
  217: 1,
  218: 2,
  219: 4,
  220: 2,
  221: 4,
  222: 2,
  223: 4,
};
