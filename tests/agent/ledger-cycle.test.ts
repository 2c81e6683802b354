/**
 * The honest are paid to the unit, the cheaters slashed, the sum equals the pool: five processes, three
 * epochs, on the embedded chain as a process of its own and on anvil.
 */
import { afterEach, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { addressOf } from "../../src/chain/client/account.ts";
import { hasAnvil, startAnvil } from "../chain/anvil.ts";
import { deployer } from "../chain/deployed-ledger.ts";
import { MAIN } from "../cli/magnet.ts";
import { BOND, LedgerCycle, WINDOW_S } from "./ledger-cycle.ts";
import { type Agent, eventually } from "./ledger-processes.ts";
import { makeFolder } from "./real-nodes.ts";

const LIMIT_MS = 240_000;
const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** `magnet chain host` as another process, as an operator runs it. */
async function embeddedChain(): Promise<string> {
  const folder = makeFolder();
  const ready = path.join(folder, "ready.json");
  const rich = `${addressOf(deployer.public_key)}=1000000000000000000000`;
  const flags = ["--data-dir", folder, "--listen", "127.0.0.1:0", "--ready-file", ready];
  const child = Bun.spawn(
    [...MAIN.command, "chain", "host", ...flags, "--alloc", rich, "--allow-time-travel"],
    {
      cwd: folder,
      env: { PATH: process.env.PATH!, HOME: folder },
      stdout: "ignore",
      stderr: "inherit",
    },
  );
  closers.push(async () => {
    child.kill("SIGKILL");
    await child.exited;
  });
  const { url } = await eventually(
    "the chain to be ready",
    async () =>
      fs.existsSync(ready) && (JSON.parse(fs.readFileSync(ready, "utf8")) as { url: string }),
  );
  return url;
}

async function anvilChain(): Promise<string> {
  const anvil = await startAnvil();
  closers.push(() => anvil.stop());
  return anvil.url;
}

async function cycle(url: string): Promise<void> {
  const network = new LedgerCycle(url, makeFolder());
  closers.push(() => network.stop());
  await network.prepare();
  try {
    await threeEpochs(network);
  } catch (error) {
    process.stderr.write(`${await network.report()}\n`);
    throw error;
  }
}

/** With a cheat each. */
async function threeEpochs(network: LedgerCycle): Promise<void> {
  const [alice, bob, carol, dave, eve] = network.agents as [Agent, Agent, Agent, Agent, Agent];
  const { hand } = network;
  await network.start();

  // Epoch 0: Eve copies Alice's commitment; it opens to nothing that is Eve's.
  const honest = [alice, bob, carol, dave];
  let rounds = await network.train(0);
  await network.committed(honest, 0);
  await network.copyCommit(eve, alice, 0);
  await network.revealed(honest, 0);
  await network.copyReveal(eve, alice, 0);
  await hand.travelTo(hand.endOf(0) + 2 * WINDOW_S);
  await network.allAre(honest, 0, ["settled", "final"]);
  await network.slashed(eve, (BOND * 7n) / 10n);
  await network.check(
    bob,
    0,
    rounds,
    honest.map((agent) => ({ agent, bond: BOND })),
  );
  await network.finished(honest, 0);

  // Epoch 1: Eve is honest from now on; Carol is killed after her commitment and back too late.
  await network.restart(eve, true);
  rounds = await network.train(1);
  await network.committed(network.agents, 1);
  await network.restart(carol, false);
  const opening = [alice, bob, dave, eve];
  await network.revealed(opening, 1);
  await hand.travelTo(hand.endOf(1) + 2 * WINDOW_S);
  await network.allAre(opening, 1, ["settled", "final"]);
  await network.slashed(carol, (BOND * 9n) / 10n);
  await network.restart(carol, true);
  const late = await eventually("Carol to know why", async () => {
    const epoch = await carol.epoch(1);
    return epoch?.phase === "missed" && epoch;
  });
  expect(late.reason).toMatch(/no share in epoch 1: .*reveal.* by \d+ s/);
  const bonds = new Map([[eve, (BOND * 7n) / 10n]]);
  const share = (agent: Agent) => ({ agent, bond: bonds.get(agent) ?? BOND });
  await network.check(alice, 1, rounds, opening.map(share));
  await network.finished(opening, 1);
  const missed = rounds;

  // Epoch 2: the drawn proposer settles a root by which everything is its own.
  const cheater = network.agentAt((await hand.ledger.read("epochs", "proposerOf", [2n])) as never);
  await network.restart(cheater, false);
  bonds.set(carol, (BOND * 9n) / 10n);
  const others = network.agents.filter((agent) => agent !== cheater);
  rounds = await network.train(2);
  await network.committed(others, 2);
  await network.revealed(others, 2);
  await hand.travelTo(hand.endOf(2) + 2 * WINDOW_S);
  await network.badRoot(cheater, 2);
  await network.slashed(cheater, 0n);
  await network.allAre(others, 2, ["settled", "final"]);
  const unpaid = (agent: Agent) => (agent === carol ? missed : []);
  const sharers = others.map((agent) => ({ ...share(agent), unpaid: unpaid(agent) }));
  await network.check(others[0]!, 2, rounds, sharers);
  await network.finished(others, 2);

  const minted = await hand.ledger.read("epochs", "cumulativeTotal", []);
  let owed = 0n;
  for (const { identity } of network.agents) owed += network.owedTo(identity.public_key);
  expect(minted).toBe(owed);
  // Everybody has claimed all of it but the cheater, whose share of epochs 0 and 1 was claimed then.
  for (const { identity, address } of network.agents)
    expect(await hand.claimedBy(address)).toBe(network.owedTo(identity.public_key));
}

test(
  "five agents, three epochs, three cheats on the embedded chain",
  async () => {
    await cycle(await embeddedChain());
  },
  LIMIT_MS,
);

test.skipIf(!hasAnvil)(
  "the same on anvil",
  async () => {
    await cycle(await anvilChain());
  },
  LIMIT_MS,
);
