/**
 * Heads in few bits: Q6_K in panels gives the distribution of its values in float32, int8 and int4
 * stay near it, and none of them depends on threads or company.
 */
import { afterAll, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { exportGguf } from "../../src/model/export-gguf.ts";
import { GGML_TYPES, GgufFile } from "../../src/model/gguf-file.ts";
import {
  evalLogits,
  HEAD_FORMATS,
  type HeadFormat,
  InferenceModel,
  InferenceSession,
} from "../../src/model/inference.ts";
import { loadModel } from "../../src/model/load-model.ts";
import { packingAsync } from "../../src/native/infer.ts";
import { errorOf } from "./error-of.ts";
import { bookTokenizer, randomParams, SMALL } from "./small-models.ts";

// A vocabulary that is no multiple of a panel's 16 rows.
const CONFIG = { ...SMALL, variant: "llama" as const, vocab_size: 1003 };
const TOKENS = Int32Array.from({ length: 40 }, (_, i) => (i * 7919) % CONFIG.vocab_size);
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-heads-"));
afterAll(() => fs.rmSync(folder, { recursive: true }));

/** A file with a Q6_K embedding, and the logits of its values in float32. */
async function modelWithFloats() {
  const file = path.join(folder, "q6k.gguf");
  const tokenizer = await bookTokenizer(CONFIG.vocab_size);
  const params = await randomParams(CONFIG);
  const embedding = CONFIG.vocab_size * CONFIG.d_model;
  for (let i = 0; i < embedding; i++) params[i]! *= 3; // answers that are not flat
  const shape = { config: CONFIG, params, tokenizer, name: "m", path: file } as const;
  await exportGguf({ ...shape, type: "I2_S", embedding: "Q6_K" });
  const gguf = await GgufFile.open(file);
  const bytes = gguf.tensorBytes("token_embd.weight");
  gguf.close();
  const values = new Float32Array(embedding);
  const { Q6_K } = GGML_TYPES;
  await packingAsync.mg_unpack_tensor(undefined, Q6_K, bytes, bytes.length, 1, embedding, values);
  params.set(values); // the embedding comes first
  const model = await InferenceModel.fromParams(CONFIG, params, 1);
  const floats = await evalLogits(model, TOKENS);
  model.close();
  return { file, floats };
}
const { file, floats } = await modelWithFloats();

async function logitsOf(head: HeadFormat, threads = 1): Promise<Float32Array> {
  const loaded = await loadModel(file, { head, threads });
  try {
    return await evalLogits(loaded.model, TOKENS);
  } finally {
    loaded.close();
  }
}

/** Mean Kullback-Leibler divergence over the rows, in nats. */
function divergence(from: Float32Array, to: Float32Array): number {
  const n = CONFIG.vocab_size;
  const shares = (logits: Float32Array) => {
    const most = Math.max(...logits);
    const sum = logits.reduce((s, x) => s + Math.exp(x - most), 0);
    return Array.from(logits, (x) => x - most - Math.log(sum));
  };
  let total = 0;
  for (let at = 0; at < from.length; at += n) {
    const p = shares(from.subarray(at, at + n));
    const q = shares(to.subarray(at, at + n));
    for (const [i, log] of p.entries()) total += Math.exp(log) * (log - q[i]!);
  }
  return total / (from.length / n);
}
const bits = (x: Float32Array) => new Uint32Array(x.buffer, x.byteOffset, x.length);

test.each([
  ["file", 1e-8],
  ["int8", 1e-4],
  ["int4", 3e-2],
] as const)("head %s: within %d nats of the file's values in float32", async (head, limit) => {
  const distance = divergence(floats, await logitsOf(head));
  if (process.env.SHOW_FIGURES) process.stderr.write(`${head}: ${distance} nats\n`);
  expect(distance).toBeLessThan(limit);
  if (head !== "file") expect(distance).toBeGreaterThan(limit / 1000);
});

test.each(HEAD_FORMATS)("head %s: threads and company do not matter", async (head) => {
  const whole = await logitsOf(head);
  expect(bits(await logitsOf(head, 3))).toEqual(bits(whole));
  const { model, close } = await loadModel(file, { head, threads: 2 });
  const sessions = [0, 1, 2].map(() => model.createSession());
  await sessions[0]!.append(TOKENS.subarray(0, 5), 0);
  await sessions[1]!.append(TOKENS.subarray(0, 20), 0);
  const next = Int32Array.of(TOKENS[5]!, TOKENS[20]!, TOKENS[0]!);
  const rows = await InferenceSession.decode(sessions, next);
  const n = CONFIG.vocab_size;
  for (const [i, at] of [5, 20, 0].entries())
    expect(bits(rows.slice(i * n, (i + 1) * n))).toEqual(bits(whole.slice(at * n, (at + 1) * n)));
  for (const session of sessions) session.close();
  close();
});

test("other engines and kinds of models refuse a head of ours", async () => {
  const { openBitnetCpp } = await import("../../src/model/engine/bitnet-cpp.ts");
  expect((await errorOf(openBitnetCpp(file, { head: "int8" }))).code).toBe("BAD_HEAD");
  expect((await errorOf(loadModel(folder, { head: "int4" }))).code).toBe("BAD_HEAD");
});
