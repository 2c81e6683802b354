/** How blocks come about: batches, intervals, time, failing disks, tampered logs, old states. */

import { Database } from "bun:sqlite";
import { afterAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { privateKeyToAccount } from "viem/accounts";
import { CallQueue } from "../../src/chain/embedded/call-queue.ts";
import { type ChainOptions, EmbeddedChain } from "../../src/chain/embedded/chain.ts";
import { fromHex, type Hex } from "../../src/chain/embedded/hex.ts";
import { callMethod, rpcMethods } from "../../src/chain/embedded/rpc.ts";
import { verifyChain } from "../../src/chain/embedded/verify.ts";
import { KEYS, richAlloc } from "./chain-clients.ts";

const accounts = KEYS.map((key) => privateKeyToAccount(key));
const [alice, bob] = [accounts[0]!, accounts[1]!];
const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) fs.rmSync(folder, { recursive: true, force: true });
});
function newFolder(): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-chain-"));
  folders.push(folder);
  return folder;
}

async function open(options: ChainOptions = {}) {
  const chain = await EmbeddedChain.open({ alloc: richAlloc(), ...options });
  const methods = rpcMethods(chain);
  const rpc = (method: string, ...params: unknown[]) => callMethod(methods, method, params);
  return { chain, rpc, [Symbol.asyncDispose]: () => chain.close() };
}

const transfer = async (nonce: number, fee = 0n, from = alice): Promise<Uint8Array> =>
  fromHex(
    await from.signTransaction({
      ...{ chainId: 31_337, to: bob.address, value: 1n, gas: 21_000n, nonce },
      ...{ maxFeePerGas: fee, maxPriorityFeePerGas: fee },
    }),
  );

describe("blocks", () => {
  test("what arrives at once shares a block and a commit, whatever its order", async () => {
    await using parts = await open();
    const { chain } = parts;
    let commits = 0;
    const commit = chain.store.commit.bind(chain.store);
    chain.store.commit = (batch) => {
      commits++;
      commit(batch);
    };
    const raws = await Promise.all([3, 0, 2, 1, 4].map((nonce) => transfer(nonce)));
    await Promise.all(raws.map((raw) => chain.submit(raw)));
    expect(chain.head.header.number).toBe(1n);
    expect(commits).toBe(1);
    expect(chain.head.header.gas_used).toBe(5n * 21_000n);
  });

  test("more than a block holds goes into the next ones", async () => {
    await using parts = await open({ gas_limit: 100_000n });
    const { chain } = parts;
    await Promise.all(
      await Promise.all([0, 1, 2, 3, 4, 5].map(async (n) => chain.submit(await transfer(n)))),
    );
    expect(chain.head.header.number).toBe(2n);
  });

  test("with a block time, transactions wait, survive a restart, and are mined in order", async () => {
    const folder = newFolder();
    const hashes: Hex[] = [];
    {
      await using parts = await open({ folder, block_time_s: 3600 });
      for (const nonce of [1, 0]) hashes.push(await parts.chain.submit(await transfer(nonce)));
      expect(parts.chain.head.header.number).toBe(0n);
      expect(await parts.rpc("eth_getTransactionCount", alice.address, "pending")).toBe("0x2");
      expect(await parts.rpc("eth_getTransactionReceipt", hashes[0])).toBeNull();
    }
    {
      await using parts = await open({ folder, block_time_s: 3600 });
      expect([...parts.chain.pool].map(({ hash }) => hash)).toEqual(hashes);
      await parts.chain.mine();
      expect(parts.chain.pool.size).toBe(0);
      expect(parts.chain.store.waiting()).toEqual([]);
      const receipt = await parts.rpc("eth_getTransactionReceipt", hashes[0]);
      expect(receipt).toMatchObject({ blockNumber: "0x1", transactionIndex: "0x1" });
    }
  });

  test("a replacement must pay a tenth more, and takes the place of the first", async () => {
    await using parts = await open({ block_time_s: 3600 });
    const { chain } = parts;
    const first = await chain.submit(await transfer(0, 100n));
    await expect(chain.submit(await transfer(0, 109n))).rejects.toThrow("underpriced");
    const second = await chain.submit(await transfer(0, 110n));
    await chain.mine();
    expect(chain.store.find(first)).toBeUndefined();
    expect(chain.store.find(second)).toBeDefined();
    expect(chain.store.waiting()).toEqual([]);
  });

  test("a disk that fails refuses the transaction; the next one is taken as if nothing was", async () => {
    await using parts = await open();
    const { chain } = parts;
    const commit = chain.store.commit.bind(chain.store);
    chain.store.commit = () => {
      throw Object.assign(new Error("disk full"), { code: "SQLITE_FULL" });
    };
    const raw = await transfer(0);
    await expect(chain.submit(raw)).rejects.toThrow("could not be kept (DISK_FULL)");
    chain.store.commit = commit;
    expect(chain.head.header.number).toBe(0n);
    await chain.submit(raw);
    expect(chain.head.header.number).toBe(1n);
    expect((await verifyChain(chain)).difference).toBeUndefined();
  });

  test("of two that together cost more than there is, the second is refused with the reason", async () => {
    const alloc = { [alice.address.toLowerCase()]: { balance: 1n } };
    await using parts = await open({ alloc });
    const outcomes = await Promise.allSettled(
      await Promise.all([0, 1].map(async (n) => [await transfer(n)] as const)).then((raws) =>
        raws.map(([raw]) => parts.chain.submit(raw)),
      ),
    );
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
    expect(String((outcomes[1] as PromiseRejectedResult).reason)).toContain("enough funds");
    expect(parts.chain.pool.size).toBe(0);
  });
});

