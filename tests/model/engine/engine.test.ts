/**
 * The engine's loop over a backend whose every answer is known: a request's tokens depend on itself
 * alone, and whatever ends it (a cancel at any moment, a bad option, a failed step, a closed
 * engine) its blocks and handles are back exactly, and the others do not notice.
 */
import { describe, expect, test } from "bun:test";
import { toMagnetError } from "../../../src/core/errors.ts";
import { BatchEngine } from "../../../src/model/engine/engine.ts";
import type { EngineRequest, EngineResult, EngineToken } from "../../../src/model/engine/types.ts";
import { FakeBackend } from "./fake-backend.ts";

type Options = ConstructorParameters<typeof BatchEngine>[1] & { context?: number; blocks?: number };
function setUp({ context = 512, blocks = 100, ...options }: Options = {}) {
  const backend = new FakeBackend(context, blocks);
  return { backend, engine: new BatchEngine(backend, options) };
}

const request = (seed: number, extra: Partial<EngineRequest> & { length?: number } = {}) => {
  const { length = 10 + 7 * (seed % 5), ...rest } = extra;
  return {
    prompt: Int32Array.from({ length }, (_, i) => (i < 16 ? 3 : (i * (seed + 1)) % 50)),
    max_tokens: 20,
    sampling: { seed },
    end_tokens: new Set<number>(),
    ...rest,
  };
};

async function read(tokens: AsyncGenerator<EngineToken, EngineResult>) {
  const ids: number[] = [];
  for (;;) {
    const next = await tokens.next();
    if (next.done) return { ids, ...next.value };
    ids.push(next.value.token);
  }
}
const failure = async (promise: Promise<unknown>) => {
  try {
    await promise;
  } catch (error) {
    return toMagnetError(error);
  }
  throw new Error("it did not fail");
};
/** Nothing is held any more, by nobody. */
function expectBaseline({ backend, engine }: ReturnType<typeof setUp>): void {
  const { running, waiting, blocks_in_use, live_handles } = engine.stats();
  expect({ running, waiting, blocks_in_use, live_handles }).toEqual({
    ...{ running: 0, waiting: 0, blocks_in_use: 0 },
    live_handles: 1,
  });
  expect(backend.samplers.size).toBe(0);
}

describe("answers", () => {
  test("are the same alone, in a crowd, without the cache and after preemption", async () => {
    const seeds = Array.from({ length: 12 }, (_, i) => i);
    const answers = async (set: ReturnType<typeof setUp>, together: boolean) => {
      const ids: number[][] = [];
      if (together) {
        const all = seeds.map((seed) => read(set.engine.generate(request(seed))));
        for (const { ids: one } of await Promise.all(all)) ids.push(one);
      } else
        for (const seed of seeds) ids.push((await read(set.engine.generate(request(seed)))).ids);
      expectBaseline(set);
      return ids;
    };
    const alone = await answers(setUp({ prefix_cache: false }), false);
    expect(new Set(alone.map(String)).size).toBe(seeds.length);
    expect(await answers(setUp(), false)).toEqual(alone);
    expect(await answers(setUp(), true)).toEqual(alone);
    expect(await answers(setUp({ sequences_max: 3 }), true)).toEqual(alone);
    const narrow = setUp({ blocks: 8, prefix_cache: false }); // 128 tokens for 12 sequences
    expect(await answers(narrow, true)).toEqual(alone);
  });

  test("end at an end token, which is not part of them, at max_tokens and at the context", async () => {
    const set = setUp({ context: 64 });
    const { ids } = await read(set.engine.generate(request(1, { length: 30 })));
    const end = new Set([ids[7]!]);
    const cut = await read(set.engine.generate(request(1, { length: 30, end_tokens: end })));
    expect(cut.ids).toEqual(ids.slice(0, ids.indexOf(ids[7]!)));
    expect([cut.finish_reason, cut.completion_tokens]).toEqual(["stop", cut.ids.length + 1]);
    const long = await read(set.engine.generate(request(1, { length: 30, max_tokens: 1000 })));
    expect([long.finish_reason, long.completion_tokens]).toEqual(["length", 34]);
    expect(long.ids.slice(0, 20)).toEqual(ids);
    expect([cut.cached_tokens, long.prompt_tokens]).toEqual([16, 30]);
    expectBaseline(set);
  });

  test("a hundred requests at once: all are served by arrival", async () => {
    const set = setUp({ sequences_max: 4 });
    const order: number[] = [];
    const seeds = Array.from({ length: 100 }, (_, i) => i);
    await Promise.all(
      seeds.map(async (seed) => {
        await read(set.engine.generate(request(seed, { length: 12, max_tokens: 3 })));
        order.push(seed);
      }),
    );
    expect(order).toEqual(seeds);
    expect(set.engine.stats()).toMatchObject({ completion_tokens: 300, prompt_tokens: 1200 });
    expectBaseline(set);
  });
});

