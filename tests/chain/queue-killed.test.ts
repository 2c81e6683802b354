/**
 * The queue as a process of its own, killed with SIGKILL at random requests and started again; and
 * an RPC that goes away for a while. Every payment arrives once.
 */
import { afterAll, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { openRpc } from "../../src/chain/client/rpc.ts";
import { TransactionQueue } from "../../src/chain/client/transaction-queue.ts";
import { EmbeddedChain } from "../../src/chain/embedded/chain.ts";
import { type RunningChain, serveChain } from "../../src/chain/embedded/server.ts";
import { systemClock } from "../../src/core/clock.ts";
import { seededRandom } from "../../src/core/random.ts";
import { richAlloc } from "./chain-clients.ts";
import { deployer } from "./deployed-ledger.ts";

const TARGET = "0x00000000000000000000000000000000000000bb";
const PAYMENTS = 12;
const KILLS = Number(process.env.QUEUE_KILLS ?? 3);
const SEED = Number(process.env.QUEUE_SEED ?? Date.now());
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-killed-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

async function openChain(): Promise<{ chain: EmbeddedChain; server: RunningChain }> {
  const chain = await EmbeddedChain.open({ alloc: richAlloc(), fees: "eip1559" });
  return { chain, server: serveChain(chain) };
}
const paidAt = async (url: string) =>
  Number(await openRpc({ url, clock: systemClock }).request("eth_getBalance", [TARGET, "latest"]));

test("killed at random requests, each payment arrives once", async () => {
  const { chain, server } = await openChain();
  const random = seededRandom(SEED);
  let requests_left = Number.POSITIVE_INFINITY;
  let child: Bun.Subprocess | undefined;
  // Stands before the chain: kills its client before or after a request has had its effect.
  const proxy = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const kill = requests_left-- === 0;
      const body = await request.text();
      if (kill && random.next() < 0.5) {
        child!.kill("SIGKILL");
        return new Response(null, { status: 500 });
      }
      const headers = { "content-type": "application/json" };
      const answer = await fetch(server.url, { method: "POST", headers, body });
      if (kill) child!.kill("SIGKILL");
      return new Response(await answer.text(), { headers });
    },
  });
  const file = path.join(folder, "killed.sqlite");
  const script = path.join(import.meta.dir, "queue-process.ts");
  const args = [proxy.url.href, file, TARGET, String(PAYMENTS)];
  let kills = 0;
  for (;;) {
    requests_left = kills < KILLS ? random.below(40) : Number.POSITIVE_INFINITY;
    child = Bun.spawn([process.execPath, script, ...args], {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "inherit",
    });
    const code = await child.exited;
    if (child.signalCode !== "SIGKILL") {
      expect({ seed: SEED, code }).toEqual({ seed: SEED, code: 0 });
      break;
    }
    kills++;
  }
  expect({ seed: SEED, paid: await paidAt(server.url) }).toEqual({ seed: SEED, paid: PAYMENTS });
  await proxy.stop(true);
  await server.stop();
  await chain.close();
});

test("the RPC goes away and comes back: the reason is told, nothing is lost", async () => {
  const { chain, server } = await openChain();
  const { port } = new URL(server.url);
  const rpc = openRpc({ url: server.url, clock: systemClock });
  const chain_id = chain.chain_id;
  const queue = new TransactionQueue({
    ...{ rpc, chain_id, signer: deployer, file: ":memory:", clock: systemClock },
  });
  const pay = (key: string) =>
    queue.submit({ key, what: "pay", to: TARGET, data: "0x", value: 1n });
  pay("a");
  await queue.wait("a", { poll_ms: 1 });
  await server.stop();
  pay("b");
  for (let i = 0; i < 3; i++) await queue.tick();
  const status = queue.status();
  expect(status).toMatchObject({
    queued: 1,
    blocked: { code: "RPC_DOWN" },
    rpc: { state: "down" },
  });
  expect(status.blocked!.message).toContain("connection refused");
  const again = serveChain(chain, { port: Number(port) });
  const { state } = await queue.wait("b", { poll_ms: 1 });
  expect([state, await paidAt(again.url), queue.status().blocked]).toEqual(["mined", 2, null]);
  await queue.close();
  await again.stop();
  await chain.close();
});
