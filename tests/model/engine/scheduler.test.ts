/**
 * The scheduler against a pool that remembers what was written where: under random arrivals,
 * cancels, pauses, failures and pool sizes every row finds the keys and values of exactly its own
 * tokens, nothing shared is written, everything ends, and nothing stays held.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { toMagnetError } from "../../../src/core/errors.ts";
import { BLOCK_TOKENS, BlockStore, ROOT } from "../../../src/model/engine/block-store.ts";
import {
  BATCH_ROWS,
  Scheduler,
  type SchedulerOptions,
  type StepPlan,
} from "../../../src/model/engine/scheduler.ts";
import type { Sequence } from "../../../src/model/engine/sequence.ts";
import { StepArrays } from "../../../src/model/engine/step-arrays.ts";

/** Stands for the keys and values at a position: they depend on all tokens up to it. */
const contentAt = (tokens: Int32Array, position: number) => tokens.subarray(0, position + 1).join();

/** A pool of blocks and what the model would draw: a digest of the tokens, as if greedy. */
class World {
  readonly scheduler: Scheduler;
  readonly arrays = new StepArrays();
  readonly content: (string | undefined)[];
  readonly live = new Map<Sequence, { limit: number }>();
  /** Tokens of ended sequences by their prompt and limit. */
  readonly answers = new Map<string, string>();
  steps = 0;

  constructor(readonly options: SchedulerOptions) {
    this.scheduler = new Scheduler(options);
    this.content = new Array(options.blocks * BLOCK_TOKENS).fill(undefined);
  }

  add(prompt: Int32Array, answer: number, wants: Sequence["wants"]): void {
    const limit = Math.min(prompt.length + answer, this.scheduler.tokens_max);
    try {
      this.live.set(this.scheduler.add(prompt, wants), { limit });
    } catch (error) {
      expect(toMagnetError(error)).toMatchObject({ code: "ENGINE_BUSY", retryable: true });
      expect(this.scheduler.waiting).toBeGreaterThanOrEqual(this.options.waiting_max);
    }
  }

  /** Checks every row against what earlier steps wrote, then writes. */
  compute(plan: StepPlan): void {
    this.arrays.fill(plan, ({ sequence }) => BigInt(sequence.number + 1));
    const { rows, tables, starts, n_rows, n_sequences } = this.arrays;
    expect(n_rows).toBeLessThanOrEqual(this.options.batch_rows ?? BATCH_ROWS);
    expect(n_sequences).toBe(new Set(plan.map(({ sequence }) => sequence)).size);
    for (let r = 0; r < n_rows; r++) {
      const [token, position, s] = rows.subarray(4 * r, 4 * r + 3) as unknown as number[];
      const { tokens } = plan[s!]!.sequence;
      const table = tables.subarray(starts[s!], starts[s! + 1]);
      const place = (p: number) =>
        table[Math.floor(p / BLOCK_TOKENS)]! * BLOCK_TOKENS + (p % BLOCK_TOKENS);
      if (token !== tokens[position!]) throw new Error(`row ${r} has another token`);
      for (let p = 0; p < position!; p++)
        if (this.content[place(p)] !== contentAt(tokens, p))
          throw new Error(`sequence ${plan[s!]!.sequence.number}: position ${p} is not its own`);
      const block = table[Math.floor(position! / BLOCK_TOKENS)]!;
      if (this.scheduler.store.holders(block) !== 1) throw new Error(`block ${block} is shared`);
      this.content[place(position!)] = contentAt(tokens, position!);
    }
  }

  step(during: () => void = () => undefined, fails = false): boolean {
    const plan = this.scheduler.plan();
    this.check();
    if (!plan) return false;
    this.steps++;
    this.compute(plan);
    during();
    if (fails) this.scheduler.fail();
    else
      this.scheduler.finish(({ sequence }) => {
        const seen = sequence.tokens.subarray(0, sequence.length);
        return seen.reduce((hash, token) => (hash * 31 + token + 7) % 9973, 1) % 3;
      });
    for (const { sequence } of plan) this.settle(sequence);
    this.check();
    return true;
  }

  settle(sequence: Sequence): void {
    const limit = this.live.get(sequence)?.limit ?? 0;
    const { prompt_length, tokens, length, computed, wants } = sequence;
    const done = wants === "hidden" ? computed === length : length >= limit;
    if (sequence.state !== "ended" && !done) return;
    if (sequence.state !== "ended") {
      const name = `${wants}:${tokens.subarray(0, prompt_length).join()}/${limit}`;
      const answer = tokens.subarray(prompt_length, length).join();
      expect(this.answers.get(name) ?? answer).toBe(answer); // whoever else was there
      this.answers.set(name, answer);
      expect(this.scheduler.end(sequence)).toBe(true);
    }
    this.live.delete(sequence);
  }

