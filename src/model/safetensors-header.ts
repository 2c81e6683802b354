/**
 * The header of a safetensors file: 8 bytes little-endian length N, N bytes of JSON
 * `{name: {dtype, shape, data_offsets: [begin, end]}, "__metadata__": {...}}`, then the data.
 * Stricter than most readers: no duplicate names, no overlap, no hole, no byte behind the last
 * tensor, so that one file means one thing to everybody.
 */
import { MagnetError } from "../core/errors.ts";

/** Bytes per element of the types we read and write. */
export const DTYPE_BYTES = { F32: 4, F16: 2, BF16: 2, I32: 4, U8: 1 } as const;
export type Dtype = keyof typeof DTYPE_BYTES;

export interface TensorEntry {
  name: string;
  dtype: Dtype;
  /** Row-major; [] is a scalar. */
  shape: number[];
  /** First byte, counted from the end of the header. */
  begin: number;
  /** One past the last byte. */
  end: number;
}
export interface SafetensorsHeader {
  /** In the order of the data. */
  tensors: Map<string, TensorEntry>;
  metadata: Record<string, string>;
  /** Where the data starts in the file. */
  data_start: number;
}

/** 16 MiB: a hundred bytes per tensor would allow 160,000 tensors; larger headers are hostile. */
export const HEADER_BYTES_MAX = 16 * 1024 * 1024;
const TENSORS_MAX = 65_536;
const NAME_LENGTH_MAX = 512;
const RANK_MAX = 8;
/** {name: {shape: [...]}}: nothing in a header is deeper. */
const DEPTH_MAX = 3;
/** Types of the format that we name in the error, but do not read. */
const OTHER_DTYPES = /^(BOOL|I8|F8_E5M2|F8_E4M3|I16|U16|U32|F64|I64|U64|C64)$/;

function bad(message: string): MagnetError {
  return new MagnetError("SAFETENSORS_CORRUPT", message, {
    hint: "the file is damaged or not a safetensors file; copy or export it again",
    exit: "verification",
  });
}

/** Index of the quote that ends the string starting at `start`. */
function stringEnd(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === '"') return i;
  }
  throw bad("the header holds a string without an end");
}

/**
 * Refuses a key that appears twice in one object (JSON.parse silently keeps the last) and nesting
 * deeper than a header needs. Runs before JSON.parse, which finds what else is malformed.
 */
function checkKeys(text: string): void {
  const seen: Set<string>[] = [];
  const colon = /\s*:/y;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === "{" || c === "[") {
      seen.push(new Set());
      if (seen.length > DEPTH_MAX) throw bad(`the header nests deeper than ${DEPTH_MAX} levels`);
    } else if (c === "}" || c === "]") {
      seen.pop();
    } else if (c === '"') {
      const end = stringEnd(text, i);
      colon.lastIndex = end + 1;
      if (colon.test(text)) {
        const key = parseJson(text.slice(i, end + 1)) as string;
        if (seen.at(-1)?.has(key)) throw bad(`the header names "${key.slice(0, 80)}" twice`);
        seen.at(-1)?.add(key);
      }
      i = end;
    }
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw bad(`the header is not JSON: ${error instanceof Error ? error.message : "unreadable"}`);
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) >= 0;

function parseEntry(name: string, value: unknown): TensorEntry {
  const shown = name.slice(0, 80);
  if (name.length === 0 || name.length > NAME_LENGTH_MAX)
    throw bad(`a tensor name has ${name.length} characters (limit ${NAME_LENGTH_MAX})`);
  if (!isObject(value) || Object.keys(value).sort().join() !== "data_offsets,dtype,shape")
    throw bad(`tensor "${shown}" must have exactly dtype, shape and data_offsets`);
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== "string" || !Object.hasOwn(DTYPE_BYTES, dtype)) {
    if (typeof dtype === "string" && OTHER_DTYPES.test(dtype))
      throw new MagnetError("UNSUPPORTED", `tensor "${shown}" has type ${dtype}`, {
        hint: `convert it to one of ${Object.keys(DTYPE_BYTES).join(", ")}`,
      });
    throw bad(`tensor "${shown}" has an unknown type`);
  }
  if (!Array.isArray(shape) || shape.length > RANK_MAX || !shape.every(isCount))
    throw bad(`tensor "${shown}" has an invalid shape`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount))
    throw bad(`tensor "${shown}" has invalid data_offsets`);
  const [begin, end] = offsets as [number, number];
  const size = shape.reduce((product, n) => product * n, DTYPE_BYTES[dtype as Dtype]);
  // A product beyond 2^53 is inexact, but then it cannot equal a difference of safe integers below
  // it.
  if (!Number.isSafeInteger(size) || begin > end || end - begin !== size)
    throw bad(
      `tensor "${shown}": shape [${shape}] of ${dtype} does not fill bytes ${begin}-${end}`,
    );
  return { name, dtype: dtype as Dtype, shape: [...shape], begin, end };
}

