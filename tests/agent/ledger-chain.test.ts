/**
 * A node's view of the chain under trouble: reorganised blocks, an RPC that is away in the middle of an
 * epoch, a restart between commitment and reveal. Training goes on in all of it.
 */
import { afterEach, expect, test } from "bun:test";
import { maxUint256 } from "viem";
import { describeLedger } from "../../src/agent/ledger/ledger-view.ts";
import { LogIndex } from "../../src/agent/ledger/log-index.ts";
import { MAG } from "../../src/chain/amounts.ts";
import { publicKeyPoint } from "../../src/chain/client/account.ts";
import { EmbeddedChain } from "../../src/chain/embedded/chain.ts";
import { serveChain } from "../../src/chain/embedded/server.ts";
import type { LedgerStatus } from "../../src/chain/ledger/ledger-types.ts";
import { seededRandom } from "../../src/core/random.ts";
import { type Identity, identityOf } from "../../src/network/identity.ts";
import { hasAnvil, startAnvil } from "../chain/anvil.ts";
import { richAlloc } from "../chain/chain-clients.ts";
import { deployForTest } from "../chain/deployed-ledger.ts";
import { ChainHand, eventually } from "./ledger-processes.ts";
import { type Member, makeJob, TestNetwork } from "./real-nodes.ts";

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

const register = async (hand: ChainHand, identity: Identity) => {
  const { ledger } = hand;
  const nodes = ledger.address("nodes");
  await hand.send(identity, ledger.call("magToken", "approve", [nodes, maxUint256]));
  const { x, y } = publicKeyPoint(identity.public_key);
  await hand.send(identity, ledger.call("nodes", "register", [x, y, 3, 100n * MAG]));
};

test.skipIf(!hasAnvil)(
  "logs of blocks that a reorganisation took away are forgotten",
  async () => {
    const anvil = await startAnvil();
    closers.push(() => anvil.stop());
    const keys = [7, 8].map((seed) => identityOf(seededRandom(seed).bytes(32)));
    const members = keys.map(({ public_key }) => public_key);
    const hand = new ChainHand(anvil.url, await deployForTest({ url: anvil.url, members }));
    const index = new LogIndex(hand.ledger);
    const registered = async () => {
      await index.advance(await hand.ledger.head());
      return index.of("nodes").map(({ args }) => ("node" in args ? args.node : ""));
    };
    expect(await registered()).toEqual([]);
    const snapshot = await hand.ledger.rpc.request("evm_snapshot");
    await register(hand, keys[0]!);
    const [first] = await registered();
    expect(first).toBeDefined();
    await hand.ledger.rpc.request("evm_revert", [snapshot]);
    // Another chain of the same length: only the hashes of its blocks tell.
    await register(hand, keys[1]!);
    const [second, ...more] = await registered();
    expect(second).toBeDefined();
    expect(second).not.toBe(first!);
    expect(more).toEqual([]);
    expect(await index.advance(await hand.ledger.head())).toBe(false);
  },
  60_000,
);

const statusOf = async ({ running }: Member) =>
  (await describeLedger(running.ledger!)) as LedgerStatus;
const epochOf = async (member: Member, number: number) =>
  (await statusOf(member)).epochs.find(({ epoch }) => epoch === number);

test("an RPC that is away and a restart cost no share, and stop no training", async () => {
  const chain = await EmbeddedChain.open({ allow_time_travel: true, alloc: richAlloc() });
  closers.push(() => chain.close());
  let server = serveChain(chain);
  closers.push(() => server.stop());
  const { url } = server;
  const keys = new TestNetwork(1).members.map(({ identity }) => identity.public_key);
  const window_s = 60;
  const deployment = await deployForTest({
    ...{ url, members: keys, epoch_seconds: 600 },
    values: { commitSeconds: window_s, revealSeconds: window_s },
  });
  const network = new TestNetwork(1, 0, 1, {}, deployment);
  closers.push(() => network.stop());
  const [node] = network.members as [Member];
  const ledger = { rpc_url: url, stake: { bond: 100n * MAG, seat: 200n * MAG }, claims: true };
  await node.start([], { ledger });
  const hand = new ChainHand(url, deployment);
  await eventually("the stake", async () => {
    await node.running.ledger!.follower.look();
    return node.running.ledger!.stake.status.state === "done";
  });

  // The chain goes away, time passes on it; a whole job is trained meanwhile.
  const { port } = new URL(url);
  await server.stop();
  const down = await eventually("the chain to be missed", async () => {
    const { chain: seen } = await statusOf(node);
    return !seen.up && seen;
  });
  expect(down.reason).toContain("down since");
  await node.submit(await makeJob({ rounds: 2, inner_steps: 30 }));
  await eventually(
    "the job to be trained",
    async () =>
      node.running.history.records.length === 2 &&
      node.running.history.records.every(({ loss_merged }) => loss_merged !== null),
  );
  server = serveChain(chain, { port: Number(port) });
  await hand.travelTo(hand.endOf(0));
  await eventually("the commitment", async () => (await epochOf(node, 0))?.own.committed);

  // The node is restarted between commitment and reveal: it opens what it has committed to.
  await node.stop();
  await hand.travelTo(hand.endOf(0) + window_s);
  await node.start([], { ledger });
  await eventually("the reveal", async () => (await epochOf(node, 0))?.own.revealed);
  await hand.travelTo(hand.endOf(0) + 2 * window_s);
  const settled = await eventually("the settlement", async () => {
    const epoch = await epochOf(node, 0);
    return epoch?.phase === "settled" && epoch;
  });
  expect(settled.own.reward).toBe((1000n * MAG).toString());
}, 90_000);
