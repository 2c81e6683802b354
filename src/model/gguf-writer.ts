/**
 * Writing GGUF v3: header, metadata, tensor table, then tensors one after another as they are made.
 * The same input gives the same bytes; nothing but one tensor is held in memory.
 */
import { invariant } from "../core/errors.ts";
import type { OutputFile } from "./file-system.ts";
import { GGML_TYPES, GGUF_TYPES, type GgmlType } from "./gguf-file.ts";

/** A metadata entry; `i32[]` and `string[]` are arrays. */
export type GgufEntry =
  | { key: string; type: "u32" | "f32"; value: number }
  | { key: string; type: "bool"; value: boolean }
  | { key: string; type: "string"; value: string }
  | { key: string; type: "i32[]"; value: Int32Array }
  | { key: string; type: "string[]"; value: readonly string[] };

export interface GgufTensorSource {
  name: string;
  type: GgmlType;
  /** Extents as GGUF has them: columns first; a vector has one. */
  dims: readonly number[];
  size_bytes: number;
  /** Makes the packed bytes, exactly `size_bytes` of them. */
  bytes: () => Promise<Uint8Array>;
}

/** Start of the data section and of every tensor. */
export const GGUF_ALIGNMENT = 32;
const VERSION = 3;

/** Little-endian bytes that grow. */
class ByteBuilder {
  #bytes = new Uint8Array(1 << 16);
  #view = new DataView(this.#bytes.buffer);
  length = 0;

  /** Makes room for n bytes. Its own statement always: it may replace `#view`. */
  #reserve(n: number): number {
    const at = this.length;
    this.length += n;
    if (this.length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.length, 2 * this.#bytes.length));
      grown.set(this.#bytes.subarray(0, at));
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    return at;
  }
  u8(value: number): void {
    const at = this.#reserve(1);
    this.#view.setUint8(at, value);
  }
  u32(value: number): void {
    const at = this.#reserve(4);
    this.#view.setUint32(at, value, true);
  }
  i32(value: number): void {
    const at = this.#reserve(4);
    this.#view.setInt32(at, value, true);
  }
  u64(value: number): void {
    const at = this.#reserve(8);
    this.#view.setBigUint64(at, BigInt(value), true);
  }
  f32(value: number): void {
    const at = this.#reserve(4);
    this.#view.setFloat32(at, value, true);
  }
  raw(bytes: Uint8Array): void {
    const at = this.#reserve(bytes.length);
    this.#bytes.set(bytes, at);
  }
  text(value: string): void {
    const bytes = new TextEncoder().encode(value);
    this.u64(bytes.length);
    this.raw(bytes);
  }
  done(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }
}

function writeEntry(out: ByteBuilder, entry: GgufEntry): void {
  out.text(entry.key);
  switch (entry.type) {
    case "u32":
    case "f32":
      out.u32(GGUF_TYPES[entry.type]);
      out[entry.type](entry.value);
      break;
    case "bool":
      out.u32(GGUF_TYPES.bool);
      out.u8(entry.value ? 1 : 0);
      break;
    case "string":
      out.u32(GGUF_TYPES.string);
      out.text(entry.value);
      break;
    case "i32[]":
      out.u32(GGUF_TYPES.array);
      out.u32(GGUF_TYPES.i32);
      out.u64(entry.value.length);
      for (const value of entry.value) out.i32(value);
      break;
    case "string[]":
      out.u32(GGUF_TYPES.array);
      out.u32(GGUF_TYPES.string);
      out.u64(entry.value.length);
      for (const value of entry.value) out.text(value);
      break;
  }
}

const padded = (n: number) => Math.ceil(n / GGUF_ALIGNMENT) * GGUF_ALIGNMENT;

/** Everything before the data section, padded. */
function header(entries: readonly GgufEntry[], tensors: readonly GgufTensorSource[]): Uint8Array {
  const out = new ByteBuilder();
  out.raw(new TextEncoder().encode("GGUF"));
  out.u32(VERSION);
  out.u64(tensors.length);
  out.u64(entries.length);
  for (const entry of entries) writeEntry(out, entry);
  let offset = 0;
  for (const { name, type, dims, size_bytes } of tensors) {
    out.text(name);
    out.u32(dims.length);
    for (const extent of dims) out.u64(extent);
    out.u32(GGML_TYPES[type]);
    out.u64(offset);
    offset += padded(size_bytes);
  }
  out.raw(new Uint8Array(padded(out.length) - out.length));
  return out.done();
}

/**
 * Writes a whole file into an open one. Errors are those of the disk and of the tensors' makers.
 */
export async function writeGguf(
  file: Pick<OutputFile, "write">,
  entries: readonly GgufEntry[],
  tensors: readonly GgufTensorSource[],
  onTensor: (done: number, total: number) => void = () => undefined,
): Promise<void> {
  await file.write(header(entries, tensors));
  for (const [i, tensor] of tensors.entries()) {
    const bytes = await tensor.bytes();
    invariant(bytes.length === tensor.size_bytes, `${tensor.name}: a tensor of another size`);
    await file.write(bytes);
    const gap = padded(bytes.length) - bytes.length;
    if (gap > 0) await file.write(new Uint8Array(gap));
    onTensor(i + 1, tensors.length);
  }
}
