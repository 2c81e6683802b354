/**
 * The queue of transactions against a chain by script: everything is done exactly once whatever
 * happens to the RPC, the chain and the process, and each outcome says why.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import type { Hex } from "viem";
import { toHex } from "viem";
import type { QueueEvent, QueueLimits, Submission } from "../../src/chain/client/queue-types.ts";
import { RpcFailure } from "../../src/chain/client/rpc.ts";
import { TransactionQueue } from "../../src/chain/client/transaction-queue.ts";
import { identityOf } from "../../src/network/identity.ts";
import { Crash, FakeChain } from "./fake-chain.ts";

const signer = identityOf(new Uint8Array(32).fill(7));
const TARGET = "0x00000000000000000000000000000000000000aa";
const LIMITS: Partial<QueueLimits> = {
  replace_after_blocks: 2,
  confirmations: 3,
  missing_ms: 1_000_000,
};
let folder: string;
let files = 0;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-queue-"));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

class Bench {
  readonly chain = new FakeChain();
  readonly events: QueueEvent[] = [];
  readonly file = path.join(folder, `${files++}.sqlite`);
  now_ms = 0;
  queue = this.open();

  private open(): TransactionQueue {
    return new TransactionQueue({
      rpc: this.chain,
      chain_id: 31337,
      signer,
      file: this.file,
      clock: { now_ms: () => this.now_ms },
      limits: LIMITS,
      onEvent: (event) => this.events.push(event),
    });
  }

  /** As after kill -9: nothing but the file is left. */
  async restart(): Promise<void> {
    this.chain.crash_in = undefined;
    await this.queue.close();
    this.queue = this.open();
  }

  submit(name: string, more: Partial<Submission> = {}): void {
    const data = toHex(name);
    this.queue.submit({ key: name, what: name, to: TARGET, data, ...more });
  }

  kinds(key: string): string {
    return this.events.flatMap((e) => (e.key === key ? [e.kind] : [])).join(" ");
  }

  /** How often a call is in the chain. */
  times(name: string): number {
    return this.chain.mined.filter(({ data }) => data === toHex(name)).length;
  }
}

describe("one transaction", () => {
  test("queued, sent, mined, confirmed; the same key again changes nothing", async () => {
    const bench = new Bench();
    bench.submit("a");
    bench.submit("a");
    await bench.queue.tick();
    bench.submit("a");
    bench.chain.mine();
    await bench.queue.tick();
    expect(bench.queue.get("a")).toMatchObject({ state: "mined", final: false, block_number: 1 });
    bench.chain.mine(2);
    await bench.queue.tick();
    expect(bench.queue.get("a")).toMatchObject({ state: "mined", final: true, gas_used: 40_000 });
    expect(bench.kinds("a")).toBe("queued sent mined confirmed");
    expect(bench.times("a")).toBe(1);
    expect(() => bench.submit("a", { data: "0x99" })).toThrow("another transaction");
  });

  test("nothing to do asks the chain nothing", async () => {
    const bench = new Bench();
    await bench.queue.tick();
    expect(bench.chain.requests).toEqual([]);
  });

  test("a revert is found before sending, and in a block with its reason", async () => {
    const bench = new Bench();
    bench.submit("bad", { data: "0xff01" });
    bench.submit("late", { data: "0xff02", gas: 60_000n });
    await bench.queue.tick();
    const bad = bench.queue.get("bad")!;
    expect(bad).toMatchObject({ state: "failed", final: true, nonce: null });
    expect(bad.reason).toMatchObject({ code: "REVERTED", message: "bad reverted: no" });
    bench.chain.mine();
    await bench.queue.tick();
    const late = bench.queue.get("late")!;
    expect(late).toMatchObject({ state: "reverted", nonce: 0 });
    expect(late.reason!.message).toBe("late reverted: no");
    // A failed key may be used again.
    bench.submit("bad", { data: "0x01" });
    await bench.queue.tick();
    expect(bench.queue.get("bad")!.state).toBe("sent");
  });

  test("what needs an earlier one waits for it", async () => {
    const bench = new Bench();
    bench.submit("approve");
    bench.submit("bond", { data: "0xff" });
    await bench.queue.tick();
    expect(bench.queue.get("bond")).toMatchObject({
      state: "queued",
      reason: { code: "REVERTED" },
    });
    bench.chain.mine();
    await bench.queue.tick();
    expect(bench.queue.get("bond")!.state).toBe("failed");
  });

  test("not before, and not after its time", async () => {
    const bench = new Bench();
    bench.submit("early", { not_before_s: 1_000_010 });
    bench.submit("never", { deadline_s: 1_000_005 });
    bench.chain.down = true;
    await bench.queue.tick();
    bench.chain.down = false;
    bench.chain.time_s = 1_000_005;
    await bench.queue.tick();
    expect(bench.queue.get("early")!.state).toBe("queued");
    expect(bench.queue.get("never")).toMatchObject({
      state: "dropped",
      final: true,
      reason: { code: "DEADLINE_PASSED" },
    });
    bench.chain.time_s = 1_000_010;
    await bench.queue.tick();
    expect(bench.queue.get("early")!.state).toBe("sent");
  });
});

