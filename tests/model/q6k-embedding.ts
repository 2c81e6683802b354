/**
 * A GGUF file whose token embedding is Q6_K, as quantised files of others have it: ours with that
 * one tensor replaced by random blocks of the format.
 */
import fs from "node:fs";
import { seededRandom } from "../../src/core/random.ts";
import { GGML_TYPES, GgufFile } from "../../src/model/gguf-file.ts";

const EMBEDDING = "token_embd.weight";
const BLOCK = { elements: 256, bytes: 210 };
const padded = (n: number) => Math.ceil(n / 32) * 32;

/** Random 6-bit codes and scales; weights of some 0.05. */
function randomBlocks(blocks: number, seed: number): Uint8Array {
  const random = seededRandom(seed);
  const bytes = random.bytes(blocks * BLOCK.bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let b = 0; b < blocks; b++)
    view.setFloat16(BLOCK.bytes * b + 208, 4e-5 * (1 + random.next()), true);
  return bytes;
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
export async function replaceEmbedding(file: string, seed: number): Promise<void> {
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
    const type = replaced ? GGML_TYPES.Q6_K : tensor.type;
    const packed = replaced ? randomBlocks((rows * cols) / BLOCK.elements, seed) : tensor.data;
    table.push(tableEntry(name, rows === 1 ? [cols] : [cols, rows], type, offset));
    data.push(packed, new Uint8Array(padded(packed.length) - packed.length));
    offset += padded(packed.length);
  }
  const head = Buffer.concat([bytes.subarray(0, start), ...table]);
  const gap = Buffer.alloc(padded(head.length) - head.length);
  fs.writeFileSync(file, Buffer.concat([head, gap, ...data]));
}
