/**
 * A GGUF file whose token embedding has a type that we do not write, as quantised files of others have
 * it: ours with that one tensor replaced by what llama.cpp's own quantiser makes of random weights.
 */
import fs from "node:fs";
import { seededRandom } from "../../src/core/random.ts";
import { GGML_TYPES, type GgmlType, GgufFile } from "../../src/model/gguf-file.ts";
import { ggmlQuantise } from "./ggml-quants.ts";

const EMBEDDING = "token_embd.weight";
const padded = (n: number) => Math.ceil(n / 32) * 32;

/** Weights of some 0.05, packed. */
function randomEmbedding(type: GgmlType, rows: number, cols: number, seed: number): Uint8Array {
  const random = seededRandom(seed);
  const weights = Float32Array.from({ length: rows * cols }, () => 0.1 * (random.next() - 0.5));
  if (type === "F32") return new Uint8Array(weights.buffer);
  return ggmlQuantise(GGML_TYPES[type], weights, cols);
}

function tableEntry(name: string, dims: readonly number[], type: number, offset: number): Buffer {
  const text = Buffer.from(name);
  const out = Buffer.alloc(8 + text.length + 4 + 8 * dims.length + 4 + 8);
  let at = out.writeBigUInt64LE(BigInt(text.length));
  at += text.copy(out, at);
  at = out.writeUInt32LE(dims.length, at);
  for (const extent of dims) at = out.writeBigUInt64LE(BigInt(extent), at);
  at = out.writeUInt32LE(type, at);
  out.writeBigUInt64LE(BigInt(offset), at);
  return out;
}

/** Rewrites `file`; everything but the embedding stays as it is. */
export async function replaceEmbedding(file: string, type: GgmlType, seed: number): Promise<void> {
  const bytes = fs.readFileSync(file);
  const gguf = await GgufFile.open(file);
  const tensors = gguf.tensors().map((t) => ({ ...t, data: gguf.tensorBytes(t.name) }));
  gguf.close();
  const [first] = tensors;
  const start = bytes.indexOf(
    tableEntry(first!.name, [], 0, 0).subarray(0, 8 + first!.name.length),
  );
  const table: Buffer[] = [];
  const data: Uint8Array[] = [];
  let offset = 0;
  for (const tensor of tensors) {
    const { name, rows, cols } = tensor;
    const replaced = name === EMBEDDING;
    const id = replaced ? GGML_TYPES[type] : tensor.type;
    const packed = replaced ? randomEmbedding(type, rows, cols, seed) : tensor.data;
    table.push(tableEntry(name, rows === 1 ? [cols] : [cols, rows], id, offset));
    data.push(packed, new Uint8Array(padded(packed.length) - packed.length));
    offset += padded(packed.length);
  }
  const head = Buffer.concat([bytes.subarray(0, start), ...table]);
  const gap = Buffer.alloc(padded(head.length) - head.length);
  fs.writeFileSync(file, Buffer.concat([head, gap, ...data]));
}
