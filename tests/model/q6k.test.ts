/**
 * The Q6_K quantiser: its blocks read back as llama.cpp reads them, and its error is no larger than
 * that of llama.cpp's own quantiser (libggml-base of node-llama-cpp, called in this process).
 */
import { expect, test } from "bun:test";
import { seededRandom } from "../../src/core/random.ts";
import { GGML_TYPES } from "../../src/model/gguf-file.ts";
import { packingAsync } from "../../src/native/infer.ts";
import { errorOf } from "./error-of.ts";
import { ggmlDequantise, ggmlQuantise } from "./ggml-quants.ts";

const COLS = 1024;
const ROWS = 24;

async function pack(weights: Float32Array): Promise<Uint8Array> {
  const out = new Uint8Array((weights.length / 256) * 210);
  const rows = weights.length / COLS;
  const type = GGML_TYPES.Q6_K;
  await packingAsync.mg_pack_tensor(
    undefined,
    ...([type, 0, 0, weights, rows, COLS, out, out.length, null] as const),
  );
  return out;
}
async function unpack(packed: Uint8Array, rows: number): Promise<Float32Array> {
  const out = new Float32Array(rows * COLS);
  await packingAsync.mg_unpack_tensor(
    undefined,
    ...([GGML_TYPES.Q6_K, packed, packed.length, rows, COLS, out] as const),
  );
  return out;
}
const rmse = (a: Float32Array, b: Float32Array) =>
  Math.sqrt(a.reduce((sum, v, i) => sum + (v - b[i]!) ** 2, 0) / a.length);

const random = seededRandom(6);
const normal = () =>
  Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next());
const kinds: [string, (i: number) => number][] = [
  ["normal, 0.02", () => 0.02 * normal()],
  ["uniform", () => random.next() - 0.5],
  ["heavy-tailed", () => 0.01 * normal() ** 3],
  ["rows of very different size", (i) => 10 ** (-6 + Math.floor(i / COLS) / 3) * normal()],
  ["one large value in 200", () => (random.below(200) === 0 ? 3 : 0.01) * normal()],
  ["sparse", () => (random.below(8) === 0 ? normal() : 0)],
  ["all equal", () => 0.37],
  ["shifted", () => 1 + 0.01 * normal()],
];

test.each(kinds)("%s weights: no larger an error than llama.cpp's", async (_, value) => {
  const weights = Float32Array.from({ length: ROWS * COLS }, (_, i) => value(i));
  const packed = await pack(weights);
  const ours = await unpack(packed, ROWS);
  expect(ours).toEqual(ggmlDequantise(GGML_TYPES.Q6_K, packed, weights.length));
  const theirs = ggmlDequantise(
    GGML_TYPES.Q6_K,
    ggmlQuantise(GGML_TYPES.Q6_K, weights, COLS),
    weights.length,
  );
  const [own, peer] = [rmse(weights, ours), rmse(weights, theirs)];
  process.stderr.write(`q6_k error, ${_}: ${(own / peer).toFixed(3)} of llama.cpp's\n`);
  expect(own).toBeLessThanOrEqual(peer * 1.0001);
});

test("zeros stay zeros, and what does not fit is refused", async () => {
  const zeros = new Float32Array(COLS);
  expect(await unpack(await pack(zeros), 1)).toEqual(zeros);
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, 1e9]) {
    const error = await errorOf(pack(Float32Array.from(zeros, (_, i) => (i === 300 ? bad : 0.1))));
    expect(error.code).toBe("NOT_A_NUMBER");
    expect(error.message).toContain("Q6_K");
  }
});
