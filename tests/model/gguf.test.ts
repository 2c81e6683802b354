/**
 * Ternary packing against plain packers written from the format's description, GGUF round trips, and
 * hostile files: truncated, mutated, lying about counts, offsets and types.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { MagnetError } from "../../src/core/errors.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { ModelConfig } from "../../src/model/config.ts";
import { EXPORT_TYPES, type ExportType, exportGguf } from "../../src/model/export-gguf.ts";
import { GGML_TYPES, GgufFile } from "../../src/model/gguf-file.ts";
import { tokenizerFromGguf } from "../../src/model/gguf-tokenizer.ts";
import { evalLogits, InferenceModel } from "../../src/model/inference.ts";
import type { Tokenizer } from "../../src/model/tokenizer.ts";
import { inferAsync } from "../../src/native/infer.ts";
import { bookTokenizer, maxDifference, randomParams, SMALL } from "./small-models.ts";

const SEED = 42;
const random = seededRandom(SEED);
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-gguf-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

/** Error of a promise; not `expect().rejects`, which blocks the event loop that workers answer on. */
async function errorOf(promise: Promise<unknown>): Promise<MagnetError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof MagnetError) return error;
    throw error;
  }
  throw new Error("no error");
}

async function pack(type: keyof typeof GGML_TYPES, weights: Float32Array, rows: number, heads = 0) {
  const cols = weights.length / rows;
  const blockBytes = { TQ2_0: 66 / 256, TQ1_0: 54 / 256, I2_S: 1 / 4, F16: 2, F32: 4, Q6_K: 0 };
  const out = new Uint8Array(rows * cols * blockBytes[type] + (type === "I2_S" ? 32 : 0));
  const scale = new Float32Array(1);
  const id = GGML_TYPES[type];
  await inferAsync.mg_pack_tensor(
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
    await inferAsync.mg_unpack_tensor(
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
    await inferAsync.mg_unpack_tensor(undefined, id, packed, packed.length, 3, 256, out);
    expect([...out]).toEqual(expected);
  });

  test("half floats are the language's, for every kind of number", async () => {
    const values = Float32Array.from({ length: 4096 }, (_, i) => {
      const magnitude = 2 ** (random.below(46) - 28) * (1 + random.next());
      return (i % 2 === 0 ? 1 : -1) * Math.min(magnitude, 65503);
    });
    const out = new Uint8Array(2 * values.length);
    await inferAsync.mg_pack_tensor(
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

const TINY: ModelConfig = {
  ...SMALL,
  vocab_size: 300,
  d_model: 128,
  n_layers: 1,
  n_heads: 2,
  n_kv_heads: 1,
  d_ff: 256,
  context: 32,
};
let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await bookTokenizer(TINY.vocab_size);
});

async function exported(config: ModelConfig, type: ExportType, params: Float32Array) {
  const file = path.join(folder, `${config.variant}-${type}.gguf`);
  await exportGguf({ config, params, tokenizer, type, name: "test", path: file });
  return file;
}

async function logitsOf(file: string, tokens: Int32Array): Promise<Float32Array> {
  const gguf = await GgufFile.open(file);
  const model = await InferenceModel.fromGguf(gguf, 1);
  gguf.close();
  const logits = await evalLogits(model, tokens);
  model.close();
  return logits;
}

describe.each(["bitnet", "llama"] as const)("a %s file", (variant) => {
  // Widths of 256 for the ternary blocks; embedding and scales exact in f16, so that nothing is lost.
  const config = { ...TINY, variant, d_model: 256, n_heads: 4 };
  const tokens = Int32Array.from({ length: 20 }, (_, i) => (i * 37) % config.vocab_size);

  test("gives the logits of the weights it was made from, bit for bit, in every type", async () => {
    const params = await randomParams(config);
    for (const [i, value] of params.entries())
      params[i] = i < config.vocab_size * config.d_model ? Math.f16round(value) : value;
    const direct = await InferenceModel.fromParams(config, params, 1);
    const expected = await evalLogits(direct, tokens);
    direct.close();
    expect(
      maxDifference(await logitsOf(await exported(config, "I2_S", params), tokens), expected),
    ).toBe(0);
    const half_scale = await logitsOf(await exported(config, "TQ2_0", params), tokens);
    // Rounding a scale to f16 changes it by up to 2^-11.
    expect(maxDifference(half_scale, expected)).toBeLessThan(0.05);
    for (const type of ["TQ1_0", "F16"] as const) {
      const logits = await logitsOf(await exported(config, type, params), tokens);
      expect(maxDifference(logits, half_scale)).toBe(0);
    }
  });

  test("carries the configuration and the tokenizer", async () => {
    const file = await GgufFile.open(await exported(config, "TQ1_0", await randomParams(config)));
    const metadata = file.metadata();
    expect(metadata.get("general.architecture")).toBe(variant);
    expect(metadata.get("tokenizer.ggml.add_bos_token")).toBe(true);
    expect(tokenizerFromGguf(metadata).hash).toBe(tokenizer.hash);
    const model = await InferenceModel.fromGguf(file);
    expect(model.config).toEqual({ ...config, norm_eps: Math.fround(config.norm_eps) });
    expect(file.tensors().map((t) => t.name)).toContain("blk.0.attn_q.weight");
    model.close();
    file.close();
  });
});

test("a shape that a type cannot hold is refused with the types that can", async () => {
  const config = { ...TINY, d_ff: 384 };
  const params = await randomParams(config);
  const error = await errorOf(exported(config, "TQ2_0", params));
  expect(error.code).toBe("EXPORT_SHAPE");
  expect(error.hint).toContain("I2_S or F16");
  await exported(config, "I2_S", params);
  const odd = { ...config, d_ff: 333 };
  expect((await errorOf(exported(odd, "I2_S", await randomParams(odd)))).hint).toContain("F16");
});

describe("hostile files", () => {
  /** Errors that a broken file may end with; anything else is a bug. */
  const REFUSALS = new Set(["BAD_FORMAT", "UNSUPPORTED", "NOT_A_NUMBER", "OUT_OF_MEMORY"]);
  let good: Uint8Array;
  let header_end: number;
  beforeAll(async () => {
    const file = await exported(TINY, "I2_S", await randomParams(TINY));
    good = new Uint8Array(fs.readFileSync(file));
    const gguf = await GgufFile.open(file);
    const weights = gguf.tensors().reduce((sum, t) => sum + Math.ceil(t.size_bytes / 32) * 32, 0);
    header_end = good.length - weights;
    gguf.close();
  });

  /** "loaded", or the code of the refusal. */
  async function attempt(bytes: Uint8Array): Promise<string> {
    let gguf: GgufFile | undefined;
    try {
      gguf = await GgufFile.parse(bytes);
      gguf.metadata();
      gguf.tensors();
      const model = await InferenceModel.fromGguf(gguf, 1);
      const session = model.createSession({ context: 1 });
      await session.append(Int32Array.of(0), 1);
      session.close();
      model.close();
      return "loaded";
    } catch (error) {
      if (!(error instanceof MagnetError)) throw error;
      return error.code;
    } finally {
      gguf?.close();
    }
  }

  test("every truncation is refused", async () => {
    for (let i = 0; i < 600; i++) {
      const length = i < 300 ? random.below(header_end) : random.below(good.length - 32);
      expect(await attempt(good.subarray(0, length))).toBe("BAD_FORMAT");
    }
  });

  test("mutated headers are refused or load; nothing crashes", async () => {
    const outcomes = new Map<string, number>();
    for (let i = 0; i < 3000; i++) {
      const bytes = good.slice();
      for (let n = 1 + random.below(3); n > 0; n--) {
        // Half of the hits go to the tensor table at the end of the header.
        const at =
          random.below(2) === 0 ? header_end - 1 - random.below(1000) : random.below(header_end);
        bytes[at] = [0, 0xff, 0x80, random.below(256)][random.below(4)]!;
      }
      const outcome = await attempt(bytes);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      if (outcome !== "loaded") expect([...REFUSALS]).toContain(outcome);
    }
    expect(outcomes.get("BAD_FORMAT") ?? 0).toBeGreaterThan(300);
    expect(outcomes.get("loaded") ?? 0).toBeGreaterThan(300);
  }, 30_000);

  test("mutated weights load with some numbers or are refused; nothing crashes", async () => {
    for (let i = 0; i < 300; i++) {
      const bytes = good.slice();
      for (let n = 0; n < 20; n++)
        bytes[header_end + random.below(good.length - header_end)] = random.below(256);
      const outcome = await attempt(bytes);
      if (outcome !== "loaded") expect([...REFUSALS]).toContain(outcome);
    }
  });

  const u32 = (...values: number[]) => [...new Uint8Array(Uint32Array.from(values).buffer)];
  const u64 = (value: bigint) => [...new Uint8Array(BigUint64Array.of(value).buffer)];
  const text = (value: string) => [...u64(BigInt(value.length)), ...Buffer.from(value)];
  const start = (tensors: bigint, keys: bigint) => [
    ...Buffer.from("GGUF"),
    ...u32(3),
    ...u64(tensors),
    ...u64(keys),
  ];
  test.each([
    ["no magic", [...Buffer.from("GGML"), 0, 0, 0, 0], "magic"],
    ["version 2", [...Buffer.from("GGUF"), ...u32(2)], "version 2"],
    ["too many tensors", start(2n ** 63n, 0n), "limits"],
    ["a key longer than the file", [...start(0n, 1n), ...u64(2n ** 40n)], "limit 1024"],
    ["an unknown value type", [...start(0n, 1n), ...text("a"), ...u32(13)], "value type 13"],
    ["a boolean of 2", [...start(0n, 1n), ...text("a"), ...u32(7), 2], "boolean"],
    ["an array of arrays", [...start(0n, 1n), ...text("a"), ...u32(9, 9), ...u64(1n)], "array"],
    [
      "an array of 2^40 bytes",
      [...start(0n, 1n), ...text("a"), ...u32(9, 0), ...u64(2n ** 40n)],
      "limit",
    ],
    [
      "an array longer than the file",
      [...start(0n, 1n), ...text("a"), ...u32(9, 10), ...u64(4096n)],
      "file ends",
    ],
    [
      "a key twice",
      [...start(0n, 2n), ...text("a"), ...u32(4, 1), ...text("a"), ...u32(4, 1)],
      "twice",
    ],
    [
      "an alignment of 3",
      [...start(0n, 1n), ...text("general.alignment"), ...u32(4, 3)],
      "power of two",
    ],
    ["no dimensions", [...start(1n, 0n), ...text("t"), ...u32(0)], "dimensions"],
    [
      "dimensions that overflow",
      [...start(1n, 0n), ...text("t"), ...u32(2), ...u64(2n ** 30n), ...u64(2n ** 62n)],
      "dimension",
    ],
    [
      "a gap before a tensor",
      [...start(1n, 0n), ...text("t"), ...u32(1), ...u64(1n), ...u32(0), ...u64(32n)],
      "gap or overlap",
    ],
    [
      "a tensor beyond the end",
      [...start(1n, 0n), ...text("t"), ...u32(1), ...u64(1n), ...u32(0), ...u64(0n)],
      "truncated",
    ],
    [
      "an unknown tensor type",
      [...start(1n, 0n), ...text("t"), ...u32(1), ...u64(32n), ...u32(2), ...u64(0n)],
      "Q4_0",
    ],
    ["bytes after the end", [...start(0n, 0n), ...new Array<number>(64).fill(0)], "after the last"],
  ] as [string, number[], string][])("refuses %s", async (_, bytes, message) => {
    const error = await errorOf(GgufFile.parse(Uint8Array.from(bytes)));
    expect(error.message).toContain(message);
    expect(REFUSALS.has(error.code)).toBe(true);
  });
});

test("every type that can be exported has a test above", () => {
  expect([...EXPORT_TYPES].sort()).toEqual(Object.keys(PACKERS).sort() as ExportType[]);
});