/**
 * Length of the JSON from the first 8 bytes. Throws SAFETENSORS_CORRUPT where it exceeds the limit
 * or the file.
 */
export function headerLength(first8: Uint8Array, file_bytes: number): number {
  if (first8.length < 8 || file_bytes < 8) throw bad("shorter than the 8 bytes of a header length");
  const length = new DataView(first8.buffer, first8.byteOffset, 8).getBigUint64(0, true);
  if (length > BigInt(HEADER_BYTES_MAX))
    throw bad(`the header claims ${length} bytes (limit ${HEADER_BYTES_MAX})`);
  if (Number(length) + 8 > file_bytes)
    throw bad(`the header claims ${length} bytes, the file has ${file_bytes}`);
  return Number(length);
}

/**
 * Parses the JSON part. `file_bytes` is the size of the whole file: the tensors must fill it
 * exactly. Throws SAFETENSORS_CORRUPT, or UNSUPPORTED for a type we do not read; never anything
 * else.
 */
export function parseHeader(json: Uint8Array, file_bytes: number): SafetensorsHeader {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(json);
  } catch {
    throw bad("the header is not UTF-8");
  }
  checkKeys(text);
  const parsed = parseJson(text);
  if (!isObject(parsed)) throw bad("the header is not an object");
  const { __metadata__: rawMetadata = {}, ...rest } = parsed;
  if (!isObject(rawMetadata) || !Object.values(rawMetadata).every((v) => typeof v === "string"))
    throw bad("__metadata__ must map strings to strings");
  const names = Object.keys(rest);
  if (names.length > TENSORS_MAX) throw bad(`${names.length} tensors (limit ${TENSORS_MAX})`);
  const entries = names.map((name) => parseEntry(name, rest[name]));
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let expected = 0;
  for (const entry of entries) {
    if (entry.begin !== expected)
      throw bad(
        `tensor "${entry.name.slice(0, 80)}" starts at ${entry.begin}, the one before ends at ${expected}`,
      );
    expected = entry.end;
  }
  const data_start = 8 + json.length;
  if (data_start + expected !== file_bytes)
    throw bad(`the tensors end at byte ${data_start + expected}, the file has ${file_bytes} bytes`);
  return {
    tensors: new Map(entries.map((entry) => [entry.name, entry])),
    metadata: rawMetadata as Record<string, string>,
    data_start,
  };
}

/**
 * The bytes before the data: length and JSON, padded with spaces to a multiple of 8 so that the
 * data is aligned. Tensors are laid out in the given order.
 */
export function encodeHeader(
  tensors: readonly { name: string; dtype: Dtype; shape: readonly number[] }[],
  metadata: Record<string, string> = {},
): Uint8Array {
  const header: [string, unknown][] = [];
  if (Object.keys(metadata).length > 0) header.push(["__metadata__", metadata]);
  let begin = 0;
  for (const { name, dtype, shape } of tensors) {
    const end = begin + shape.reduce((product, n) => product * n, DTYPE_BYTES[dtype]);
    header.push([name, { dtype, shape, data_offsets: [begin, end] }]);
    begin = end;
  }
  const text = JSON.stringify(Object.fromEntries(header));
  const length = Buffer.byteLength(text);
  const padded = Math.ceil(length / 8) * 8;
  const out = new Uint8Array(8 + padded).fill(0x20, 8);
  new DataView(out.buffer).setBigUint64(0, BigInt(padded), true);
  new TextEncoder().encodeInto(text, out.subarray(8));
  return out;
}