  check(): void {
    const { store, running } = this.scheduler;
    const holders = new Map<number, number>();
    for (const { blocks } of this.live.keys())
      for (const block of blocks) holders.set(block, (holders.get(block) ?? 0) + 1);
    for (let block = 0; block < store.total; block++)
      if (store.holders(block) !== (holders.get(block) ?? 0))
        throw new Error(`block ${block} has ${store.holders(block)} holders`);
    expect(store.in_use).toBe(holders.size);
    expect(store.available + store.in_use).toBe(store.total);
    expect(running).toBeLessThanOrEqual(this.options.sequences_max);
  }
}

const promptArbitrary = fc
  .array(fc.integer({ min: 0, max: 1 }), { minLength: 1, maxLength: 80 })
  .map((ids) => Int32Array.from(ids, (id, i) => (i % 5 === 4 ? id : 0))); // beginnings in common
const actionArbitrary = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("add" as const),
      prompt: promptArbitrary,
      answer: fc.integer({ min: 1, max: 40 }),
      wants: fc.constantFrom(
        "tokens" as const,
        "tokens" as const,
        "tokens" as const,
        "hidden" as const,
      ),
    }),
  },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("step" as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        "cancel" as const,
        "cancel-within" as const,
        "pause" as const,
        "fail" as const,
      ),
      which: fc.nat(),
    }),
  },
);
const optionsArbitrary = fc.record({
  blocks: fc.integer({ min: 8, max: 30 }),
  sequences_max: fc.integer({ min: 1, max: 6 }),
  waiting_max: fc.integer({ min: 0, max: 5 }),
  prefix_cache: fc.boolean(),
  batch_rows: fc.integer({ min: 6, max: 40 }),
  mixed_prompt_rows: fc.integer({ min: 1, max: 20 }),
});

function runActions(
  options: SchedulerOptions,
  actions: readonly (typeof actionArbitrary extends fc.Arbitrary<infer A> ? A : never)[],
): World {
  const world = new World(options);
  const paused: Sequence[] = [];
  const pick = (which: number) => [...world.live.keys()][which % Math.max(1, world.live.size)];
  const cancel = (which: number) => {
    const sequence = pick(which);
    if (sequence && world.scheduler.end(sequence)) world.live.delete(sequence);
  };
  for (const action of actions) {
    if (action.kind === "add") world.add(action.prompt, action.answer, action.wants);
    else if (action.kind === "step") world.step();
    else if (action.kind === "cancel") cancel(action.which);
    else if (action.kind === "cancel-within") world.step(() => cancel(action.which));
    else if (action.kind === "fail") world.step(undefined, action.which % 4 === 0);
    else {
      const sequence = pick(action.which);
      if (sequence) {
        world.scheduler.pause(sequence);
        paused.push(sequence);
      }
    }
    world.check();
  }
  for (const sequence of paused) world.scheduler.resume(sequence);
  return world;
}