describe("cancelling", () => {
  test.each([
    ["while the prompt is computed", 1],
    ["at its first token", 2],
    ["while it decodes", 9],
  ])("%s: within the step, alone by the native flag", async (_, at) => {
    const set = setUp({ context: 1024 });
    const abort = new AbortController();
    set.backend.onStep = () => {
      if (set.backend.steps === at) abort.abort();
    };
    const long = request(1, { length: 700, signal: abort.signal });
    expect((await failure(read(set.engine.generate(long)))).code).toBe("CANCELLED");
    expect([set.backend.steps, set.backend.aborted_steps]).toEqual([at, 1]);
    expectBaseline(set);
  });

  test.each([1, 2, 5])("at step %d among others: they go on undisturbed", async (at) => {
    const set = setUp();
    const alone = (await read(set.engine.generate(request(2)))).ids;
    const abort = new AbortController();
    const first = set.backend.steps;
    set.backend.onStep = () => {
      if (set.backend.steps === first + at) abort.abort();
    };
    const gone = failure(read(set.engine.generate(request(1, { signal: abort.signal }))));
    const stays = read(set.engine.generate(request(2)));
    expect((await gone).code).toBe("CANCELLED");
    expect((await stays).ids).toEqual(alone);
    expect(set.backend.aborted_steps).toBe(0);
    expectBaseline(set);
  });

  test("of all in a step ends the step", async () => {
    const set = setUp();
    const aborts = [new AbortController(), new AbortController()];
    set.backend.onStep = () => {
      if (set.backend.steps === 3) for (const abort of aborts) abort.abort();
    };
    const both = aborts.map(({ signal }, i) =>
      failure(read(set.engine.generate(request(i, { signal })))),
    );
    for (const error of await Promise.all(both)) expect(error.code).toBe("CANCELLED");
    expect(set.backend.aborted_steps).toBe(1);
    expectBaseline(set);
  });

  test("while waiting, and before the first call", async () => {
    const set = setUp({ sequences_max: 1 });
    const abort = new AbortController();
    const first = read(set.engine.generate(request(1)));
    const second = failure(read(set.engine.generate(request(2, { signal: abort.signal }))));
    abort.abort();
    expect((await second).code).toBe("CANCELLED");
    expect((await first).ids).toHaveLength(20);
    const late = set.engine.generate(request(2, { signal: abort.signal }));
    expect((await failure(late.next())).code).toBe("CANCELLED");
    expectBaseline(set);
  });

  test("a reader that leaves the loop gives everything back", async () => {
    const set = setUp();
    for await (const _ of set.engine.generate(request(1))) break;
    expectBaseline(set);
  });
});

describe("one request's trouble is its own", () => {
  test("bad options, refused samplers, and draws without a token", async () => {
    const set = setUp();
    const { engine, backend } = set;
    backend.dead_seed = 7;
    const good = read(engine.generate(request(1)));
    const bad = [
      request(2, { sampling: { temperature: -1 } }),
      request(2, { max_tokens: 0 }),
      request(2, { top_logprobs: 21 }),
      request(2, { length: 0 }),
      request(2, { prompt: Int32Array.of(1, 50) }),
      request(2, { length: 600 }),
      request(2, { constraint: { program: new Uint8Array(1) } }),
      request(7),
    ];
    const codes: string[] = [];
    for (const one of bad) codes.push((await failure(read(engine.generate(one)))).code);
    expect(codes).toEqual([
      ...["BAD_SAMPLING", "BAD_REQUEST", "BAD_REQUEST", "EMPTY_PROMPT", "BAD_TOKEN"],
      ...["PROMPT_TOO_LONG", "BAD_CONSTRAINT", "NO_TOKEN"],
    ]);
    expect((await good).ids).toHaveLength(20);
    expectBaseline(set);
  });

  test("what a refused or failed request was to compute is not taken for known", async () => {
    const alone = (await read(setUp().engine.generate(request(1, { length: 40 })))).ids;
    const set = setUp();
    const constraint = { program: new Uint8Array(1) };
    const refused = request(1, { length: 40, constraint });
    expect((await failure(read(set.engine.generate(refused)))).code).toBe("BAD_CONSTRAINT");
    set.backend.onStep = () => {
      if (set.backend.steps === 1) throw new Error("the step broke");
    };
    const failed = failure(read(set.engine.generate(request(1, { length: 40 }))));
    expect((await failed).message).toBe("the step broke");
    const good = await read(set.engine.generate(request(1, { length: 40 })));
    expect([good.ids, good.cached_tokens]).toEqual([alone, 0]);
  });

  test("a failed step fails the requests in it, and the engine goes on", async () => {
    const set = setUp({ sequences_max: 2 });
    set.backend.onStep = () => {
      if (set.backend.steps === 3) throw new Error("the step broke");
    };
    const all = [1, 2, 3].map((seed) => read(set.engine.generate(request(seed))));
    const settled = await Promise.allSettled(all);
    expect(settled.map(({ status }) => status)).toEqual(["rejected", "rejected", "fulfilled"]);
    expectBaseline(set);
  });

  test("a pool too small for a prompt says how much it holds", async () => {
    const set = setUp({ blocks: 2 });
    expect(set.engine.context).toBe(32);
    const error = await failure(read(set.engine.generate(request(1, { length: 32 }))));
    expect(error.code).toBe("PROMPT_TOO_LONG");
    expect(error.message).toContain("this engine takes 32");
    expect(error.hint).toContain("512");
    expect((await read(set.engine.generate(request(1, { length: 31 })))).ids).toHaveLength(1);
  });

  test("too many requests are refused, retryable", async () => {
    const set = setUp({ sequences_max: 1, waiting_max: 2 });
    const all = [0, 1, 2, 3].map((seed) => read(set.engine.generate(request(seed))));
    const settled = await Promise.allSettled(all);
    const refused = settled.map(({ status }) => status === "rejected");
    expect(refused).toEqual([false, false, false, true]);
    expect((settled[3] as PromiseRejectedResult).reason).toMatchObject({
      code: "ENGINE_BUSY",
      retryable: true,
    });
    expectBaseline(set);
  });
});

