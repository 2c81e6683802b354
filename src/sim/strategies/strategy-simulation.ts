/**
 * Which way of taking part pays (paper 13.3)? Operators with equal machines and different strategies
 * live through some epochs on the real contracts; what each owns afterwards is compared with what it
 * began with. Time is virtual, signatures and contracts are real, gossip is instant.
 */

import { ChainReader } from "../../agent/ledger/chain-reader.ts";
import { encodeCall } from "../../agent/ledger/encode-call.ts";
import { LogIndex } from "../../agent/ledger/log-index.ts";
import { MAG } from "../../chain/amounts.ts";
import type {
  EpochView,
  Hex,
  LedgerEffect,
  LedgerEvent,
  LedgerPlace,
} from "../../chain/ledger/ledger-types.ts";
import type { ContributionReport } from "../../chain/ledger/report.ts";
import { sha256 } from "../../core/bytes.ts";
import { MagnetError } from "../../core/errors.ts";
import { type Random, seededRandom } from "../../core/random.ts";
import type { Hash } from "../../core/types.ts";
import { type Identity, identityOf } from "../../network/identity.ts";
import {
  behave,
  CHOICES,
  type Conspiracy,
  STRATEGIES,
  type Strategy,
  works,
} from "./strategies.ts";
import { StrategyAgent } from "./strategy-agent.ts";
import { StrategyChain } from "./strategy-chain.ts";
import { StrategyWork } from "./strategy-work.ts";

/** Every strategy but the honest one, and how many identities it takes. */
const SYBILS = 2;
const COLLUDERS = 2;
/** With six notaries f is 1: two colluders are enough to sign, four honest ones judge them. */
const NOTARIES = 6;
export const NODES_LEAST = COLLUDERS + 4 + SYBILS + 4;
const EPOCH_S = 200;
const STEP_S = 8;
const EXTRA_EPOCHS = 16;

/** One identity's part in it. */
interface Part {
  strategy: Strategy;
  operator: number;
  share: number;
}

export interface StrategyOptions {
  nodes: number;
  epochs: number;
  seed: number;
  /** What a machine's work costs its operator in an epoch, base units. */
  cost: bigint;
  /** Epochs added at most until a colluder has been drawn as proposer and was judged; 16. */
  extra_epochs?: number;
  onEpoch?: (done: number, total: number) => void;
}

/** What one operator made of it; amounts in base units. */
export interface OperatorResult {
  operator: number;
  strategy: Strategy;
  identities: number;
  /** Paid by the epochs' rewards. */
  rewards: bigint;
  /** Lost by slashes. */
  slashed: bigint;
  /** Earned by reporting others' offences, less what was staked in vain. */
  bounties: bigint;
  /** Of the work done. */
  cost: bigint;
  /** Without bounties, which go to whoever is first and need no strategy. */
  net: bigint;
}

export interface StrategyReport {
  nodes: number;
  epochs: number;
  seed: number;
  ok: boolean;
  /** Strategies that did not do worse than honesty, with their numbers. */
  failures: string[];
  settled: number;
  rejected: number;
  false_roots_tried: number;
  operators: OperatorResult[];
}

export class StrategySimulation {
  readonly #options: StrategyOptions;
  readonly #random: Random;
  readonly #work: StrategyWork;
  #chain!: StrategyChain;
  #agents: StrategyAgent[] = [];
  #readers = new Map<StrategyAgent, ChainReader>();
  #index!: LogIndex;
  #conspiracy: Conspiracy = { members: [], attempts: 0 };
  /** Epoch of the first false root; -1: none yet. */
  #tried_at = -1;
  #begin = new Map<StrategyAgent, bigint>();

  constructor(options: StrategyOptions) {
    if (options.nodes < NODES_LEAST)
      throw new MagnetError("TOO_FEW_NODES", `${options.nodes} nodes cannot play every strategy`, {
        hint: `give --nodes ${NODES_LEAST} or more`,
        exit: "usage",
      });
    this.#options = options;
    this.#random = seededRandom(options.seed);
    this.#work = new StrategyWork(EPOCH_S);
  }

