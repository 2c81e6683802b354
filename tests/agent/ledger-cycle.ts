/**
 * The ledger's whole cycle on five agents as processes over three epochs: contributions committed,
 * revealed, settled, claimed; in epoch 0 one copies another's commitment, in epoch 1 one withholds its
 * reveal, in epoch 2 the drawn proposer settles a root of its own. What everybody must have earned is
 * computed a second time, from the rounds that the agents show.
 */
import { expect } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { encodeAbiParameters, type Hex, keccak256, maxUint256 } from "viem";
import { networkFileSchema } from "../../src/agent/network-file.ts";
import { MAG } from "../../src/chain/amounts.ts";
import { publicKeyPoint, signDigest } from "../../src/chain/client/account.ts";
import type { Deployment } from "../../src/chain/client/deployment.ts";
import type { Address } from "../../src/chain/ledger/ledger-types.ts";
import { systemRandom } from "../../src/core/random.ts";
import { TIERS } from "../../src/core/tiers.ts";
import type { PublicKey } from "../../src/core/types.ts";
import { paramCount } from "../../src/model/config.ts";
import { openIdentity } from "../../src/network/key-storage.ts";
import { deployForTest } from "../chain/deployed-ledger.ts";
import { secondRewards, secondRoot } from "../chain/second-computation.ts";
import { Agent, ChainHand, eventually, type RoundShown } from "./ledger-processes.ts";
import { makeJob, TestNetwork } from "./real-nodes.ts";

const EPOCH_SECONDS = 600;
/** Windows; in between the test moves the chain's time. */
const WINDOW_S = 60;
const WEIGHTS = [0, 7000, 3000, 0, 0] as const;
const POOL = 1000n * MAG;
const BOND = 100n * MAG;
const SEAT = 200n * MAG;
/** T of cpu_only, in thousandths. */
const TIER_REWARD = 300n;
const JOB = { rounds: 2, inner_steps: 30 };

interface Sharer {
  agent: Agent;
  bond: bigint;
  /** Earlier rounds that it was not paid for: training counts until it is. */
  unpaid?: readonly RoundShown[];
}
interface Entry {
  address: Address;
  reward: string;
  score: string;
}
interface EpochShown {
  settlement: { root: Hex; total: string; proposer: Address; rejected: boolean } | null;
  record: { root: Hex; entries: Entry[]; accounts: { address: Hex; cumulative: string }[] } | null;
}

export class LedgerCycle {
  readonly agents: Agent[] = [];
  hand!: ChainHand;
  readonly #folder: string;
  readonly #url: string;
  readonly #network_file: string;
  /** What the second computation says that everybody has earned so far. */
  readonly #owed = new Map<Address, bigint>();
  #parameters = 0;

  constructor(url: string, folder: string) {
    this.#url = url;
    this.#folder = folder;
    this.#network_file = path.join(folder, "network.json");
  }

  get #ledgerFlags(): string[] {
    return ["--rpc", this.#url];
  }

  async stop(): Promise<void> {
    await Promise.all(this.agents.map((agent) => agent.kill()));
  }