describe("fees and funds", () => {
  test("stuck behind a risen base fee: replaced with more, mined once", async () => {
    const bench = new Bench();
    bench.submit("a");
    bench.submit("b");
    await bench.queue.tick();
    bench.chain.base_fee = 10_000n;
    bench.chain.mine(2);
    await bench.queue.tick();
    bench.chain.mine();
    await bench.queue.tick();
    // b was second in line and got no higher fee before its turn.
    expect(bench.kinds("b")).toBe("queued sent replaced");
    bench.chain.mine();
    await bench.queue.tick();
    expect(bench.kinds("a")).toBe("queued sent replaced mined");
    expect(bench.kinds("b")).toBe("queued sent replaced mined");
    expect([bench.times("a"), bench.times("b"), bench.chain.mined.length]).toEqual([1, 1, 2]);
  });

  test("stuck beyond its deadline: its nonce is used up by nothing, and it says so", async () => {
    const bench = new Bench();
    bench.submit("reveal", { deadline_s: 1_000_003 });
    await bench.queue.tick();
    bench.chain.base_fee = 10_000n;
    bench.chain.mine(5);
    await bench.queue.tick();
    bench.chain.mine();
    await bench.queue.tick();
    expect(bench.queue.get("reveal")).toMatchObject({
      state: "dropped",
      reason: { code: "DEADLINE_PASSED" },
    });
    expect(bench.times("reveal")).toBe(0);
    bench.submit("next");
    await bench.queue.tick();
    bench.chain.mine();
    expect(bench.times("next")).toBe(1);
  });

  test("above the cap it waits", async () => {
    const bench = new Bench();
    bench.chain.base_fee = 10n ** 15n;
    bench.submit("a");
    await bench.queue.tick();
    expect(bench.queue.status().blocked!.code).toBe("FEE_CAP");
    bench.chain.base_fee = 1n;
    await bench.queue.tick();
    expect(bench.queue.status()).toMatchObject({ sent: 1, blocked: null });
  });

  test("without coin for the fee the account waits and says so once", async () => {
    const bench = new Bench();
    bench.chain.funds = 5n;
    bench.submit("a");
    bench.submit("b");
    for (let i = 0; i < 3; i++) await bench.queue.tick();
    expect(bench.queue.status()).toMatchObject({
      queued: 2,
      sent: 0,
      blocked: { code: "INSUFFICIENT_FUNDS" },
    });
    bench.chain.funds = 10n ** 30n;
    await bench.queue.tick();
    bench.chain.mine();
    await bench.queue.tick();
    expect([bench.times("a"), bench.times("b")]).toEqual([1, 1]);
    expect(bench.events.filter(({ kind }) => kind === "waiting")).toHaveLength(1);
  });

  test("bytes that are never taken give their nonce back", async () => {
    const bench = new Bench();
    bench.chain.failures.set(
      "eth_sendRawTransaction",
      new RpcFailure("eth_sendRawTransaction", -32000, "exceeds block gas limit", undefined),
    );
    bench.submit("huge");
    await bench.queue.tick();
    bench.chain.failures.clear();
    bench.submit("next");
    await bench.queue.tick();
    expect(bench.queue.get("huge")).toMatchObject({
      state: "failed",
      reason: { code: "RPC_ERROR" },
    });
    expect(bench.queue.get("next")!.nonce).toBe(0);
  });
});