  /** Colluders and some honest ones are notaries, and come first. */
  #cast(): Part[] {
    const { nodes } = this.#options;
    const alone = (strategy: Strategy) => ({ strategy, share: 1 });
    const band = Array.from({ length: COLLUDERS }, () => alone("colluding"));
    const rest = [alone("rational"), alone("lazy"), alone("withholding"), alone("copying")];
    const count = nodes - band.length - rest.length - SYBILS;
    const honest = Array.from({ length: count }, () => alone("honest"));
    const single = [...band, ...honest, ...rest].map((one, operator) => ({ ...one, operator }));
    const sybils = Array.from({ length: SYBILS }, () => ({
      ...{ strategy: "sybil" as const, operator: single.length, share: 1 / SYBILS },
    }));
    return [...single, ...sybils];
  }

  async run(): Promise<StrategyReport> {
    const { seed, epochs } = this.#options;
    const cast = this.#cast();
    const identities = cast.map((_, i) => identityOf(sha256(`strategies ${seed} ${i}`)));
    this.#chain = await StrategyChain.open(EPOCH_S, seed, identities, NOTARIES);
    try {
      await this.#populate(cast, identities);
      let end_s = this.#chain.now_s + (epochs + 2) * EPOCH_S;
      const latest_s = end_s + (this.#options.extra_epochs ?? EXTRA_EPOCHS) * EPOCH_S;
      let told = -1;
      while (this.#chain.now_s < end_s) {
        // A colluder cheats once it is drawn as proposer; then it has to be judged.
        const tried = this.#conspiracy.attempts > 0;
        const judged = tried && this.#epoch() > this.#tried_at + 2;
        if (!judged && end_s - this.#chain.now_s <= STEP_S && end_s < latest_s) end_s += EPOCH_S;
        if (tried && this.#tried_at < 0) this.#tried_at = this.#epoch();
        this.#chain.now_s += STEP_S;
        await this.#step();
        const epoch = this.#epoch();
        if (epoch !== told) {
          told = epoch;
          await this.#choose();
          this.#options.onEpoch?.(Math.min(epoch, epochs + 2), epochs + 2);
        }
      }
      return await this.#report();
    } finally {
      await this.#chain.close();
    }
  }

  async #populate(cast: readonly Part[], identities: readonly Identity[]): Promise<void> {
    const { ledger } = this.#chain;
    const { deployment } = ledger;
    const place: LedgerPlace = {
      chain_id: deployment.chain_id,
      epochs: deployment.contracts.epochs.toLowerCase() as Hex,
      disputes: deployment.contracts.disputes.toLowerCase() as Hex,
      ...{ genesis_s: deployment.genesis, epoch_seconds: EPOCH_S },
    };
    this.#index = new LogIndex(ledger);
    this.#agents = cast.map(({ strategy, operator, share }, i) => {
      const random = seededRandom(this.#options.seed * 1000 + i);
      const agent = new StrategyAgent(identities[i]!, strategy, operator, share, place, random);
      this.#readers.set(agent, new ChainReader(ledger, this.#index, agent.address));
      return agent;
    });
    const band = this.#agents.filter((agent) => agent.strategy === "colluding");
    band.sort((a, b) => (a.address < b.address ? -1 : 1));
    this.#conspiracy = { members: band.map((agent) => agent.identity), attempts: 0 };
    for (const agent of this.#agents) {
      this.#begin.set(agent, await this.#chain.wealth(agent.identity));
      await this.#tell(agent, { type: "start", persisted: undefined, records: [] });
    }
  }

  #epoch(): number {
    return Math.floor((this.#chain.now_s - this.#chain.ledger.deployment.genesis) / EPOCH_S);
  }

  /** Everybody reads the chain, acts, and sends. */
  async #step(): Promise<void> {
    const { ledger, now_s } = this.#chain;
    const head = await ledger.head();
    await this.#index.advance(head);
    const shared = this.#readers.get(this.#agents[0]!)!;
    shared.logsRead();
    const panel = await shared.panel();
    const wanted = new Set(this.#agents.flatMap((agent) => agent.machine.wanted.epochs));
    const views = new Map<number, EpochView>();
    for (const epoch of wanted) views.set(epoch, await shared.epochView(epoch, panel, now_s));
    for (const agent of this.#agents) {
      const reader = this.#readers.get(agent)!;
      reader.logsRead();
      await this.#tell(agent, { type: "account_view", view: await reader.accountView(now_s) });
      const also = new Set(agent.machine.wanted.disputes);
      for (const view of await reader.disputeViews(also))
        await this.#tell(agent, { type: "dispute_view", view });
      for (const epoch of agent.machine.wanted.epochs) {
        const view = views.get(epoch);
        if (view) await this.#tell(agent, { type: "epoch_view", view });
      }
      const { number, hash } = head;
      await this.#tell(agent, { type: "block", number: Number(number), hash, timestamp_s: now_s });
    }
    for (const agent of this.#agents) await this.#send(agent);
  }

  async #send(agent: StrategyAgent): Promise<void> {
    const signers = (id: number) => this.#readers.get(agent)!.signersOfDispute(id);
    for (const { key, call } of agent.queue.splice(0)) {
      const outcome = await this.#chain.send(
        agent.identity,
        encodeCall(this.#chain.ledger, call, signers),
      );
      await this.#tell(agent, { type: "transaction", key, ...outcome });
    }
    await this.#openCopies(agent);
  }

  /** Whoever copied a commitment opens it with its own words: there are no others. */
  async #openCopies(agent: StrategyAgent): Promise<void> {
    for (const epoch of agent.copied) {
      const junk: Hex = `0x${"7".repeat(64)}`;
      const call = { method: "reveal" as const, epoch, result_hash: junk, score: 1n, nonce: junk };
      const encoded = encodeCall(this.#chain.ledger, call, () => []);
      const { status } = await this.#chain.send(agent.identity, encoded);
      if (status === "confirmed" || epoch < this.#epoch() - 2) agent.copied.delete(epoch);
    }
  }

  async #tell(agent: StrategyAgent, event: LedgerEvent): Promise<void> {
    for (const effect of agent.machine.step(event, this.#chain.now_s * 1000)) {
      const others = () => this.#othersCommitments(agent);
      const done = behave(agent, effect, this.#conspiracy, others, this.#random);
      if (done) await this.#carryOut(agent, done);
    }
  }

  #othersCommitments(agent: StrategyAgent): Hex[] {
    return this.#index
      .of("epochs")
      .filter((log) => log.eventName === "Committed")
      .filter(({ args }) => args.node.toLowerCase() !== agent.address)
      .slice(-4)
      .map(({ args }) => args.commitment);
  }

  async #carryOut(agent: StrategyAgent, effect: LedgerEffect): Promise<void> {
    switch (effect.type) {
      case "submit":
        if (!agent.sent.has(effect.key)) agent.queue.push({ key: effect.key, call: effect.call });
        agent.sent.add(effect.key);
        break;
      case "store_record":
        agent.bytes.set(effect.data_hash, effect.bytes);
        break;
      case "broadcast":
        for (const other of this.#agents)
          if (other !== agent) await this.#message(agent, other, effect.message);
        break;
      case "send": {
        const other = this.#agents.find((one) => one.identity.public_key === effect.to);
        if (other) await this.#message(agent, other, effect.message);
        break;
      }
      case "gather_facts": {
        const { epoch, after_round } = effect;
        if (works(agent.doing)) agent.worked++;
        const facts = this.#work.facts(agent, epoch, after_round);
        await this.#tell(agent, { type: "facts", epoch, facts });
        break;
      }
      case "verify_report":
        await this.#verify(agent, effect.node, effect.epoch, effect.result_hash, effect.report);
        break;
      case "fetch_record":
        await this.#fetch(agent, effect.data_hash);
        break;
    }
  }

  #message(from: StrategyAgent, to: StrategyAgent, message: { type: string; body: unknown }) {
    return this.#tell(to, { type: "message", from: from.identity.public_key, message });
  }

  async #verify(
    agent: StrategyAgent,
    node: Hex,
    epoch: number,
    result_hash: Hash,
    report: ContributionReport,
  ): Promise<void> {
    const reporter = this.#agents.find((one) => one.address === node)!;
    const verified = this.#work.verify(reporter, report);
    await this.#tell(agent, { type: "report_verified", epoch, result_hash, verified });
  }

  async #fetch(agent: StrategyAgent, data_hash: Hash): Promise<void> {
    const bytes = this.#agents.map((one) => one.bytes.get(data_hash)).find((found) => found);
    const event: LedgerEvent = bytes
      ? { type: "record_fetched", data_hash, bytes }
      : { type: "record_failed", data_hash, reason: "nobody has it" };
    await this.#tell(agent, event);
  }

  /** A rational operator looks at what others have made of each choice, per epoch and identity. */
  async #choose(): Promise<void> {
    const rational = this.#agents.filter((agent) => agent.strategy === "rational");
    const results = await this.#results();
    const earned = CHOICES.map((choice) => {
      const same = results.filter((one) => one.strategy === choice);
      return { choice, mean: mean(same.map((one) => one.net)) };
    });
    const best = earned.reduce((a, b) => (b.mean > a.mean ? b : a));
    // Before anybody has earned anything, doing nothing is the cheapest.
    for (const agent of rational) agent.doing = best.mean > 0n ? best.choice : "lazy";
  }

  async #results(): Promise<OperatorResult[]> {
    const operators = new Map<number, StrategyAgent[]>();
    for (const agent of this.#agents)
      operators.set(agent.operator, [...(operators.get(agent.operator) ?? []), agent]);
    const results: OperatorResult[] = [];
    for (const [operator, agents] of operators) results.push(await this.#result(operator, agents));
    return results;
  }

  async #result(operator: number, agents: StrategyAgent[]): Promise<OperatorResult> {
    let [rewards, slashed, change, cost] = [0n, 0n, 0n, 0n];
    for (const agent of agents) {
      const logs = this.#index.of("epochs").filter((log) => log.eventName === "Claimed");
      const own = logs.filter(({ args }) => args.account.toLowerCase() === agent.address);
      rewards += own.reduce((sum, { args }) => sum + args.amount, 0n);
      const slashes = this.#index.of("nodes").filter((log) => log.eventName === "Slashed");
      const hits = slashes.filter(({ args }) => args.node.toLowerCase() === agent.address);
      slashed += hits.reduce((sum, { args }) => sum + args.amount, 0n);
      change += (await this.#chain.wealth(agent.identity)) - this.#begin.get(agent)!;
      const per_mille = BigInt(Math.round(agent.share * 1000));
      cost += (BigInt(agent.worked) * this.#options.cost * per_mille) / 1000n;
    }
    const bounties = change - rewards + slashed;
    const net = rewards - slashed - cost;
    const { strategy } = agents[0]!;
    return { operator, strategy, identities: agents.length, rewards, slashed, bounties, cost, net };
  }

  async #report(): Promise<StrategyReport> {
    const { nodes, epochs, seed } = this.#options;
    const operators = await this.#results();
    const logs = this.#index.of("epochs");
    const settled = logs.filter((log) => log.eventName === "Settled").length;
    const failures = compare(operators, settled);
    if (mean(operators.filter(isHonest).map((one) => one.net)) <= 0n)
      failures.push("honesty earns nothing");
    return {
      ...{ nodes, epochs, seed, ok: failures.length === 0, failures },
      settled,
      rejected: logs.filter((log) => log.eventName === "Rejected").length,
      false_roots_tried: this.#conspiracy.attempts,
      operators,
    };
  }
}

const isHonest = (one: OperatorResult) => one.strategy === "honest";
const mean = (list: readonly bigint[]): bigint =>
  list.length === 0 ? 0n : list.reduce((sum, value) => sum + value, 0n) / BigInt(list.length);

/** Strategies that paid more than honesty. Rounding gives k identities up to k - 1 units an epoch. */
function compare(operators: readonly OperatorResult[], settled: number): string[] {
  const honest = mean(operators.filter(isHonest).map((one) => one.net));
  return STRATEGIES.filter((strategy) => strategy !== "honest").flatMap((strategy) => {
    const own = operators.filter((one) => one.strategy === strategy);
    const net = mean(own.map((one) => one.net));
    const identities = Math.max(...own.map((one) => one.identities));
    // Honest operators differ by a unit an epoch among themselves as well.
    const rounding = BigInt(identities * settled);
    if (net <= honest + rounding) return [];
    return [
      `${strategy} earned ${Number(net) / Number(MAG)} MAG, honesty ${Number(honest) / Number(MAG)}`,
    ];
  });
}