describe("time", () => {
  test("moves as anvil moves it, never backwards, and stays moved after a restart", async () => {
    const folder = newFolder();
    let now_s = 1_800_000_000;
    const clock = { now_ms: () => now_s * 1000 };
    const options = { folder, clock, allow_time_travel: true };
    {
      await using parts = await open(options);
      const { rpc, chain } = parts;
      expect(await rpc("evm_increaseTime", 100)).toBe("0x64");
      await rpc("evm_mine");
      expect(chain.head.header.timestamp).toBe(1_800_000_100n);
      await rpc("evm_setNextBlockTimestamp", 1_800_000_500);
      await rpc("evm_mine");
      now_s += 7;
      await rpc("anvil_mine", "0x3", "0xa");
      expect(chain.head.header.timestamp).toBe(1_800_000_527n);
      expect(rpc("evm_setNextBlockTimestamp", 5)).rejects.toThrow("before the newest");
    }
    now_s -= 600;
    await using parts = await open(options);
    await parts.rpc("evm_mine");
    expect(parts.chain.head.header.timestamp).toBe(1_800_000_527n);
  });

  test("a call sees the time of a block made now, and an old block its own", async () => {
    let now_s = 1_800_000_000;
    await using parts = await open({ clock: { now_ms: () => now_s * 1000 } });
    const { rpc, chain } = parts;
    await chain.submit(await transfer(0));
    now_s += 50;
    await chain.submit(await transfer(1));
    now_s += 50;
    const timestamp = { data: "0x4260005260206000f3" };
    const seen = async (block: unknown) =>
      Number(await rpc("eth_call", timestamp, block)) - 1_800_000_000;
    expect([await seen("latest"), await seen("pending"), await seen("0x1")]).toEqual([100, 100, 0]);
    expect(await rpc("eth_getBalance", bob.address, "0x1")).not.toBe(
      await rpc("eth_getBalance", bob.address, "0x2"),
    );
  });
});

