/**
 * Inference on a GPU, as the emulation of one runs it: the CPU's logits but for rounding, the same bits
 * for a request in whatever company, and objects of one library that another does not take.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { KvPool } from "../../src/model/batch.ts";
import { jsonObjectConstraint } from "../../src/model/constraint/compile.ts";
import { openEngine } from "../../src/model/engine/open-engine.ts";
import type { Engine, EngineRequest } from "../../src/model/engine/types.ts";
import { evalLogits, InferenceModel } from "../../src/model/inference.ts";
import { GREEDY, Sampler } from "../../src/model/sampling.ts";
import { NativeVocabulary } from "../../src/native/constraint.ts";
import { cpuInfer, inferLibrary } from "../../src/native/infer.ts";
import { liveHandles } from "../../src/native/sample.ts";
import { BUILD_TIMEOUT_MS, useEmulation } from "../native/emulated.ts";
import { newConstraints, TOKENS } from "./constraint/fixtures.ts";
import { errorOf } from "./error-of.ts";
import { randomParams, TINY } from "./small-models.ts";

const GPU = { kind: "cuda", index: 0 } as const;
const config = { ...TINY, d_model: 64, head_dim: 32, d_ff: 96, context: 48 };
const tokens = Int32Array.from({ length: 20 }, (_, i) => (37 * i * i + 11) % config.vocab_size);
let [cpu, gpu]: InferenceModel[] = [];

beforeAll(async () => {
  useEmulation();
  const params = await randomParams(config);
  // The GPU keeps it in float16.
  const embedding = config.vocab_size * config.d_model;
  for (let i = 0; i < embedding; i++) params[i] = Math.f16round(params[i]!);
  cpu = await InferenceModel.fromParams(config, params, 1);
  gpu = await InferenceModel.fromParams(config, params, 0, GPU);
}, BUILD_TIMEOUT_MS);
afterAll(() => {
  cpu?.close();
  gpu?.close();
});

const rowOf = (logits: Float32Array, i: number) =>
  logits.subarray(i * config.vocab_size, (i + 1) * config.vocab_size);

/** The highest logit's place, and how far it is above the next. */
function winner(row: Float32Array): { token: number; margin: number } {
  const [first, second] = [...row.keys()].sort((a, b) => row[b]! - row[a]!);
  return { token: first!, margin: row[first!]! - row[second!]! };
}

/** ||b - a|| / ||a||. */
const distance = (a: Float32Array, b: Float32Array) =>
  Math.hypot(...a.map((x, i) => b[i]! - x)) / Math.hypot(...a);

test("the logits are the CPU's but for rounding, and so is every token that wins clearly", async () => {
  const [a, b] = [await evalLogits(cpu!, tokens), await evalLogits(gpu!, tokens)];
  expect(distance(rowOf(a, 0), rowOf(b, 0))).toBeLessThan(1e-5);
  // Attention adds in another order, and what falls on the other side of an int8 rounding grows.
  expect(distance(a, b)).toBeLessThan(5e-2);
  const most = Math.max(...a.map((x, i) => Math.abs(b[i]! - x)));
  let clear = 0;
  for (const i of tokens.keys()) {
    const { token, margin } = winner(rowOf(a, i));
    if (margin <= 2 * most) continue;
    clear++;
    expect(winner(rowOf(b, i)).token).toBe(token);
  }
  expect(clear).toBeGreaterThan(tokens.length / 4);
});

describe("the engine", () => {
  const request = (seed: number): EngineRequest => ({
    prompt: Int32Array.from({ length: 3 + 9 * seed }, (_, i) => (seed * 71 + i * i) % 256),
    max_tokens: 5,
    sampling: { temperature: 1, top_k: 0, top_p: 1, seed },
    end_tokens: new Set(),
  });
  async function idsOf(engine: Engine, one: EngineRequest): Promise<string> {
    const ids: string[] = [];
    for await (const { token, logprob } of engine.generate(one)) ids.push(`${token}:${logprob}`);
    return ids.join(" ");
  }

  test("a request gets the same bits alone and in a crowd; nothing is left behind", async () => {
    const before = liveHandles(gpu!.library);
    const { engine } = openEngine({ model: gpu!, tokenizer: null });
    const requests = [0, 1, 2].map(request);
    const crowd = await Promise.all(requests.map((one) => idsOf(engine, one)));
    const alone = [];
    for (const one of requests) alone.push(await idsOf(engine, one));
    expect(crowd).toEqual(alone);
    expect(crowd[0]!.split(" ").length).toBe(5);
    expect(engine.stats().cached_tokens).toBeGreaterThan(0);
    await engine.close();
    expect(liveHandles(gpu!.library)).toBe(before);
  });

  test("greedy tokens are those of a whole evaluation", async () => {
    const { engine } = openEngine({ model: gpu!, tokenizer: null });
    const greedy = { ...request(1), sampling: { temperature: 0 } };
    const drawn: number[] = [];
    for await (const { token } of engine.generate(greedy)) drawn.push(token);
    const whole = Int32Array.of(...greedy.prompt, ...drawn);
    const logits = await evalLogits(gpu!, whole);
    const first = greedy.prompt.length - 1;
    expect(drawn).toEqual(drawn.map((_, i) => winner(rowOf(logits, first + i)).token));
    await engine.close();
  });

  test("the pool takes a context for each sequence, within the GPU's memory", async () => {
    const { engine } = openEngine({ model: gpu!, tokenizer: null }, { sequences_max: 7 });
    expect(engine.stats().blocks_total).toBe(7 * 3);
    await engine.close();
    const open = () => openEngine({ model: gpu!, tokenizer: null }, { kv_bytes: 2 ** 40 });
    expect(open).toThrow(/keys and values need 1\.0 TiB on the GPU, .* free on cuda:0/);
  });
});

describe("objects of another library are not taken", () => {
  const of_another = /is of another library than what uses it/;

  test("samplers, constraints, vocabularies, pools", async () => {
    const library = inferLibrary(GPU);
    expect(library).not.toBe(cpuInfer);
    expect(inferLibrary({ kind: "cuda", index: 1 })).toBe(library);
    const sampler = new Sampler(config.vocab_size, GREEDY);
    expect(() => sampler.handleOf(library)).toThrow(of_another);
    sampler.close();
    const constraints = newConstraints();
    const size = TOKENS.length;
    const grammar = constraints.grammar(jsonObjectConstraint(), size);
    expect(() => new Sampler(size, GREEDY, { grammar, library })).toThrow(of_another);
    constraints.close();
    const vocabulary = new NativeVocabulary([Uint8Array.of(65)], [0], library);
    expect(() => vocabulary.handleOf(cpuInfer)).toThrow(of_another);
    vocabulary.close();
    const pool = new KvPool(cpu!, 1);
    expect(await pool.use(library, async () => 0).catch(String)).toMatch(of_another);
    pool.close();
  });
});

test("what only the CPU computes is refused", async () => {
  const session = () => gpu!.createSession({ rounding: "llamacpp" });
  expect(session).toThrow(/llamacpp rounding is the CPU's/);
  expect(() => new KvPool(gpu!, 4, 32)).toThrow(/16 bits/);
  const plain = { ...config, quant: "none" } as const;
  const refused = await errorOf(
    InferenceModel.fromParams(plain, await randomParams(plain), 0, GPU),
  );
  expect([refused.code, refused.hint]).toEqual(["UNSUPPORTED", "take --device cpu"]);
});
