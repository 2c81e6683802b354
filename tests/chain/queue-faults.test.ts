/**
 * The queue under any order of mining, forks, forgetful pools, fees, outages and crashes: each
 * transaction is in the chain exactly once, or says why it is not. QUEUE_RUNS sets how many orders.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { type Hex, toHex } from "viem";
import { Bench, tick } from "./queue-bench.ts";

type Action =
  | { do: "submit"; deadline: number | null; reverts: boolean }
  | { do: "tick" | "down" | "up" | "clear_pool" | "foreign" | "restart" }
  | { do: "mine" | "reorg"; count: number }
  | { do: "fee"; base_fee: number }
  | { do: "crash"; requests: number; after_effect: boolean };
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("submit" as const),
      deadline: fc.option(fc.integer({ min: 1, max: 12 }), { freq: 3 }),
      reverts: fc.boolean(),
    }),
  },
  { weight: 8, arbitrary: fc.constant({ do: "tick" as const }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("mine" as const),
      count: fc.integer({ min: 1, max: 3 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("reorg" as const),
      count: fc.integer({ min: 1, max: 2 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("fee" as const),
      base_fee: fc.integer({ min: 1, max: 3000 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("crash" as const),
      requests: fc.integer({ min: 0, max: 12 }),
      after_effect: fc.boolean(),
    }),
  },
  ...(["down", "up", "clear_pool", "restart"] as const).map((name) => ({
    weight: 1,
    arbitrary: fc.constant({ do: name }),
  })),
);

async function perform(bench: Bench, step: Action, index: number): Promise<void> {
  const { chain } = bench;
  if (step.do === "submit") {
    const name = `${step.reverts ? "\u00ff" : "t"}${index}`;
    const data: Hex = step.reverts ? `0xff${toHex(name).slice(2)}` : toHex(name);
    const deadline = step.deadline === null ? {} : { deadline_s: chain.time_s + step.deadline };
    bench.submit(`t${index}`, { data, gas: 60_000n, ...deadline });
  } else if (step.do === "tick") await tick(bench);
  else if (step.do === "mine") chain.mine(step.count);
  else if (step.do === "reorg") chain.reorganise(step.count, ({ nonce }) => nonce % 2 === 0);
  else if (step.do === "fee") chain.base_fee = BigInt(step.base_fee);
  else if (step.do === "crash")
    Object.assign(chain, { crash_in: step.requests, crash_after_effect: step.after_effect });
  else if (step.do === "restart") await bench.restart();
  else if (step.do === "clear_pool") chain.pool.clear();
  else chain.down = step.do === "down";
}

test("whatever happens, each transaction is in the chain exactly once, or says why not", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(action, { minLength: 5, maxLength: 40 }), async (steps) => {
      const bench = new Bench();
      for (const [index, step] of steps.entries()) await perform(bench, step, index);
      Object.assign(bench.chain, { down: false, crash_in: undefined, base_fee: 1n });
      for (let i = 0; i < 60 && bench.queue.live().length > 0; i++) {
        await tick(bench);
        bench.chain.mine();
      }
      expect(bench.queue.live()).toEqual([]);
      for (const [index, step] of steps.entries()) {
        if (step.do !== "submit") continue;
        const { state, data, reason } = bench.queue.get(`t${index}`)!;
        const times = bench.chain.mined.filter((t) => t.data === data).length;
        const expected = state === "dropped" ? 0 : 1;
        expect({ index, state, times }).toEqual({ index, state, times: expected });
        if (state === "dropped") expect(step.deadline).not.toBeNull();
        else expect(state).toBe(step.reverts ? "reverted" : "mined");
        if (state !== "mined") expect(reason!.code).not.toBe("");
      }
      await bench.queue.close();
    }),
    { numRuns: Number(process.env.QUEUE_RUNS ?? 60) },
  );
});
