/**
 * The queue on a real anvil: reorganisations, snapshots put back, a base fee that leaves a
 * transaction behind, an empty account, reverts decoded from the ledger's own contracts.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Hex } from "viem";
import { MAG } from "../../src/chain/amounts.ts";
import { Ledger } from "../../src/chain/client/ledger.ts";
import { openRpc, type Rpc } from "../../src/chain/client/rpc.ts";
import { TransactionQueue } from "../../src/chain/client/transaction-queue.ts";
import { systemClock } from "../../src/core/clock.ts";
import { type Identity, identityOf } from "../../src/network/identity.ts";
import { type Anvil, hasAnvil, startAnvil } from "./anvil.ts";
import { deployForTest } from "./deployed-ledger.ts";

const CHAIN_ID = 31337;
const LIMITS = { confirmations: 3, replace_after_blocks: 2 };
let anvil: Anvil;
let rpc: Rpc;
let next_key = 1;
let next_target = 0xaa00;

/** A queue of a new account with some coin, and an address that it pays. */
async function newQueue(coin = MAG) {
  const signer = identityOf(new Uint8Array(32).fill(next_key++));
  const queue = queueOf(signer);
  await rpc.request("anvil_setBalance", [queue.address, `0x${coin.toString(16)}`]);
  const to: Hex = `0x${(next_target++).toString(16).padStart(40, "0")}`;
  const pay = (key: string) => queue.submit({ key, what: key, to, data: "0x", value: 1n });
  const paid = async () => BigInt(await rpc.request<Hex>("eth_getBalance", [to, "latest"]));
  return { signer, queue, to, pay, paid };
}
const queueOf = (signer: Identity) =>
  new TransactionQueue({
    ...{ rpc, chain_id: CHAIN_ID, signer, file: ":memory:" },
    ...{ clock: systemClock, limits: LIMITS },
  });
const mine = (count = 1) => rpc.request("anvil_mine", [count]);

describe.if(hasAnvil)("on anvil", () => {
  beforeAll(async () => {
    anvil = await startAnvil(["--no-mining"]);
    rpc = openRpc({ url: anvil.url, clock: systemClock });
    await mine(3);
  });
  afterAll(() => anvil.stop());

  test("a reorganisation takes blocks away: everything is paid once", async () => {
    const { queue, pay, paid } = await newQueue();
    for (const key of ["a", "b", "c"]) pay(key);
    await queue.tick();
    await mine();
    await queue.tick();
    expect([queue.get("c")!.state, await paid()]).toEqual(["mined", 3n]);
    await rpc.request("anvil_reorg", [1, []]);
    expect(await paid()).toBe(0n);
    await queue.tick();
    expect(queue.get("a")!.state).toBe("sent");
    await mine(3);
    await queue.tick();
    expect(queue.get("c")).toMatchObject({ state: "mined", final: true });
    expect(await paid()).toBe(3n);
    await queue.close();
  });

  test("a snapshot put back undoes the blocks and the pool", async () => {
    const { queue, pay, paid } = await newQueue();
    const snapshot = await rpc.request("evm_snapshot");
    pay("a");
    await queue.tick();
    await mine(2);
    await queue.tick();
    expect(queue.get("a")!.state).toBe("mined");
    await rpc.request("evm_revert", [snapshot]);
    await queue.tick();
    await queue.tick();
    await mine(3);
    await queue.tick();
    expect([queue.get("a")!.final, await paid()]).toEqual([true, 1n]);
    await queue.close();
  });

  test("left behind by the base fee: replaced, paid once", async () => {
    const { queue, pay, paid } = await newQueue();
    pay("a");
    await queue.tick();
    const price = async (wei: number) =>
      await rpc.request("anvil_setNextBlockBaseFeePerGas", [`0x${wei.toString(16)}`]);
    for (let i = 0; i < 3; i++) {
      await price(30e9);
      await mine();
    }
    expect(await paid()).toBe(0n);
    const kinds = async () => {
      for (let i = 0; i < 10 && queue.get("a")!.state !== "mined"; i++) {
        await queue.tick();
        await mine(3);
      }
      return queue.eventsAfter(0).map(({ kind }) => kind);
    };
    expect(await kinds()).toContain("replaced");
    expect([queue.get("a")!.state, await paid()]).toEqual(["mined", 1n]);
    await price(1e9);
    await mine();
    await queue.close();
  });

  test("an empty account says so, and goes on once it has coin", async () => {
    const { queue, pay, paid } = await newQueue(0n);
    pay("a");
    await queue.tick();
    await queue.tick();
    expect(queue.status()).toMatchObject({ queued: 1, blocked: { code: "INSUFFICIENT_FUNDS" } });
    await rpc.request("anvil_setBalance", [queue.address, `0x${MAG.toString(16)}`]);
    await queue.tick();
    await mine();
    await queue.tick();
    expect([queue.get("a")!.state, await paid()]).toEqual(["mined", 1n]);
    await queue.close();
  });

  test("the ledger's own refusals are named, before sending and in a block", async () => {
    await rpc.request("evm_setAutomine", [true]);
    const deployment = await deployForTest({ url: anvil.url, members: [] });
    const { queue } = await newQueue();
    const ledger = new Ledger(rpc, deployment);
    queue.submit({ key: "bond", ...ledger.call("nodes", "addBond", [5n]) });
    queue.submit({ key: "seat", ...ledger.call("nodes", "takeSeat", [5n]), gas: 200_000n });
    await queue.tick();
    await queue.tick();
    expect(queue.get("bond")).toMatchObject({
      state: "failed",
      reason: { code: "NOT_REGISTERED" },
    });
    expect(queue.get("seat")!.state).toBe("reverted");
    const { reason } = queue.get("seat")!;
    expect(reason!.message).toStartWith("nodes.takeSeat reverted: Not");
    expect(reason!.hint).toContain("magnet chain");
    await queue.close();
  });
});