describe("the chain and its RPC", () => {
  test("down for minutes: nothing lost, the reason is shown, then resumed", async () => {
    const bench = new Bench();
    bench.submit("a");
    await bench.queue.tick();
    bench.chain.down = true;
    bench.submit("b");
    for (let i = 0; i < 5; i++) {
      bench.now_ms += 60_000;
      await bench.queue.tick();
    }
    expect(bench.queue.status()).toMatchObject({
      blocked: { code: "RPC_DOWN" },
      rpc: { state: "down" },
    });
    bench.chain.down = false;
    await bench.queue.tick();
    bench.chain.mine();
    await bench.queue.tick();
    expect([bench.times("a"), bench.times("b")]).toEqual([1, 1]);
    expect(bench.queue.status().blocked).toBeNull();
  });

  test("another chain behind the RPC: nothing is sent", async () => {
    const bench = new Bench();
    bench.submit("a");
    bench.chain.chain_id = 1;
    await bench.queue.tick();
    expect(bench.queue.status().blocked!.code).toBe("WRONG_CHAIN");
    expect(bench.chain.requests).not.toContain("eth_sendRawTransaction");
    // It was swapped while down: asked again when it is back.
    bench.chain.chain_id = 31337;
    await bench.queue.tick();
    expect(bench.queue.get("a")!.state).toBe("sent");
  });

  test("a reorganisation undoes a block: sent again, mined again, once", async () => {
    const bench = new Bench();
    bench.submit("a");
    await bench.queue.tick();
    bench.chain.mine();
    await bench.queue.tick();
    bench.chain.reorganise(1, () => true);
    await bench.queue.tick();
    expect(bench.queue.get("a")).toMatchObject({ state: "sent", tx_hash: null });
    bench.chain.mine(3);
    await bench.queue.tick();
    expect(bench.kinds("a")).toBe("queued sent mined reorged mined confirmed");
    expect(bench.times("a")).toBe(1);
  });

  test("a deep one undoes what counted as final: found by the gap, sent again", async () => {
    const bench = new Bench();
    bench.submit("a");
    await bench.queue.tick();
    bench.chain.mine(3);
    await bench.queue.tick();
    expect(bench.queue.get("a")!.final).toBe(true);
    bench.submit("b");
    await bench.queue.tick();
    bench.chain.reorganise(3, () => true);
    for (let i = 0; i < 4; i++) {
      await bench.queue.tick();
      bench.chain.mine();
    }
    expect([bench.times("a"), bench.times("b")]).toEqual([1, 1]);
  });

  test("a nonce used by another program: believed after confirmations, then another nonce", async () => {
    const bench = new Bench();
    bench.submit("a");
    await bench.queue.tick();
    bench.chain.mineForeign();
    await bench.queue.tick();
    expect(bench.queue.get("a")).toMatchObject({ state: "sent", nonce: 0 });
    bench.chain.mine(3);
    await bench.queue.tick();
    await bench.queue.tick();
    bench.chain.mine();
    expect(bench.kinds("a")).toBe("queued sent requeued sent");
    expect(bench.times("a")).toBe(1);
  });

  test("a pinned nonce that is taken fails", async () => {
    const bench = new Bench();
    bench.submit("a", { nonce: 0 });
    bench.chain.mineForeign();
    await bench.queue.tick();
    expect(bench.queue.get("a")).toMatchObject({
      state: "failed",
      reason: { code: "NONCE_TAKEN" },
    });
  });

  test("receipts that come late are waited for: no second nonce", async () => {
    const bench = new Bench();
    bench.submit("a");
    await bench.queue.tick();
    bench.chain.hide_receipts = true;
    bench.chain.mine();
    for (let i = 0; i < 5; i++) await bench.queue.tick();
    bench.chain.hide_receipts = false;
    await bench.queue.tick();
    expect(bench.queue.get("a")!.state).toBe("mined");
    expect(bench.chain.pool.size).toBe(0);
  });

  test("a pool that forgets is told again", async () => {
    const bench = new Bench();
    for (const name of ["a", "b", "c"]) bench.submit(name);
    await bench.queue.tick();
    bench.chain.pool.clear();
    await bench.queue.tick();
    bench.chain.mine();
    expect(["a", "b", "c"].map((name) => bench.times(name))).toEqual([1, 1, 1]);
  });
});

describe("the process", () => {
  test("two processes on one file give out each nonce once", async () => {
    const bench = new Bench();
    const other = new TransactionQueue({
      rpc: bench.chain,
      chain_id: 31337,
      signer,
      file: bench.file,
      clock: { now_ms: () => 0 },
      limits: LIMITS,
    });
    for (let i = 0; i < 8; i++)
      (i % 2 ? other : bench.queue).submit({
        key: `k${i}`,
        what: "x",
        to: TARGET,
        data: toHex(`k${i}`),
      });
    await Promise.all([bench.queue.tick(), other.tick()]);
    await Promise.all([bench.queue.tick(), other.tick()]);
    bench.chain.mine();
    for (let i = 0; i < 8; i++) expect(bench.times(`k${i}`)).toBe(1);
    expect(bench.chain.mined.length).toBe(8);
    await bench.queue.tick();
    // Outcomes reach both, whoever found them.
    expect(bench.events.filter(({ kind }) => kind === "mined")).toHaveLength(8);
    await other.close();
  });

  test("killed at every request in turn: each transaction once", async () => {
    for (const after_effect of [false, true])
      for (let crash_in = 0; crash_in < 30; crash_in++) {
        const bench = new Bench();
        bench.submit("a");
        bench.submit("b");
        Object.assign(bench.chain, { crash_in, crash_after_effect: after_effect });
        for (let i = 0; i < 4; i++) {
          await bench.queue.tick().catch(async (error) => {
            if (!(error instanceof Crash)) throw error;
            await bench.restart();
          });
          bench.chain.mine();
        }
        expect([crash_in, bench.times("a"), bench.times("b"), bench.chain.mined.length]).toEqual([
          crash_in,
          1,
          1,
          2,
        ]);
        await bench.queue.close();
      }
  });
});

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

/** Ticks as a process would: a crash is followed by a new one on the same file. */
async function tick(bench: Bench): Promise<void> {
  await bench.queue.tick().catch(async (error) => {
    if (!(error instanceof Crash)) throw error;
    await bench.restart();
  });
}

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
