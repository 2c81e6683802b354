/**
 * Batches over a pool of blocks: every row has the bits that its sequence has alone, whatever runs
 * beside it; wrong calls are refused; memory and handles come back.
 */
import { afterAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import type { MagnetError } from "../../src/core/errors.ts";
import { seededRandom } from "../../src/core/random.ts";
import {
  type BatchArrays,
  batchEval,
  batchStep,
  KV_BLOCK,
  KvPool,
  OUTPUT,
} from "../../src/model/batch.ts";
import { type ModelConfig, PRESETS } from "../../src/model/config.ts";
import { InferenceModel } from "../../src/model/inference.ts";
import { cpuInfer } from "../../src/native/infer.ts";
import { createSampler, liveHandles } from "../../src/native/sample.ts";
import { rejection } from "../native/rejection.ts";
import { randomParams } from "./small-models.ts";

const random = seededRandom(11n);
const failure = async (promise: Promise<unknown>) => (await rejection(promise)) as MagnetError;
const bits = (x: Float32Array) => new Uint32Array(x.buffer, x.byteOffset, x.length);
const tokensOf = (config: ModelConfig, n: number) =>
  Int32Array.from({ length: n }, () => random.below(config.vocab_size));

/** A sequence under way: its tokens, its blocks, and how many tokens are cached. */
interface Sequence {
  tokens: Int32Array;
  blocks: number[];
  done: number;
}
interface Part {
  sequence: Sequence;
  count: number;
}

function arraysOf(parts: readonly Part[], output: number = OUTPUT.logits): BatchArrays {
  const rows: number[] = [];
  const tables: number[] = [];
  const starts = [0];
  for (const [s, { sequence, count }] of parts.entries()) {
    for (let i = 0; i < count; i++) {
      const position = sequence.done + i;
      rows.push(sequence.tokens[position]!, position, s, output);
    }
    tables.push(...sequence.blocks);
    starts.push(tables.length);
  }
  return {
    rows: Int32Array.from(rows),
    n_rows: rows.length / 4,
    tables: Uint32Array.from(tables),
    starts: Uint32Array.from(starts),
    n_sequences: parts.length,
  };
}

const blocksFor = (tokens: number) => Math.ceil(tokens / KV_BLOCK);

/** Logits of every position, of a sequence run by itself in one piece. */
async function alone(model: InferenceModel, tokens: Int32Array, kv_bits: 16 | 32) {
  const session = model.createSession({ kv_bits });
  const logits = await session.append(tokens, tokens.length);
  session.close();
  return logits;
}

const CONFIGS: Record<string, ModelConfig> = {
  tiny: PRESETS.tiny!,
  llama: { ...PRESETS.tiny!, variant: "llama" },
  odd: { ...PRESETS.tiny!, d_model: 150, n_heads: 3, n_kv_heads: 1, head_dim: 50, d_ff: 333 },
};

describe.each(Object.keys(CONFIGS))("a batch, %s", (name) => {
  const config = CONFIGS[name]!;
  const params = randomParams(config);

  test.each([
    [16, 1],
    [16, 3],
    [32, 2],
  ] as const)("random mixes give each row's own bits, kv %d, threads %d", async (kv, threads) => {
    const model = await InferenceModel.fromParams(config, await params, threads);
    const pool = new KvPool(model, 64, kv);
    const free = Array.from({ length: 64 }, (_, i) => i).sort(() => random.below(3) - 1);
    const prefix = tokensOf(config, 2 * KV_BLOCK);
    const shared: Sequence = { tokens: prefix, blocks: free.splice(0, 2), done: 0 };
    await batchEval(model, pool, arraysOf([{ sequence: shared, count: prefix.length }], 0));
    const sequences = Array.from({ length: 7 }, (_, i): Sequence => {
      const shares = i % 3 === 0;
      const own = tokensOf(config, 1 + random.below(config.context - prefix.length));
      const tokens = shares ? Int32Array.of(...prefix, ...own) : own;
      const blocks = shares ? [...shared.blocks] : [];
      blocks.push(...free.splice(0, blocksFor(tokens.length) - blocks.length));
      return { tokens, blocks, done: shares ? prefix.length : 0 };
    });
    const expected = await Promise.all(sequences.map((s) => alone(model, s.tokens, kv)));
    const vocab = config.vocab_size;
    for (;;) {
      const open = sequences.filter((s) => s.done < s.tokens.length && random.below(4) > 0);
      if (sequences.every((s) => s.done === s.tokens.length)) break;
      if (open.length === 0) continue;
      const parts = open.map((sequence) => {
        const left = sequence.tokens.length - sequence.done;
        return {
          sequence,
          count: Math.min(left, random.below(2) === 0 ? 1 : random.below(40) + 1),
        };
      });
      const { logits } = await batchEval(model, pool, arraysOf(parts));
      let row = 0;
      for (const { sequence, count } of parts) {
        const whole = expected[sequences.indexOf(sequence)]!;
        const own = whole.slice(sequence.done * vocab, (sequence.done + count) * vocab);
        expect(bits(logits.slice(row * vocab, (row + count) * vocab))).toEqual(bits(own));
        sequence.done += count;
        row += count;
      }
    }
    pool.close();
    model.close();
  });
});

test.each([1, 2])("threads share a long sequence's attention, %d kv heads", async (n_kv_heads) => {
  const config = { ...PRESETS.tiny!, n_layers: 1, n_heads: 10 * n_kv_heads, n_kv_heads };
  const long = { ...config, head_dim: 40, context: 1024 };
  const params = await randomParams(long);
  const one = await InferenceModel.fromParams(long, params, 1);
  const many = await InferenceModel.fromParams(long, params, 5);
  const tokens = tokensOf(long, 700);
  const expected = await alone(one, tokens, 16);
  const pool = new KvPool(many, 48);
  const blocks = Array.from({ length: 48 }, (_, i) => 47 - i);
  const sequence: Sequence = { tokens, blocks, done: 0 };
  for (const count of [512, 183, 1, 1, 1, 1, 1]) {
    const { logits } = await batchEval(many, pool, arraysOf([{ sequence, count }]));
    const from = sequence.done * long.vocab_size;
    expect(bits(logits)).toEqual(bits(expected.slice(from, from + logits.length)));
    sequence.done += count;
  }
  pool.close();
  one.close();
  many.close();
});

describe("a batch call", () => {
  const config = CONFIGS.tiny!;
  const made = (async () => {
    const model = await InferenceModel.fromParams(config, await randomParams(config), 2);
    return { model, pool: new KvPool(model, 8) };
  })();
  afterAll(async () => {
    const { model, pool } = await made;
    pool.close();
    model.close();
  });
  const sequence = (): Sequence => ({ tokens: tokensOf(config, 40), blocks: [0, 1, 2], done: 0 });

  test.each<[string, RegExp, (b: BatchArrays) => unknown]>([
    ["a token below 0", /token -1 of row 3/, (b) => b.rows.fill(-1, 12, 13)],
    ["a token beyond the vocabulary", /token 999999 of row 0/, (b) => b.rows.fill(999_999, 0, 1)],
    ["a gap in the positions", /row 2 is at position 9/, (b) => b.rows.fill(9, 9, 10)],
    ["a position beyond the context", /position 100000/, (b) => b.rows.fill(100_000, 1, 2)],
    ["a negative position", /position 4294967295/, (b) => b.rows.fill(-1, 1, 2)],
    ["a sequence that is not there", /sequence 7 of 1/, (b) => b.rows.fill(7, 6, 7)],
    ["an unknown output", /output 3 of row 1/, (b) => b.rows.fill(3, 7, 8)],
    ["a block beyond the pool", /block 8 at index 1/, (b) => b.tables.fill(8, 1, 2)],
    ["too few blocks", /no block in a table of 2/, (b) => b.starts.fill(2, 1, 2)],
    ["a table that does not start at 0", /does not start at 0/, (b) => b.starts.fill(1, 0, 1)],
    ["no rows", /0 rows/, (b) => Object.assign(b, { n_rows: 0 })],
    ["no sequences", /of 0 sequences/, (b) => Object.assign(b, { n_sequences: 0 })],
    ["a block used twice", /block 0 is written for two places/, (b) => b.tables.fill(0, 2, 3)],
  ])("with %s is refused", async (_, message, spoil) => {
    const { model, pool } = await made;
    const arrays = arraysOf([{ sequence: sequence(), count: 40 }]);
    spoil(arrays);
    const error = await failure(batchEval(model, pool, arrays));
    expect(error.code).toBe("NATIVE_INVALID");
    expect(error.message).toMatch(message);
  });

  test("with rows of a sequence in two places is refused", async () => {
    const { model, pool } = await made;
    const parts = [0, 3, 0].map((first) => ({
      sequence: { tokens: tokensOf(config, 3), blocks: [first], done: 0 },
      count: 1,
    }));
    const arrays = arraysOf(parts);
    arrays.rows[10] = 0;
    arrays.rows[9] = 1;
    const error = await failure(batchEval(model, pool, arrays));
    expect(error.message).toMatch(/sequence 0 do not stand together/);
  });

  test("on a pool of another model's shape is refused", async () => {
    const { pool } = await made;
    const other = await InferenceModel.fromParams(
      CONFIGS.odd!,
      await randomParams(CONFIGS.odd!),
      1,
    );
    const arrays = arraysOf([{ sequence: sequence(), count: 1 }]);
    const error = await failure(batchEval(other, pool, arrays));
    expect(error.message).toMatch(/another shape/);
    other.close();
  });

  test("that is cancelled can be run again", async () => {
    const { model, pool } = await made;
    const s = sequence();
    const expected = await alone(model, s.tokens, 16);
    await batchEval(model, pool, arraysOf([{ sequence: s, count: 20 }]));
    s.done = 20;
    const arrays = arraysOf([{ sequence: s, count: 20 }]);
    const error = await failure(batchEval(model, pool, arrays, { signal: AbortSignal.abort() }));
    expect(error.code).toBe("CANCELLED");
    const { logits } = await batchEval(model, pool, arrays);
    expect(bits(logits)).toEqual(bits(expected.slice(20 * config.vocab_size)));
  });

  test("runs beside others on the same model", async () => {
    const { model } = await made;
    const runs = Array.from({ length: 4 }, async () => {
      const pool = new KvPool(model, 4);
      const tokens = tokensOf(config, 50);
      const parts = [{ sequence: { tokens, blocks: [3, 1, 0, 2], done: 0 }, count: 50 }];
      const { logits } = await batchEval(model, pool, arraysOf(parts));
      pool.close();
      return { tokens, logits };
    });
    for (const { tokens, logits } of await Promise.all(runs))
      expect(bits(logits)).toEqual(bits(await alone(model, tokens, 16)));
  });

  test("gives the normed last state where it is asked for", async () => {
    const { model, pool } = await made;
    const arrays = arraysOf([{ sequence: sequence(), count: 5 }], OUTPUT.hidden);
    arrays.rows[7] = OUTPUT.logits;
    const { hidden, logits } = await batchEval(model, pool, arrays);
    expect(hidden.length).toBe(4 * config.d_model);
    expect(logits.length).toBe(config.vocab_size);
    // The final norm's weights are 1 in a fresh model: the mean square of every row is 1.
    for (let r = 0; r < 4; r++) {
      const row = hidden.subarray(r * config.d_model, (r + 1) * config.d_model);
      const mean = row.reduce((sum, x) => sum + x * x, 0) / row.length;
      expect(mean).toBeCloseTo(1, 2);
    }
  });

  test("draws tokens by samplers, each the greedy choice of its row", async () => {
    const { model, pool } = await made;
    const parts = [0, 1, 2].map((i) => ({
      sequence: { tokens: tokensOf(config, 9), blocks: [i], done: 0 },
      count: 5 + i,
    }));
    const arrays = arraysOf(parts, OUTPUT.none);
    for (const last of [4, 10, 17]) arrays.rows[4 * last + 3] = OUTPUT.logits;
    const { logits } = await batchEval(model, pool, arrays);
    const options = {
      ...{ temperature: 0, top_p: 1, min_p: 0, repetition_penalty: 1, top_k: 0, seed: 0n },
      ...{ presence_penalty: 0, frequency_penalty: 0, top_logprobs: 2, token_budget: 0 },
    };
    const samplers = [0, 1, 2].map(() => createSampler(cpuInfer, config.vocab_size, options, []));
    const out = {
      tokens: new Int32Array(3),
      logprobs: new Float32Array(3),
      top_ids: new Int32Array(60),
      top_logprobs: new Float32Array(60),
      hidden: new Float32Array(0),
    };
    const step = { ...arrays, samplers: BigUint64Array.from(samplers, BigInt), n_outputs: 3 };
    await batchStep(model, pool, step, out);
    for (let i = 0; i < 3; i++) {
      const row = logits.subarray(i * config.vocab_size, (i + 1) * config.vocab_size);
      expect(out.tokens[i]).toBe(row.indexOf(Math.max(...row)));
      expect(out.top_ids[20 * i]).toBe(out.tokens[i]!);
      expect(out.top_ids[20 * i + 2]).toBe(-1);
    }
    step.samplers[1] = step.samplers[0]!;
    const error = await failure(batchStep(model, pool, step, out));
    expect(error.message).toMatch(/twice/);
    for (const sampler of samplers) cpuInfer.mg_sampler_free(sampler);
  });
});

test("pages of released blocks go back, handles too", async () => {
  const baseline = liveHandles();
  const config = { ...PRESETS.tiny!, context: 4096, n_kv_heads: 4, n_heads: 4, head_dim: 64 };
  const model = await InferenceModel.fromParams(config, await randomParams(config), 1);
  const residentKb = () => {
    const line = fs.readFileSync("/proc/self/status", "utf8").match(/^RssAnon:\s+(\d+) kB/m);
    return Number(line![1]);
  };
  const pool = new KvPool(model, 4096, 32);
  const blocks = Array.from({ length: 256 }, (_, i) => 16 * i);
  const sequence: Sequence = { tokens: tokensOf(config, 4096), blocks, done: 0 };
  const before = residentKb();
  for (; sequence.done < 4096; sequence.done += 512)
    await batchEval(model, pool, arraysOf([{ sequence, count: 512 }], OUTPUT.none));
  const used = residentKb() - before;
  const bytes = (blocks.length * pool.block_bytes) / 1024;
  expect(used).toBeGreaterThan(0.9 * bytes);
  const held = residentKb();
  pool.release(Uint32Array.from(blocks));
  expect(held - residentKb()).toBeGreaterThan(0.9 * bytes);
  expect(() => pool.release(Uint32Array.of(4096))).toThrow(/block 4096 of a pool of 4096/);
  expect(liveHandles()).toBe(baseline + 2);
  pool.close();
  model.close();
  expect(liveHandles()).toBe(baseline);
});
