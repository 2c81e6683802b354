/**
 * Inference: the same bits however tokens are cut, batched or threaded; the trainer's logits;
 * sampling.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { execFile } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import type { MagnetError } from "../../src/core/errors.ts";
import { seededRandom } from "../../src/core/random.ts";
import { type ModelConfig, PRESETS, paramCount } from "../../src/model/config.ts";
import { exportGguf } from "../../src/model/export-gguf.ts";
import { GgufFile } from "../../src/model/gguf-file.ts";
import {
  evalLogits,
  type HeadFormat,
  InferenceModel,
  InferenceSession,
} from "../../src/model/inference.ts";
import { GREEDY, type Sampling, sampleToken } from "../../src/model/sampling.ts";
import { rejection } from "../native/rejection.ts";
import { bookTokenizer, randomParams, SMALL } from "./small-models.ts";

const SEED = 7n;
const CONFIGS: Record<string, ModelConfig> = {
  bitnet: PRESETS.tiny!,
  llama: { ...PRESETS.tiny!, variant: "llama" },
  // Rows that are no multiple of 32 columns, one kv head, several blocks of 128.
  odd: { ...PRESETS.tiny!, d_model: 150, n_heads: 3, n_kv_heads: 1, head_dim: 50, d_ff: 333 },
};

const random = seededRandom(SEED);
const tokensOf = (config: ModelConfig, n: number) =>
  Int32Array.from({ length: n }, () => random.below(config.vocab_size));

const bits = (x: Float32Array) => new Uint32Array(x.buffer, x.byteOffset, x.length);

describe.each(Object.keys(CONFIGS))("inference, %s", (name) => {
  const config = CONFIGS[name]!;
  const made = (async () => {
    const params = await randomParams(config);
    return { params, model: await InferenceModel.fromParams(config, params, 2) };
  })();
  afterAll(async () => {
    (await made).model.close();
  });

  test("states the configuration it was made with", async () => {
    const { model, params } = await made;
    expect(model.config).toEqual({ ...config, norm_eps: Math.fround(config.norm_eps) });
    expect(params.length).toBe(paramCount(config));
  });

  test("one token at a time, in odd pieces and at once give the same bits", async () => {
    const { model } = await made;
    const tokens = tokensOf(config, config.context);
    const whole = await evalLogits(model, tokens);
    for (const piece of [1, 7, 33]) {
      const session = model.createSession();
      for (let at = 0; at < tokens.length; at += piece) {
        const part = tokens.subarray(at, at + piece);
        const logits = await session.append(part, part.length);
        const expected = whole.subarray(at * config.vocab_size);
        expect(bits(logits)).toEqual(bits(expected.slice(0, logits.length)));
      }
      session.close();
    }
  });

  test("sessions decoded together give the bits of each alone", async () => {
    const { model } = await made;
    const sequences = Array.from({ length: 9 }, (_, i) => tokensOf(config, 3 + 2 * i));
    const alone = await Promise.all(sequences.map((tokens) => evalLogits(model, tokens)));
    const sessions = sequences.map(() => model.createSession());
    for (const [i, session] of sessions.entries())
      await session.append(sequences[i]!.subarray(0, -1), 0);
    const last = Int32Array.from(sequences, (tokens) => tokens.at(-1)!);
    const together = await InferenceSession.decode(sessions, last);
    for (const [i, logits] of alone.entries())
      expect(bits(together.slice(i * config.vocab_size, (i + 1) * config.vocab_size))).toEqual(
        bits(logits.slice(-config.vocab_size)),
      );
    for (const session of sessions) session.close();
  });

  test("thread counts do not change a bit", async () => {
    const { params } = await made;
    const tokens = tokensOf(config, 20);
    const results: Float32Array[] = [];
    for (const threads of [1, 3, 5]) {
      const model = await InferenceModel.fromParams(config, params, threads);
      results.push(await evalLogits(model, tokens));
      model.close();
    }
    for (const result of results) expect(bits(result)).toEqual(bits(results[0]!));
  });

  test("truncating and going on equals never having gone further", async () => {
    const { model } = await made;
    const tokens = tokensOf(config, 24);
    const session = model.createSession();
    await session.append(tokens, 0);
    session.truncate(10);
    const again = await session.append(tokens.subarray(10), 14);
    const whole = await evalLogits(model, tokens);
    expect(bits(again)).toEqual(bits(whole.slice(10 * config.vocab_size)));
    session.close();
  });
});

test.each(["bitnet", "llama"] as const)("llamacpp rounding too, %s", async (variant) => {
  const config = { ...SMALL, variant };
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-inference-"));
  const file = path.join(folder, "model.gguf");
  const tokenizer = await bookTokenizer(config.vocab_size);
  const params = await randomParams(config);
  await exportGguf({ config, params, tokenizer, type: "TQ2_0", name: "m", path: file });
  const gguf = await GgufFile.open(file);
  fs.rmSync(folder, { recursive: true });
  const tokens = tokensOf(config, 70); // more than one pass holds
  const results: Float32Array[] = [];
  for (const threads of [1, 3]) {
    const model = await InferenceModel.fromGguf(gguf, threads);
    results.push(await evalLogits(model, tokens, "llamacpp"));
    const [session, other] = [1, 2].map(() => model.createSession({ rounding: "llamacpp" }));
    await session!.append(tokens.subarray(0, 41), 0);
    const pieces = await session!.append(tokens.subarray(41, 69), 28);
    const last = tokens.subarray(69);
    const both = await InferenceSession.decode([session!, other!], Int32Array.of(last[0]!, 5));
    const joined = results[0]!.slice();
    joined.set(pieces, 41 * config.vocab_size);
    joined.set(both.subarray(0, config.vocab_size), 69 * config.vocab_size);
    results.push(joined);
    for (const s of [session!, other!]) s.close();
    model.close();
  }
  gguf.close();
  for (const result of results) expect(bits(result)).toEqual(bits(results[0]!));
});

test("a head rounded to int8 or int4 moves the logits by no more than its step", async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-head-"));
  const file = path.join(folder, "model.gguf");
  const tokenizer = await bookTokenizer(SMALL.vocab_size);
  const params = await randomParams(SMALL);
  await exportGguf({ config: SMALL, params, tokenizer, type: "TQ2_0", name: "m", path: file });
  const gguf = await GgufFile.open(file);
  fs.rmSync(folder, { recursive: true });
  const tokens = tokensOf(SMALL, 20);
  const run = async (head: HeadFormat) => {
    const model = await InferenceModel.fromGguf(gguf, 2, head);
    const logits = await evalLogits(model, tokens);
    const refused = await rejection(evalLogits(model, tokens, "llamacpp")).catch(() => null);
    model.close();
    return { logits, refused };
  };
  const exact = await run("file");
  expect(exact.refused).toBeNull();
  const spread = Math.sqrt(exact.logits.reduce((sum, x) => sum + x * x, 0) / exact.logits.length);
  for (const [head, most] of [
    ["int8", 0.02],
    ["int4", 0.2],
  ] as const) {
    const { logits, refused } = await run(head);
    const squares = logits.reduce((sum, x, i) => sum + (x - exact.logits[i]!) ** 2, 0);
    const moved = Math.sqrt(squares / logits.length) / spread;
    expect(moved).toBeGreaterThan(most / 100); // it is another head
    expect(moved).toBeLessThan(most);
    expect((refused as MagnetError).code).toBe("UNSUPPORTED");
  }
  gguf.close();
});

test("the scalar path gives the bits of the one in force", async () => {
  const run = async (MAGNET_CPU: string) => {
    const script = path.join(import.meta.dir, "infer-digest.ts");
    const env = { ...process.env, MAGNET_CPU };
    const { stdout } = await promisify(execFile)(process.execPath, [script], { env });
    return JSON.parse(stdout) as { path: string; digests: string[] };
  };
  const scalar = await run("scalar");
  const usual = await run("");
  expect(scalar.path).toBe("scalar");
  expect(usual.digests).toEqual(scalar.digests);
});

describe("sampling", () => {
  const logits = Float32Array.from([1, 3, 2, 3, -1, 0.5]);
  const sampling = (o: Partial<Sampling>): Sampling => ({ ...GREEDY, temperature: 1, ...o });

  test("greedy takes the lowest id of the highest logit, and its log-probability", () => {
    const sampled = sampleToken(logits, GREEDY, 0);
    const total = logits.reduce((sum, x) => sum + Math.exp(x), 0);
    expect(sampled.token).toBe(1);
    expect(sampled.logprob).toBeCloseTo(3 - Math.log(total), 5);
  });

  test("draws follow the softmax, and the seed and step fix them", () => {
    const counts = new Array<number>(logits.length).fill(0);
    const n = 20_000;
    const s = sampling({ seed: 5n, top_k: 0, top_p: 1 });
    for (let step = 0; step < n; step++) counts[sampleToken(logits, s, step).token]!++;
    const total = logits.reduce((sum, x) => sum + Math.exp(x), 0);
    for (const [i, x] of logits.entries())
      expect(Math.abs(counts[i]! / n - Math.exp(x) / total)).toBeLessThan(0.015);
    expect(sampleToken(logits, s, 17)).toEqual(sampleToken(logits, s, 17));
  });

  test.each([
    ["top_k", { top_k: 3, top_p: 1 }, [1, 2, 3]],
    ["top_p", { top_k: 0, top_p: 0.7 }, [1, 3]],
    ["min_p", { top_k: 0, top_p: 1, min_p: 0.3 }, [1, 2, 3]],
    ["bias", { top_k: 1, logit_bias: [[4, 50]] }, [4]],
  ] as [string, Partial<Sampling>, number[]][])("%s limits what is drawn", (_, o, allowed) => {
    const drawn = new Set<number>();
    for (let step = 0; step < 500; step++) drawn.add(sampleToken(logits, sampling(o), step).token);
    expect([...drawn].sort()).toEqual(allowed);
  });

  test("top-p over a large flat vocabulary keeps the right number of tokens", () => {
    const flat = Float32Array.from({ length: 5000 }, (_, i) => -i * 1e-6);
    let highest = 0;
    for (let step = 0; step < 400; step++)
      highest = Math.max(
        highest,
        sampleToken(flat, sampling({ top_k: 0, top_p: 0.5 }), step).token,
      );
    expect(highest).toBeGreaterThan(2200);
    expect(highest).toBeLessThan(2510);
  });

  test("the repetition penalty moves the choice away from recent tokens", () => {
    const s = { ...GREEDY, repetition_penalty: 2 };
    expect(sampleToken(logits, s, 0, Int32Array.of(1, 3, 3)).token).toBe(2);
  });

  test("a NaN logit is an error, not a token", () => {
    expect(() => sampleToken(Float32Array.of(1, Number.NaN), GREEDY, 0)).toThrow("NaN");
  });
});

test("tokens outside the vocabulary or the context are refused, and the session stays usable", async () => {
  const config = PRESETS.tiny!;
  const model = await InferenceModel.fromParams(config, await randomParams(config), 1);
  const session = model.createSession({ context: 4 });
  // Not `expect(...).rejects`: it blocks the event loop, and a worker's answer never arrives.
  const refusal = (tokens: number[]) =>
    session.append(Int32Array.from(tokens), 0).then(
      () => "accepted",
      (error: Error) => error.message,
    );
  expect(await refusal([1, config.vocab_size])).toContain("vocabulary");
  expect(await refusal([1, 2, 3, 4, 5])).toContain("context");
  await session.append(Int32Array.of(1, 2, 3, 4), 1);
  expect(session.length).toBe(4);
  session.close();
  model.close();
});