test("a reader that does not read is not computed for, stalls nobody, and gets all of it", async () => {
  const set = setUp({ context: 1600, blocks: 300 });
  const quick = request(1, { max_tokens: 1500 });
  const whole = (await read(set.engine.generate(quick))).ids;
  const slow = set.engine.generate(quick);
  const first = await slow.next();
  await read(set.engine.generate(request(2, { max_tokens: 1000 })));
  const { running, waiting, blocks_in_use } = set.engine.stats();
  expect([running, waiting, blocks_in_use]).toEqual([0, 1, 0]);
  expect(set.engine.stats().completion_tokens).toBeLessThan(1500 + 1000 + 300);
  const rest = await read(slow);
  expect([(first.value as EngineToken).token, ...rest.ids]).toEqual(whole);
  expectBaseline(set);
});

describe("embedding", () => {
  test("is the mean's direction, whatever the cut into steps and the company", async () => {
    const set = setUp({ context: 1024 });
    const tokens = request(3, { length: 600 }).prompt;
    const alone = await set.engine.embed(tokens);
    expect(Math.hypot(...alone)).toBeCloseTo(1, 6);
    const [crowd] = await Promise.all([
      set.engine.embed(tokens),
      read(set.engine.generate(request(1))),
      set.engine.embed(request(4).prompt),
    ]);
    expect(crowd).toEqual(alone);
    expect(set.engine.stats().completion_tokens).toBe(20);
    expectBaseline(set);
  });

  test("in a crowded pool, after it had to begin again", async () => {
    const tokens = request(3, { length: 1700 }).prompt; // 20 steps beside those who decode
    const alone = await setUp({ context: 1800, blocks: 200 }).engine.embed(tokens);
    // In some of these pools the older requests need a block of the embedding's on the way.
    for (let blocks = 115; blocks < 119; blocks++) {
      const set = setUp({ context: 1800, blocks, prefix_cache: false });
      const older = [0, 1, 2].map((seed) =>
        read(set.engine.generate(request(seed, { length: 30, max_tokens: 40 }))),
      );
      expect(await set.engine.embed(tokens)).toEqual(alone);
      await Promise.all(older);
      expectBaseline(set);
    }
  });

  test("can be cancelled, and refuses what does not fit", async () => {
    const set = setUp();
    const abort = new AbortController();
    set.backend.onStep = () => abort.abort();
    const error = await failure(set.engine.embed(request(1).prompt, abort.signal));
    expect(error.code).toBe("CANCELLED");
    const long = await failure(set.engine.embed(new Int32Array(513)));
    expect(long.code).toBe("PROMPT_TOO_LONG");
    expectBaseline(set);
  });
});

describe("closing", () => {
  test("ends what runs and what waits, frees the pool, and refuses what comes later", async () => {
    const set = setUp({ sequences_max: 2 });
    const { engine, backend } = set;
    let closing: Promise<void> | undefined;
    backend.onStep = () => {
      if (backend.steps === 4) closing = engine.close();
    };
    const all = [1, 2, 3, 4].map((seed) => failure(read(engine.generate(request(seed)))));
    for (const error of await Promise.all(all)) expect(error.code).toBe("CANCELLED");
    await closing;
    await engine.close();
    expect([backend.closed, backend.samplers.size, backend.steps]).toEqual([true, 0, 4]);
    expect((await failure(read(engine.generate(request(1))))).code).toBe("ENGINE_CLOSED");
    expect((await failure(engine.embed(Int32Array.of(1)))).code).toBe("ENGINE_CLOSED");
  });
});
