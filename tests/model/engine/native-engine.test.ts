/**
 * The engine on the native library: a seeded request draws the same tokens alone, in a crowd, with
 * and without the prefix cache and after it had to give its blocks back; and whatever ends a
 * request, the library's live handles and the pool's blocks are back to the baseline exactly.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { seededRandom } from "../../../src/core/random.ts";
import { BATCH_ROWS_MAX, KV_BLOCK } from "../../../src/model/batch.ts";
import { BLOCK_TOKENS } from "../../../src/model/engine/block-store.ts";
import { openEngine } from "../../../src/model/engine/open-engine.ts";
import { BATCH_ROWS } from "../../../src/model/engine/scheduler.ts";
import type { Engine, EngineOptions, EngineRequest } from "../../../src/model/engine/types.ts";
import { evalLogits, InferenceModel } from "../../../src/model/inference.ts";
import { liveHandles } from "../../../src/native/sample.ts";
import { errorOf } from "../error-of.ts";
import { randomParams, TINY } from "../small-models.ts";

const config = { ...TINY, n_layers: 2, context: 600 };
let model: InferenceModel;
let baseline: number;

beforeAll(async () => {
  model = await InferenceModel.fromParams(config, await randomParams(config), 2);
  baseline = liveHandles();
});
afterAll(() => model.close());

async function withEngine<T>(
  options: EngineOptions,
  work: (engine: Engine) => Promise<T>,
): Promise<T> {
  const { engine } = openEngine({ model, tokenizer: null }, options);
  try {
    const result = await work(engine);
    const { running, waiting, blocks_in_use, live_handles } = engine.stats();
    expect([running, waiting, blocks_in_use, live_handles]).toEqual([0, 0, 0, baseline + 1]);
    return result;
  } finally {
    await engine.close();
    expect(liveHandles()).toBe(baseline);
  }
}

/** Prompts of many lengths, half of them with a beginning in common. */
function request(seed: number, extra: Partial<EngineRequest> = {}): EngineRequest {
  const random = seededRandom(seed);
  const length = 5 + random.below(60);
  const draw = (i: number) => (seed % 2 === 0 && i < 40 ? 100 + i : random.below(300));
  return {
    prompt: Int32Array.from({ length }, (_, i) => draw(i)),
    max_tokens: 24,
    sampling: { temperature: 1, top_k: 0, top_p: 1, seed, repetition_penalty: 1.1 },
    end_tokens: new Set(),
    ...extra,
  };
}

async function idsOf(engine: Engine, one: EngineRequest): Promise<string> {
  const ids: string[] = [];
  for await (const { token, logprob } of engine.generate(one)) ids.push(`${token}:${logprob}`);
  return ids.join(" ");
}

test("the library's constants are the engine's", () => {
  expect([BLOCK_TOKENS, BATCH_ROWS]).toEqual([KV_BLOCK, BATCH_ROWS_MAX]);
});

describe("a seeded request", () => {
  const seeds = Array.from({ length: 16 }, (_, i) => i);
  let alone: string[];
  beforeAll(async () => {
    alone = await withEngine({ prefix_cache: false }, async (engine) => {
      const answers: string[] = [];
      for (const seed of seeds) answers.push(await idsOf(engine, request(seed)));
      return answers;
    });
    expect(new Set(alone).size).toBe(seeds.length);
  });

  test.each<[string, EngineOptions]>([
    ["in a crowd", {}],
    ["in a crowd without the cache", { prefix_cache: false }],
    ["with few places", { sequences_max: 3 }],
    ["in a pool that is too small for all", { kv_tokens: 160, prefix_cache: false }],
    ["in a small pool with the cache", { kv_tokens: 176 }],
  ])("%s: the same tokens to the last bit", async (_, options) => {
    const answers = await withEngine(options, (engine) =>
      Promise.all(seeds.map((seed) => idsOf(engine, request(seed)))),
    );
    expect(answers).toEqual(alone);
  });

  test("asked again, it is taken from the cache and is the same", async () => {
    await withEngine({}, async (engine) => {
      for (const seed of [2, 2, 3, 2])
        expect(await idsOf(engine, request(seed))).toBe(alone[seed]!);
      expect(engine.stats().cached_tokens).toBeGreaterThan(0);
    });
  });
});

describe("cancelling", () => {
  const prompt = Int32Array.from({ length: 590 }, (_, i) => i % 300);

  test("in the midst of prompts and answers, again and again", async () => {
    await withEngine({ kv_tokens: 2000 }, async (engine) => {
      const random = seededRandom(5);
      const work = Array.from({ length: 40 }, async (_, seed) => {
        const abort = new AbortController();
        const after = random.below(20);
        const extra = { signal: abort.signal, ...(seed % 4 === 0 ? { prompt } : {}) };
        const tokens = engine.generate(request(seed, extra));
        const first = tokens.next();
        if (after === 0) abort.abort();
        const read = async () => {
          await first;
          for (let i = 1; i < after; i++) await tokens.next();
          if (seed % 2 === 0) abort.abort();
          else await tokens.return(undefined as never);
          await tokens.next();
        };
        await read().catch((error) => expect(error.code).toBe("CANCELLED"));
      });
      await Promise.all(work);
    });
  });

  test("an engine that is closed during work frees everything", async () => {
    const { engine } = openEngine({ model, tokenizer: null });
    const work = [0, 1, 2].map((seed) => errorOf(idsOf(engine, request(seed, { prompt }))));
    const first = engine.generate(request(4));
    await first.next();
    await engine.close();
    for (const error of await Promise.all(work)) expect(error.code).toBe("CANCELLED");
    expect((await errorOf(first.next())).code).toBe("CANCELLED");
    expect(liveHandles()).toBe(baseline);
  });
});

test("a logit bias outside of the vocabulary fails its request alone", async () => {
  await withEngine({}, async (engine) => {
    const sampling = { logit_bias: [[300, 1]] as [number, number][] };
    const [bad, good] = await Promise.all([
      errorOf(idsOf(engine, request(1, { sampling }))),
      idsOf(engine, request(1)),
    ]);
    expect(bad.message).toContain("outside the vocabulary");
    expect(good.split(" ")).toHaveLength(24);
  });
});

test("greedy answers follow the logits of a whole evaluation", async () => {
  const greedy = { prompt: request(3).prompt, sampling: { temperature: 0 }, max_tokens: 5 };
  const answer = await withEngine({}, (engine) => idsOf(engine, request(3, greedy)));
  const tokens = [...greedy.prompt];
  for (const drawn of answer.split(" ")) {
    const logits = (await evalLogits(model, Int32Array.from(tokens))).subarray(-config.vocab_size);
    expect(Number(drawn.split(":")[0])).toBe(logits.indexOf(Math.max(...logits)));
    tokens.push(Number(drawn.split(":")[0]));
  }
});

test("an embedding is a unit vector, the same in a crowd", async () => {
  await withEngine({ kv_tokens: 900 }, async (engine) => {
    const tokens = Int32Array.from({ length: 550 }, (_, i) => (i * 7) % 300);
    const alone = await engine.embed(tokens);
    expect(alone).toHaveLength(config.d_model);
    expect(Math.hypot(...alone)).toBeCloseTo(1, 6);
    const [crowd] = await Promise.all([
      engine.embed(tokens),
      ...[0, 1, 2].map((seed) => idsOf(engine, request(seed))),
    ]);
    expect(crowd).toEqual(alone);
  });
});