describe("filters", () => {
  test("give what is new since they were asked", async () => {
    await using parts = await open();
    const { rpc, chain } = parts;
    const blocks = await rpc("eth_newBlockFilter");
    const logs = await rpc("eth_newFilter", { topics: [`0x${"0".repeat(63)}7`] });
    // Emits an empty log with topic 7 from its constructor.
    const data = "0x600760006000a100" as const;
    const raw = await alice.signTransaction({
      ...{ chainId: 31_337, data, gas: 100_000n, nonce: 0, maxFeePerGas: 0n },
    });
    await chain.submit(fromHex(raw));
    await chain.mine();
    expect(await rpc("eth_getFilterChanges", blocks)).toHaveLength(2);
    expect(await rpc("eth_getFilterChanges", logs)).toHaveLength(1);
    expect(await rpc("eth_getFilterChanges", logs)).toEqual([]);
    expect(await rpc("eth_getFilterLogs", logs)).toHaveLength(1);
    const of = (...topics: unknown[]) => rpc("eth_getLogs", { fromBlock: "0x0", topics });
    expect(await of([`0x${"0".repeat(64)}`])).toEqual([]);
    expect(await of([`0x${"0".repeat(64)}`, `0x${"0".repeat(63)}7`])).toHaveLength(1);
    expect(await of(null)).toHaveLength(1);
    expect(await of(null, null)).toEqual([]); // the log has one topic only
    expect(await rpc("eth_uninstallFilter", logs)).toBe(true);
    expect(await rpc("eth_uninstallFilter", logs)).toBe(false);
  });
});

describe("the log", () => {
  test("a chain that was changed by hand does not verify, and says where", async () => {
    const folder = newFolder();
    {
      await using parts = await open({ folder });
      for (const nonce of [0, 1, 2]) await parts.chain.submit(await transfer(nonce));
    }
    const database = new Database(path.join(folder, "chain.sqlite"));
    database.run("UPDATE log SET timestamp = timestamp + 1 WHERE number = 2");
    database.close(true);
    await using parts = await open({ folder, read_only: true });
    expect((await verifyChain(parts.chain)).difference).toMatchObject({
      ...{ number: 2, field: "timestamp" },
    });
  });

  test("another chain's options are refused, and a second host too", async () => {
    const folder = newFolder();
    await using parts = await open({ folder });
    await expect(open({ folder })).rejects.toThrow("another process has this chain open");
    await parts.chain.close();
    await expect(open({ folder, chain_id: 5 })).rejects.toThrow("another chain id");
    await expect(open({ folder, alloc: {} })).rejects.toThrow("another genesis");
  });
});

test("calls leave nothing behind: transient or stored values, balances, overrides", async () => {
  await using parts = await open();
  const { rpc } = parts;
  const zero = `0x${"0".repeat(64)}`;
  // Reads transient slot 0, then sets it; the same with a stored one.
  for (const data of ["0x5f5c5f5260015f5d60205ff3", "0x5f545f5260015f5560205ff3"])
    for (let i = 0; i < 3; i++) expect(await rpc("eth_call", { data }, "latest")).toBe(zero);
  const balance = { data: "0x33315f5260205ff3", from: bob.address };
  const before = await rpc("eth_call", balance, "latest");
  const rich = { [bob.address]: { balance: "0x7" } };
  expect(Number(await rpc("eth_call", balance, "latest", rich))).toBe(7);
  expect(await rpc("eth_call", balance, "latest")).toBe(before);
  const to = `0x${"77".repeat(20)}`;
  const coded = { [to]: { code: "0x5f545f5260205ff3", state: { [zero]: `0x${"0".repeat(63)}9` } } };
  expect(Number(await rpc("eth_call", { to }, "latest", coded))).toBe(9);
  expect(await rpc("eth_call", { to }, "latest")).toBe("0x");
  await parts.chain.submit(await transfer(0));
  expect(Number(await rpc("eth_call", balance, "latest"))).toBe(Number(before) + 1);
  expect(await rpc("eth_call", balance, "0x0")).toBe(before);
});

test("calls take turns; those that wait too long or are too many are told so", async () => {
  let now_ms = 0;
  const queue = new CallQueue({ waiting: 2, wait_ms: 10 }, () => now_ms);
  const first = Promise.withResolvers<string>();
  const running = queue.run(() => first.promise);
  const waiting = queue.run(async () => "second");
  const third = queue.run(async () => "third");
  await expect(queue.run(async () => "fourth")).rejects.toThrow("too many calls");
  first.resolve("first");
  expect([await running, await waiting]).toEqual(["first", "second"]);
  now_ms = 11;
  await expect(third).rejects.toThrow("too many calls");
  expect(await queue.run(async () => "again")).toBe("again");
});