describe("scheduler", () => {
  test("random work: right contents, fair holdings, everything ends, nothing stays", () => {
    fc.assert(
      fc.property(
        optionsArbitrary,
        fc.array(actionArbitrary, { minLength: 1, maxLength: 60 }),
        (options, actions) => {
          const world = runActions(options, actions);
          const most = world.steps + 4000;
          while (world.step()) if (world.steps > most) throw new Error("no end in sight");
          expect(world.live.size).toBe(0);
          expect([world.scheduler.running, world.scheduler.waiting]).toEqual([0, 0]);
          expect(world.scheduler.store.in_use).toBe(0);
          world.scheduler.store.clear();
          expect(world.scheduler.store.cached).toBe(0);
        },
      ),
      { numRuns: 400 },
    );
  });

  test("an answer does not depend on the crowd, the cache or the size of the pool", () => {
    const work = fc.array(fc.tuple(promptArbitrary, fc.integer({ min: 1, max: 30 })), {
      minLength: 1,
      maxLength: 8,
    });
    fc.assert(
      fc.property(work, optionsArbitrary, (requests, options) => {
        const crowd = new World({ ...options, waiting_max: 8 });
        for (const [prompt, answer] of requests) crowd.add(prompt, answer, "tokens");
        while (crowd.step());
        const alone = new World({ ...options, waiting_max: 8, prefix_cache: false });
        for (const [prompt, answer] of requests) {
          alone.add(prompt, answer, "tokens");
          while (alone.step());
        }
        expect([...crowd.answers].sort()).toEqual([...alone.answers].sort());
      }),
      { numRuns: 100 },
    );
  });

  const wide = { blocks: 64, sequences_max: 8, waiting_max: 8, prefix_cache: true };
  const prompt = (length: number, first = 1) =>
    Int32Array.from({ length }, (_, i) => (i === 0 ? first : i));

  test("whoever decodes has a row in every step, beside few rows of prompts", () => {
    const world = new World(wide);
    world.add(prompt(20), 100, "tokens");
    world.step();
    world.add(prompt(300, 2), 5, "tokens");
    for (let i = 0; i < 5; i++) {
      const plan = world.scheduler.plan()!;
      expect(plan.map(({ count, output }) => [count, output])).toEqual([
        [1, "token"],
        i < 4 ? [64, "none"] : [44, "token"],
      ]);
      world.compute(plan);
      world.scheduler.finish(() => 0);
    }
  });

  test("a short prompt does not wait for the whole of a long one before it", () => {
    const world = new World(wide);
    world.add(prompt(700), 5, "tokens");
    world.add(prompt(60, 2), 5, "tokens");
    const parts = world.scheduler.plan()!.map(({ count, output }) => [count, output]);
    expect(parts).toEqual([
      [384, "none"],
      [60, "token"],
    ]);
  });

  test("a known beginning is not computed again, but the last token always is", () => {
    const world = new World(wide);
    for (const length of [48, 48, 49, 20]) {
      world.add(prompt(length), 1, "tokens");
      const [part] = world.scheduler.plan()!;
      expect(part!.sequence.cached_tokens).toBe(part!.start);
      world.compute([part!]);
      world.scheduler.finish(() => 0);
      world.settle(part!.sequence);
      const starts = { 48: world.steps++ === 0 ? 0 : 32, 49: 48, 20: 16 };
      expect(part!.start).toBe(starts[length as 48]);
    }
  });

  test("of a full pool the youngest gives way, and the oldest never does", () => {
    const world = new World({ ...wide, blocks: 6, prefix_cache: false });
    for (let i = 0; i < 3; i++) world.add(prompt(20, i), 60, "tokens");
    const ended: number[] = [];
    while (world.live.size > 0) {
      const before = [...world.live.keys()];
      world.step();
      for (const s of before) if (!world.live.has(s)) ended.push(s.number);
    }
    expect(ended).toEqual([0, 1, 2]);
    expect(world.scheduler.preemptions).toBeGreaterThan(0);
  });

  test("nobody is let in only to give way again at once", () => {
    const world = new World({ ...wide, blocks: 12, prefix_cache: false });
    for (let i = 0; i < 6; i++) world.add(prompt(30, i), 60, "tokens");
    while (world.step());
    expect(world.scheduler.preemptions).toBeLessThan(6);
  });

  test("beyond the limit of waiting requests comes ENGINE_BUSY, and a place when one ends", () => {
    const scheduler = new Scheduler({ ...wide, sequences_max: 1, waiting_max: 2 });
    const first = scheduler.add(prompt(5), "tokens");
    scheduler.add(prompt(5), "tokens");
    scheduler.add(prompt(5), "tokens");
    expect(() => scheduler.add(prompt(5), "tokens")).toThrow("2 requests are waiting already");
    scheduler.end(first);
    scheduler.add(prompt(5), "tokens");
  });
});

describe("block store", () => {
  test("forgets the least recently used chain from its end", () => {
    const store = new BlockStore(3, { caching: true });
    const tokens = { tokens: prompt3(48), scope: "" };
    const chain: number[] = [];
    for (let i = 0; i < 3; i++)
      chain.push(store.share(store.take(), chain.at(-1) ?? ROOT, tokens, 16 * i));
    store.release(chain);
    expect([store.cached, store.in_use]).toEqual([3, 0]);
    expect(store.find(tokens, 3)).toEqual(chain);
    store.take();
    expect(store.find(tokens, 3)).toEqual(chain.slice(0, 2));
  });

  test("two computations of one block become one block", () => {
    const store = new BlockStore(2, { caching: true });
    const tokens = { tokens: prompt3(16), scope: "" };
    const [a, b] = [store.take(), store.take()];
    expect(store.share(a, ROOT, tokens, 0)).toBe(a);
    expect(store.share(b, ROOT, tokens, 0)).toBe(a);
    expect([store.holders(a), store.available]).toEqual([2, 1]);
  });

  test("chains of different scopes share nothing", () => {
    const store = new BlockStore(4, { caching: true });
    const mine = { tokens: prompt3(32), scope: "key a" };
    const chain = [store.share(store.take(), ROOT, mine, 0)];
    chain.push(store.share(store.take(), chain[0]!, mine, 16));
    expect(store.find(mine, 2)).toEqual(chain);
    const other = { ...mine, scope: "key b" };
    expect(store.find(other, 2)).toEqual([]);
    const own = store.take();
    expect(store.share(own, ROOT, other, 0)).toBe(own);
  });

  test("a double release and an overdraft are broken invariants", () => {
    const store = new BlockStore(1, { caching: true });
    const block = store.take();
    expect(() => store.take()).toThrow("full pool");
    store.release([block]);
    expect(() => store.release([block])).toThrow("released by nobody");
  });
});

function prompt3(length: number): Int32Array {
  return Int32Array.from({ length }, (_, i) => i % 3);
}
