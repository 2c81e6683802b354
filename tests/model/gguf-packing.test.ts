/** Ternary packing against plain packers written from the format's description. */
import { describe, expect, test } from "bun:test";
import { seededRandom } from "../../src/core/random.ts";
import { EXPORT_TYPES, type ExportType } from "../../src/model/export-gguf.ts";
import { GGML_TYPES } from "../../src/model/gguf-file.ts";
import { packingAsync } from "../../src/native/infer.ts";
import { ggmlDequantise, ggmlQuantise } from "./ggml-quants.ts";

const SEED = 42;
const random = seededRandom(SEED);

async function pack(type: ExportType | "F32", weights: Float32Array, rows: number, heads = 0) {
  const cols = weights.length / rows;
  const blockBytes = { TQ2_0: 66 / 256, TQ1_0: 54 / 256, I2_S: 1 / 4, F16: 2, F32: 4 };
  const out = new Uint8Array(rows * cols * blockBytes[type] + (type === "I2_S" ? 32 : 0));
  const scale = new Float32Array(1);
  const id = GGML_TYPES[type];
  await packingAsync.mg_pack_tensor(
    undefined,
    id,
    1,
    heads,
    weights,
    rows,
    cols,
    out,
    out.length,
    scale,
  );
  return { out, scale: scale[0]! };
}

/** Little-endian binary16 by the language's own conversion. */
const half = (x: number): number[] => {
  const bytes = new Uint8Array(2);
  new DataView(bytes.buffer).setFloat16(0, x, true);
  return [...bytes];
};

/** Plain packers of one row-major list of trits, as the formats are described. */
const PACKERS: Record<string, (trits: number[], scale: number) => number[]> = {
  TQ2_0: (trits, scale) => {
    const out: number[] = [];
    for (let b = 0; b < trits.length; b += 256) {
      const block = trits.slice(b, b + 256);
      const qs = new Array<number>(64).fill(0);
      for (const [e, t] of block.entries()) {
        const inHalf = e % 128;
        qs[32 * Math.floor(e / 128) + (inHalf % 32)]! |= (t + 1) << (2 * Math.floor(inHalf / 32));
      }
      out.push(...qs, ...(block.every((t) => t === 0) ? [0, 0] : half(scale)));
    }
    return out;
  },
  TQ1_0: (trits, scale) => {
    const out: number[] = [];
    const byte = (digits: number[]) => {
      const v = digits.reduce((sum, d) => 3 * sum + d, 0);
      return Math.floor((v * 256 + 242) / 243);
    };
    for (let b = 0; b < trits.length; b += 256) {
      const digit = (e: number) => trits[b + e]! + 1;
      for (let m = 0; m < 32; m++) out.push(byte([0, 1, 2, 3, 4].map((n) => digit(m + 32 * n))));
      for (let m = 0; m < 16; m++)
        out.push(byte([0, 1, 2, 3, 4].map((n) => digit(160 + m + 16 * n))));
      for (let j = 0; j < 4; j++)
        out.push(byte([...[0, 1, 2, 3].map((n) => digit(240 + j + 4 * n)), 0]));
      const zero = trits.slice(b, b + 256).every((t) => t === 0);
      out.push(...(zero ? [0, 0] : half(scale)));
    }
    return out;
  },
  I2_S: (trits, scale) => {
    const out = new Array<number>(trits.length / 4).fill(0);
    for (const [e, t] of trits.entries()) {
      const inBlock = e % 128;
      const at = 32 * Math.floor(e / 128) + (inBlock % 32);
      out[at]! |= (t + 1) << (6 - 2 * Math.floor(inBlock / 32));
    }
    return [...out, ...new Uint8Array(Float32Array.of(scale).buffer), ...new Array(28).fill(0)];
  },
  F16: (trits, scale) => trits.flatMap((t) => (t === 0 ? [0, 0] : half(t * scale))),
};