  /** Keys, the ledger's contracts, the network file; nobody runs yet. */
  async prepare(): Promise<void> {
    const names = ["alice", "bob", "carol", "dave", "eve"];
    const folders = names.map((name) => path.join(this.#folder, name));
    for (const folder of folders) fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
    const keys = folders.map((dir) => openIdentity({ dir }, systemRandom).identity);
    const roster = keys.map(({ public_key }) => public_key);
    const ledger: Deployment = await deployForTest({
      ...{ url: this.#url, members: roster, epoch_seconds: EPOCH_SECONDS },
      values: {
        ...{ commitSeconds: WINDOW_S, revealSeconds: WINDOW_S, proposerSeconds: WINDOW_S },
        ...{ challengeSeconds: WINDOW_S, settleSeconds: 3600, unbondingSeconds: 3600 },
        ...{ voteCommitSeconds: WINDOW_S, voteRevealSeconds: WINDOW_S },
        axisWeights: WEIGHTS,
      },
    });
    const { timing, storage } = new TestNetwork(1).network;
    const network = networkFileSchema.parse({
      ...{ schema: "magnet.network/1", id: "testnet", roster, storage, ledger },
      timing: { ...timing, dead_ms: 5000, suspect_ms: 2000, repair_after_ms: 5000 },
    });
    fs.writeFileSync(this.#network_file, JSON.stringify(network));
    this.hand = new ChainHand(this.#url, ledger);
    for (const [i, name] of names.entries())
      this.agents.push(new Agent(name, keys[i]!, folders[i]!, this.#network_file));
  }

  /** Alice, Bob and Dave are notaries, Carol only registers, Eve trains without the ledger. */
  async start(): Promise<void> {
    const [alice, bob, carol, dave, eve] = this.agents as [Agent, Agent, Agent, Agent, Agent];
    const bond = [...this.#ledgerFlags, "--bond", "100"];
    const seat = [...bond, "--seat", "200"];
    await alice.start(undefined, seat);
    await Promise.all([
      bob.start(alice, seat),
      carol.start(alice, bond),
      dave.start(alice, seat),
      eve.start(alice, []),
      this.#register(eve),
    ]);
    for (const agent of [alice, bob, carol, dave])
      await eventually(`${agent.name}'s stake`, async () => {
        const { stake } = await agent.status();
        return stake.state === "done";
      });
  }

  /** With the agent's key, by the test. */
  async #register({ identity }: Agent): Promise<void> {
    const { ledger } = this.hand;
    const nodes = ledger.address("nodes");
    await this.hand.send(identity, ledger.call("magToken", "approve", [nodes, maxUint256]));
    const { x, y } = publicKeyPoint(identity.public_key);
    const args = [x, y, TIERS.indexOf("cpu_only"), BOND] as const;
    await this.hand.send(identity, ledger.call("nodes", "register", args));
  }

  /** A job of its own for each epoch; returns its rounds once everybody has evaluated the last. */
  async train(epoch: number): Promise<RoundShown[]> {
    const prepared = await makeJob({ ...JOB, seed: epoch + 1 });
    this.#parameters = paramCount(prepared.job.model);
    const { job, files } = prepared;
    const [alice] = this.agents as [Agent];
    const body = { job, files };
    const { job_id } = (await alice.control.post("/v1/jobs", body)) as { job_id: string };
    const ofJob = async (agent: Agent) =>
      (await agent.rounds()).filter((round) => round.job_id === job_id);
    return eventually(`the job of epoch ${epoch}`, async () => {
      const all = await Promise.all(this.agents.map(ofJob));
      const isDone = all.every(
        (rounds) =>
          rounds.length >= JOB.rounds && rounds.every(({ loss_merged }) => loss_merged !== null),
      );
      return isDone && all[0]!;
    });
  }

  async allAre(agents: readonly Agent[], epoch: number, phases: readonly string[]): Promise<void> {
    for (const agent of agents)
      await this.hand.passing(`${agent.name} ${phases} in epoch ${epoch}`, WINDOW_S / 2, async () =>
        phases.includes((await agent.epoch(epoch))?.phase ?? ""),
      );
  }

  async committed(agents: readonly Agent[], epoch: number): Promise<void> {
    await this.hand.travelTo(this.hand.endOf(epoch));
    for (const agent of agents)
      await eventually(
        `${agent.name} to commit`,
        async () => (await agent.epoch(epoch))?.own.committed,
      );
  }

  async revealed(agents: readonly Agent[], epoch: number): Promise<void> {
    await this.hand.travelTo(this.hand.endOf(epoch) + WINDOW_S);
    for (const agent of agents)
      await eventually(
        `${agent.name} to reveal`,
        async () => (await agent.epoch(epoch))?.own.revealed,
      );
  }

  /** The challenge window passes, everybody claims, and everything is held against `earned`. */
  async finished(agents: readonly Agent[], epoch: number): Promise<void> {
    await this.hand.travelTo((await this.hand.ledger.time()) + WINDOW_S);
    await this.allAre(agents, epoch, ["final"]);
    for (const agent of agents) {
      const owed = this.#owed.get(agent.address) ?? 0n;
      await eventually(
        `${agent.name} to claim ${owed}`,
        async () => (await this.hand.claimedBy(agent.address)) === owed,
      );
    }
  }

  /**
   * The record of an epoch, as an agent shows it, against the second computation: who shares with
   * which bond, and with which rounds besides the epoch's own. Adds to what everybody is owed.
   */
  async check(
    witness: Agent,
    epoch: number,
    rounds: readonly RoundShown[],
    sharers: readonly Sharer[],
  ): Promise<void> {
    const shown = (await witness.control.get(`/v1/ledger/epochs/${epoch}`)) as EpochShown;
    const bonds = sharers.reduce((sum, { bond }) => sum + bond, 0n);
    const amounts = sharers.map(({ agent, bond, unpaid = [] }) => {
      const { public_key } = agent.identity;
      const all = [...unpaid, ...rounds];
      const trained = all.filter((round) => round.contributors.includes(public_key)).length;
      const training = BigInt(trained * JOB.inner_steps * this.#parameters);
      const quality = BigInt(rounds.length) * ((1000n * bond) / bonds);
      return {
        ...{ address: agent.address, tier_reward: TIER_REWARD },
        amounts: [0n, training, quality, 0n, 0n] as [bigint, bigint, bigint, bigint, bigint],
      };
    });
    const expected = secondRewards(POOL, WEIGHTS, amounts);
    const entries = new Map(shown.record!.entries.map((one) => [one.address, BigInt(one.reward)]));
    expect(entries).toEqual(new Map([...expected].sort(([a], [b]) => (a < b ? -1 : 1))));
    expect([...entries.values()].reduce((a, b) => a + b, 0n)).toBe(POOL);
    for (const [address, reward] of expected)
      this.#owed.set(address, (this.#owed.get(address) ?? 0n) + reward);
    const root = secondRoot(this.#owed);
    expect(shown.record!.root).toBe(root);
    expect(shown.settlement).toMatchObject({ root, total: POOL.toString(), rejected: false });
  }

  /** Commits what another has committed, and opens it with what the other opens. */
  async copyCommit(thief: Agent, victim: Agent, epoch: number): Promise<void> {
    const { ledger } = this.hand;
    const commitment = await ledger.read("epochs", "commitmentAt", [BigInt(epoch), victim.address]);
    const call = ledger.call("epochs", "commit", [BigInt(epoch), commitment]);
    await this.hand.send(thief.identity, call);
  }

  async copyReveal(thief: Agent, victim: Agent, epoch: number): Promise<void> {
    const { ledger, deployment } = this.hand;
    const range = { from: BigInt(deployment.block) };
    const reveals = await ledger.events("epochs", "Revealed", range);
    const { args } = reveals.find(
      ({ args: of }) => Number(of.epoch) === epoch && of.node.toLowerCase() === victim.address,
    )!;
    const copied = [args.epoch, args.resultHash, args.score, args.nonce] as const;
    await this.hand.send(thief.identity, ledger.call("epochs", "reveal", copied));
  }

  /** A root that gives the whole pool to its proposer, under the proposer's own signature. */
  async badRoot(proposer: Agent, epoch: number): Promise<void> {
    const { ledger } = this.hand;
    const total = await ledger.read("epochs", "poolOf", [BigInt(epoch)]);
    const leaf = encodeAbiParameters(
      [{ type: "address" }, { type: "uint256" }],
      [proposer.address, total],
    );
    const data_hash: Hex = `0x${"ab".repeat(32)}`;
    const outcome = [BigInt(epoch), keccak256(keccak256(leaf)), total, 1n, data_hash] as const;
    const digest = await ledger.read("epochs", "settlementDigest", outcome);
    const signature = signDigest(proposer.identity, digest);
    const call = ledger.call("epochs", "settle", [...outcome, [signature]]);
    await this.hand.send(proposer.identity, call);
  }

  async slashed(agent: Agent, left: bigint): Promise<void> {
    await this.hand.passing(`${agent.name}'s bond of ${left}`, 6 * WINDOW_S, async () => {
      // Asking a node for its status makes it look at the chain.
      await Promise.all(this.agents.map((one) => one.status().catch(() => undefined)));
      return (await this.hand.bondOf(agent.address)) === left;
    });
  }

  /** Goes on without the ledger, or with it. */
  async restart(agent: Agent, takes_part: boolean): Promise<void> {
    await agent.kill();
    const peer = this.agents.find((other) => other !== agent)!;
    await agent.start(peer, takes_part ? this.#ledgerFlags : []);
  }

  /** What the agents' ledgers say, for a test that failed. */
  async report(): Promise<string> {
    const parts = this.agents.map(async (agent) => {
      const log = fs.readFileSync(path.join(agent.data_dir, "agent.log"), "utf8").split("\n");
      const lines = log.filter((line) => line.includes('"room":"ledger"')).slice(-25);
      const status = await agent.status().catch((error) => String(error));
      return `== ${agent.name} ${agent.address}\n${lines.join("\n")}\n${JSON.stringify(status)}`;
    });
    return (await Promise.all(parts)).join("\n");
  }

  agentAt(address: Address): Agent {
    return this.agents.find((agent) => agent.address === address.toLowerCase())!;
  }

  owedTo(public_key: PublicKey): bigint {
    const agent = this.agents.find(({ identity }) => identity.public_key === public_key)!;
    return this.#owed.get(agent.address) ?? 0n;
  }
}

export { BOND, SEAT, WINDOW_S };
