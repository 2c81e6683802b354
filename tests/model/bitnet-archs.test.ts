/**
 * Files that llama.cpp does not load: I2_S weights, and arch `bitnet-b1.58` (`bitnet-25` in older
 * files) with ReLU^2, of the keys and tensors that Microsoft's BitNet-b1.58-2B-4T has. Checked against
 * a naive forward pass in float64; packed by a packer of this test's own.
 */
import { afterAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { seededRandom } from "../../src/core/random.ts";
import { type GgmlType, GgufFile } from "../../src/model/gguf-file.ts";
import { tokenizerEntries } from "../../src/model/gguf-tokenizer.ts";
import { type GgufEntry, type GgufTensorSource, writeGguf } from "../../src/model/gguf-writer.ts";
import { InferenceModel } from "../../src/model/inference.ts";
import { loadModel } from "../../src/model/load-model.ts";
import { errorOf } from "./error-of.ts";
import { type NaiveModel, naiveLogits } from "./naive-forward.ts";
import { sharedTokenizer } from "./tokenizer-fixtures.ts";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-archs-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const VOCABULARY = 2048; // of the shared tokenizer
const SHAPE = {
  d_model: 256,
  n_layers: 2,
  n_heads: 4,
  n_kv_heads: 2,
  head_dim: 64,
  d_ff: 384,
  rope_theta: 500_000,
  norm_eps: 1e-5,
};
const TOKENS = [2044, 17, 300, 1999, 5, 5, 731, 42];

interface Made {
  model: NaiveModel;
  sources: GgufTensorSource[];
}

/** I2_S, byte by byte: 128 codes in 32 bytes, then the scale of the tensor. */
function packI2s(trits: Int8Array, scale: number): Uint8Array {
  const out = new Uint8Array(trits.length / 4 + 32);
  for (const [i, trit] of trits.entries()) {
    const within = i % 128;
    out[Math.floor(i / 128) * 32 + (within % 32)]! |= (trit + 1) << (6 - 2 * (within >> 5));
  }
  new DataView(out.buffer).setFloat32(trits.length / 4, scale, true);
  return out;
}

/** Random weights, and the file's tensors of them. */
function randomModel(seed: number, activation: "silu" | "relu2", own_head: boolean): Made {
  const random = seededRandom(seed);
  const model: NaiveModel = { ...SHAPE, activation, tensors: new Map(), ternary: new Set() };
  const sources: GgufTensorSource[] = [];
  const add = (name: string, type: GgmlType, dims: number[], packed: Uint8Array) =>
    sources.push({ name, type, dims, size_bytes: packed.length, bytes: async () => packed });
  const matrix = (name: string, rows: number, cols: number) => {
    const trits = Int8Array.from({ length: rows * cols }, () => random.below(3) - 1);
    const scale = Math.fround(0.02 + 0.02 * random.next());
    model.tensors.set(
      name,
      Float32Array.from(trits, (t) => t * scale),
    );
    model.ternary.add(name);
    add(name, "I2_S", [cols, rows], packI2s(trits, scale));
  };
  const vector = (name: string, n: number) => {
    const values = Float32Array.from({ length: n }, () => 0.5 + random.next());
    model.tensors.set(name, values);
    add(name, "F32", [n], new Uint8Array(values.buffer));
  };
  const table = (name: string) => {
    const halves = new Float16Array(VOCABULARY * SHAPE.d_model).map(() => random.next() - 0.5);
    model.tensors.set(name, Float32Array.from(halves));
    add(name, "F16", [SHAPE.d_model, VOCABULARY], new Uint8Array(halves.buffer));
  };
  const { d_model, d_ff, n_heads, n_kv_heads, head_dim } = SHAPE;
  table("token_embd.weight");
  for (let i = 0; i < SHAPE.n_layers; i++) {
    const blk = `blk.${i}.`;
    vector(`${blk}attn_norm.weight`, d_model);
    matrix(`${blk}ffn_down.weight`, d_model, d_ff);
    vector(`${blk}ffn_sub_norm.weight`, d_ff);
    matrix(`${blk}ffn_gate.weight`, d_ff, d_model);
    matrix(`${blk}ffn_up.weight`, d_ff, d_model);
    vector(`${blk}ffn_norm.weight`, d_model);
    vector(`${blk}attn_sub_norm.weight`, n_heads * head_dim);
    matrix(`${blk}attn_k.weight`, n_kv_heads * head_dim, d_model);
    matrix(`${blk}attn_output.weight`, d_model, n_heads * head_dim);
    matrix(`${blk}attn_q.weight`, n_heads * head_dim, d_model);
    matrix(`${blk}attn_v.weight`, n_kv_heads * head_dim, d_model);
  }
  vector("output_norm.weight", d_model);
  if (own_head) table("output.weight");
  return { model, sources };
}

/** Keys as in ggml-model-i2_s.gguf of BitNet-b1.58-2B-4T, in its order. */
async function entriesOf(arch: string, tokenizer_keys: readonly string[]): Promise<GgufEntry[]> {
  const u32 = (key: string, value: number): GgufEntry => ({ key, type: "u32", value });
  const f32 = (key: string, value: number): GgufEntry => ({ key, type: "f32", value });
  const tokenizer = tokenizerEntries(await sharedTokenizer());
  return [
    { key: "general.architecture", type: "string", value: arch },
    { key: "general.name", type: "string", value: "bitnet2b" },
    u32(`${arch}.vocab_size`, VOCABULARY),
    u32(`${arch}.context_length`, 64),
    u32(`${arch}.embedding_length`, SHAPE.d_model),
    u32(`${arch}.block_count`, SHAPE.n_layers),
    u32(`${arch}.feed_forward_length`, SHAPE.d_ff),
    u32(`${arch}.rope.dimension_count`, SHAPE.head_dim),
    u32(`${arch}.attention.head_count`, SHAPE.n_heads),
    u32(`${arch}.attention.head_count_kv`, SHAPE.n_kv_heads),
    { key: "tokenizer.ggml.add_bos_token", type: "bool", value: true },
    f32(`${arch}.attention.layer_norm_rms_epsilon`, SHAPE.norm_eps),
    f32(`${arch}.rope.freq_base`, SHAPE.rope_theta),
    u32("general.file_type", 40),
    ...tokenizer.filter(({ key }) => tokenizer_keys.includes(key.split(".").at(-1)!)),
    u32("general.quantization_version", 2),
  ];
}
const TOKENIZER_KEYS = ["model", "pre", "tokens", "token_type", "merges", "bos_token_id"];

async function written(name: string, entries: GgufEntry[], sources: GgufTensorSource[]) {
  const pieces: Uint8Array[] = [];
  await writeGguf({ write: async (bytes) => void pieces.push(bytes) }, entries, sources);
  const file = path.join(folder, `${name}.gguf`);
  fs.writeFileSync(file, Buffer.concat(pieces));
  return file;
}

async function logitsOf(file: string): Promise<Float32Array[]> {
  const gguf = await GgufFile.open(file);
  const model = await InferenceModel.fromGguf(gguf, 2);
  gguf.close();
  const session = model.createSession({ kv_bits: 32 });
  const logits = await session.append(Int32Array.from(TOKENS), TOKENS.length);
  session.close();
  model.close();
  return TOKENS.map((_, i) => logits.subarray(i * VOCABULARY, (i + 1) * VOCABULARY));
}

/** Root of the mean squared difference over that of the logits, of one position. */
function distance(a: ArrayLike<number>, b: Float64Array): number {
  let [difference, size] = [0, 0];
  for (const [i, value] of b.entries()) {
    difference += (a[i]! - value) ** 2;
    size += value ** 2;
  }
  return Math.sqrt(difference / size);
}

describe.each([
  ["bitnet", "silu", false],
  ["bitnet-b1.58", "relu2", false],
  ["bitnet-b1.58", "relu2", true],
  ["bitnet-25", "relu2", true],
] as const)("arch %s with %s, own head: %p", (arch, activation, own_head) => {
  test("I2_S logits are those of a naive forward pass", async () => {
    const { model, sources } = randomModel(own_head ? 2 : 1, activation, own_head);
    const name = `${arch}-${own_head}`;
    const file = await written(name, await entriesOf(arch, TOKENIZER_KEYS), sources);
    const ours = await logitsOf(file);
    const distances = naiveLogits(model, TOKENS).map((row, i) => distance(ours[i]!, row));
    // float32 against float64; a rounding to int8 that falls on the other side moves a row by 1e-3.
    expect(Math.max(...distances)).toBeLessThan(5e-3);
    expect(distances.toSorted((a, b) => a - b)[TOKENS.length >> 1]!).toBeLessThan(1e-5);
  });
});

test("the other activation is far away: the test can tell them apart", async () => {
  const { model, sources } = randomModel(1, "relu2", false);
  const file = await written("apart", await entriesOf("bitnet-b1.58", TOKENIZER_KEYS), sources);
  const ours = await logitsOf(file);
  const other = naiveLogits({ ...model, activation: "silu" }, TOKENS);
  expect(distance(ours[3]!, other[3]!)).toBeGreaterThan(0.1);
});

test("files of BitNet-2B-4T state no pre-tokenizer: it is Llama-3's", async () => {
  const { sources } = randomModel(3, "relu2", false);
  const keys = TOKENIZER_KEYS.filter((key) => key !== "pre");
  const file = await written("no-pre", await entriesOf("bitnet-b1.58", keys), sources);
  const loaded = await loadModel(file, { threads: 1 });
  expect(loaded.config.variant).toBe("bitnet");
  expect(loaded.tokenizer.encode("It's 1234")).toEqual(
    (await sharedTokenizer()).encode("It's 1234"),
  );
  loaded.close();
  // Of any other architecture nobody knows what its pre-tokenizer was.
  const bitnet = await written("no-pre-bitnet", await entriesOf("bitnet", keys), sources);
  const error = await errorOf(loadModel(bitnet, { threads: 1 }));
  expect([error.code, error.message]).toEqual([
    "BAD_TOKENIZER",
    expect.stringContaining("tokenizer.ggml.pre is missing"),
  ]);
});

test("a second head beside arch bitnet, and an unknown architecture, are refused by name", async () => {
  const { sources } = randomModel(4, "silu", true);
  const file = await written("two-heads", await entriesOf("bitnet", TOKENIZER_KEYS), sources);
  expect((await errorOf(loadModel(file))).message).toContain("output.weight");
  const other = await written("gemma", await entriesOf("gemma", TOKENIZER_KEYS), sources);
  expect((await errorOf(loadModel(other))).message).toContain('architecture "gemma"');
});