describe("packing", () => {
  const rows = 6;
  const cols = 768;
  const trits = Array.from(
    { length: rows * cols },
    (_, i) => (i < 256 ? 0 : random.below(3) - 1), // the first block is all zeros
  );
  const weights = Float32Array.from(trits, (t) => 0.03125 * t);
  const scale = Math.fround(
    weights.reduce((sum, w) => sum + Math.abs(w), 0) / weights.length, // exact: a power of two
  );

  test.each(Object.keys(PACKERS))("%s bytes are those of a plain packer", async (name) => {
    const packed = await pack(name as ExportType, weights, rows);
    expect(packed.scale).toBe(scale);
    expect(Buffer.from(packed.out).equals(Buffer.from(PACKERS[name]!(trits, scale)))).toBe(true);
  });

  test.each(Object.keys(PACKERS))("%s unpacks to trit times scale", async (name) => {
    const type = name as ExportType;
    const { out } = await pack(type, weights, rows);
    const back = new Float32Array(weights.length);
    await packingAsync.mg_unpack_tensor(
      undefined,
      GGML_TYPES[type],
      out,
      out.length,
      rows,
      cols,
      back,
    );
    const kept = type === "I2_S" ? scale : Math.f16round(scale);
    expect(back.every((value, i) => value === trits[i]! * kept)).toBe(true);
  });

  test("latent weights are ternarised as in training: rint(w / mean), half to even", async () => {
    // mean |w| = 1: 0.5 rounds to 0, 1.5 is clamped to 1.
    const latent = Float32Array.from({ length: 256 }, (_, i) => [0.5, -0.5, 1.5, -1.5][i % 4]!);
    const { out } = await pack("TQ2_0", latent, 1);
    const expected = Array.from({ length: 256 }, (_, i) => [0, 0, 1, -1][i % 4]!);
    expect([...out]).toEqual(PACKERS.TQ2_0!(expected, 1));
  });

  test("rows of two heads are interleaved for rotary pairs", async () => {
    const row = (r: number) =>
      Float32Array.from({ length: 128 }, (_, i) => ((r >> (i % 3)) & 1) - 0.5);
    const order = [0, 2, 1, 3, 4, 6, 5, 7]; // head_dim 4: out 2j = in j, out 2j + 1 = in j + 2
    const flat = (rowsOf: number[]) => Float32Array.from(rowsOf.flatMap((r) => [...row(r)]));
    const permuted = await pack("I2_S", flat([0, 1, 2, 3, 4, 5, 6, 7]), 8, 2);
    const direct = await pack("I2_S", flat(order), 8);
    expect(permuted.out).toEqual(direct.out);
  });

  test("Q6_K blocks unpack as a plain decoder does", async () => {
    const packed = random.bytes(3 * 210);
    const expected: number[] = [];
    for (let b = 0; b < 3; b++) {
      const view = new DataView(packed.buffer, packed.byteOffset + 210 * b, 210);
      view.setFloat16(208, 0.001 * (b + 1), true);
      const d = view.getFloat16(208, true);
      for (let e = 0; e < 256; e++) {
        const [h, n, l] = [Math.floor(e / 128), Math.floor((e % 128) / 32), e % 32];
        const low = view.getUint8(64 * h + 32 * (n % 2) + l);
        const high = (view.getUint8(128 + 32 * h + l) >> (2 * n)) & 3;
        const q = ((n < 2 ? low & 15 : low >> 4) | (high << 4)) - 32;
        const sub = view.getInt8(192 + 8 * h + 2 * n + Math.floor(l / 16));
        expected.push(Math.fround(Math.fround(d * sub) * q));
      }
    }
    const out = new Float32Array(768);
    const id = GGML_TYPES.Q6_K;
    await packingAsync.mg_unpack_tensor(undefined, id, packed, packed.length, 3, 256, out);
    expect([...out]).toEqual(expected);
  });

  test("half floats are the language's, for every kind of number", async () => {
    const values = Float32Array.from({ length: 4096 }, (_, i) => {
      const magnitude = 2 ** (random.below(46) - 28) * (1 + random.next());
      return (i % 2 === 0 ? 1 : -1) * Math.min(magnitude, 65503);
    });
    const out = new Uint8Array(2 * values.length);
    await packingAsync.mg_pack_tensor(
      undefined,
      GGML_TYPES.F16,
      0,
      0,
      values,
      1,
      values.length,
      out,
      out.length,
      null,
    );
    expect([...out]).toEqual([...values].flatMap(half));
  });
});

test("every type that can be exported has a test above", () => {
  expect([...EXPORT_TYPES].sort()).toEqual(Object.keys(PACKERS).sort() as ExportType[]);
});

test.each(["F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q6_K"] as const)(
  "%s unpacks to llama.cpp's bits",
  async (type) => {
    const [rows, cols] = [8, 1024];
    const weights = Float32Array.from({ length: rows * cols }, () => random.next() ** 3 - 0.2);
    const packed = ggmlQuantise(GGML_TYPES[type], weights, cols);
    const out = new Float32Array(rows * cols);
    await packingAsync.mg_unpack_tensor(
      undefined,
      ...([GGML_TYPES[type], packed, packed.length, rows, cols, out] as const),
    );
    expect(out).toEqual(new Float32Array(ggmlDequantise(GGML_TYPES[type], packed, out.length)));
  },
);
