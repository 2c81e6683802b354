/**
 * The queue of transactions against a chain by script: everything is done exactly once whatever
 * happens to the RPC, the chain and the process, and each outcome says why.
 */
import { describe, expect, test } from "bun:test";
import { toHex } from "viem";
import { RpcFailure } from "../../src/chain/client/rpc.ts";
import { TransactionQueue } from "../../src/chain/client/transaction-queue.ts";
import { Bench, LIMITS, signer, TARGET, tick } from "./queue-bench.ts";

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

  test("where gas is free one that never arrived is sent again, not replaced by one that costs", async () => {
    const bench = new Bench();
    [bench.chain.base_fee, bench.chain.tip, bench.chain.funds] = [0n, 0n, 0n];
    bench.submit("a");
    await bench.queue.tick();
    bench.chain.pool.clear();
    bench.chain.mine(20);
    await bench.queue.tick();
    bench.chain.mine();
    await bench.queue.tick();
    expect(bench.kinds("a")).toBe("queued sent mined");
  });

  test("refused each time it is sent again: says why while it waits, and not after it is taken", async () => {
    const bench = new Bench();
    bench.submit("a");
    await bench.queue.tick();
    bench.chain.pool.clear();
    const full = new RpcFailure("eth_sendRawTransaction", -32603, "the disk is full", undefined);
    bench.chain.failures.set("eth_sendRawTransaction", full);
    for (let looks = 0; looks < 4 && bench.queue.status().blocked === null; looks++) {
      bench.chain.mine(20);
      bench.now_ms += 120_000;
      await bench.queue.tick();
    }
    expect(bench.queue.status().blocked?.message).toContain("the disk is full");
    bench.chain.failures.clear();
    for (let looks = 0; looks < 4 && bench.queue.get("a")?.state !== "mined"; looks++) {
      bench.now_ms += 120_000;
      await bench.queue.tick();
      bench.chain.mine(20);
      await bench.queue.tick();
    }
    expect(bench.queue.get("a")?.state).toBe("mined");
    expect(bench.queue.status().blocked).toBeNull();
  });

  test("replaced, but the form before it is what gets into a block: known as mined", async () => {
    const bench = new Bench();
    bench.submit("a");
    await bench.queue.tick();
    const first = [...bench.chain.pool.values()][0]!;
    bench.chain.base_fee = 10_000n;
    bench.chain.mine(2);
    await bench.queue.tick();
    // Another miner never saw the replacement.
    bench.chain.pool.clear();
    bench.chain.pool.set(first.hash, first);
    bench.chain.base_fee = 1n;
    bench.chain.mine();
    await bench.queue.tick();
    expect(bench.queue.get("a")).toMatchObject({ state: "mined", tx_hash: first.hash });
    expect(bench.kinds("a")).toBe("queued sent replaced mined");
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

  test("another program is faster with the nonce, in a block or in the pool: another one at once", async () => {
    for (const in_pool of [false, true]) {
      const bench = new Bench();
      const { chain } = bench;
      bench.submit("a");
      const request = chain.request.bind(chain);
      let first = true;
      chain.request = async <T>(method: string, params?: readonly unknown[]): Promise<T> => {
        if (method === "eth_sendRawTransaction" && first) {
          first = false;
          const rival = {
            hash: "0x01",
            nonce: 0,
            data: "0xee",
            to: null,
            max_fee: 1n << 60n,
          } as const;
          if (in_pool) chain.pool.set(rival.hash, rival);
          else chain.mineForeign();
        }
        // What the pool holds counts as pending.
        if (method === "eth_getTransactionCount" && params?.[1] === "pending")
          return `0x${(chain.nextNonce + chain.pool.size).toString(16)}` as T;
        return await request<T>(method, params);
      };
      await bench.queue.tick();
      expect(bench.queue.get("a")).toMatchObject({ state: "sent", nonce: 1, reason: null });
      chain.mine();
      await bench.queue.tick();
      expect([bench.kinds("a"), bench.times("a")]).toEqual(["queued sent mined", 1]);
    }
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
          await tick(bench);
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
