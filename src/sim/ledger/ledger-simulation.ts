/**
 * The ledger of a whole network in one process on virtual time: the shipped epoch machine on every
 * node, a simulated chain, gossip with faults, cheaters. First the faults act for the time asked for;
 * then they end, and two more epochs must be settled, final and claimed, with every cheater slashed.
 */
import { parseRecord, type SealedRecord } from "../../chain/ledger/epoch-record.ts";
import type {
  Address,
  LedgerCall,
  LedgerEffect,
  LedgerEvent,
  LedgerPlace,
} from "../../chain/ledger/ledger-types.ts";
import { ledgerMessages } from "../../chain/ledger/messages.ts";
import { sha256Hex } from "../../core/bytes.ts";
import { EXIT } from "../../core/errors.ts";
import type { Random } from "../../core/random.ts";
import type { Hash } from "../../core/types.ts";
import type { Message } from "../../network/protocol.ts";
import { EventQueue } from "../event-queue.ts";
import { Violation } from "../invariants.ts";
import { type KeySource, standInKeys } from "../sim-keys.ts";
import { simRandom } from "../sim-random.ts";
import { Trace } from "../trace.ts";
import { cheat, type Scene, secondCommit } from "./cheating.ts";
import { LedgerInvariants } from "./ledger-invariants.ts";
import {
  LEDGER_PROFILES,
  type LedgerProfile,
  type LedgerProfileName,
  type Role,
} from "./ledger-profiles.ts";
import { LedgerSimNode, type LedgerWorld } from "./ledger-sim-node.ts";
import { SimChain } from "./sim-chain.ts";
import { SimContracts } from "./sim-contracts.ts";
import { SimFacts } from "./sim-facts.ts";
import { LEDGER } from "./sim-ledger-types.ts";

/** Virtual time of the start, also the ledger's genesis. */
const START_MS = 1_800_000_000_000;
const NOTARIES = 6;
const POLL_MS = 1000;
/** Epochs that must be final after the faults ended, and how many may pass until they are. */
const EPOCHS_AFTER = 2;
const EPOCHS_PATIENCE = 8;
/**
 * Offence by which each role ends up slashed; the others merely gain nothing. A commitment that was
 * only gossiped and is not opened earns nothing, and the chain cannot see it: there is no slash.
 */
const CAUGHT: Partial<Record<Role, readonly string[]>> = {
  withholder: ["no_reveal"],
  copier: ["no_reveal", "mismatch"],
  colluder: ["bad_root", "fraudulent_approval"],
};

export interface LedgerSimulationOptions {
  seed: number;
  nodes: number;
  /** How long the faults act. */
  duration_ms: number;
  profile: LedgerProfileName;
  keys?: KeySource;
  /** Changes effects of honest nodes: shows that the invariants catch a broken one. */
  sabotage?: (effect: LedgerEffect, node: number) => LedgerEffect | null;
}

export interface LedgerSimulationReport {
  seed: number;
  nodes: number;
  profile: LedgerProfileName;
  ok: boolean;
  /** 0 ok, 127 crash, 128 liveness, 129 correctness. */
  exit_code: number;
  failure: string | null;
  trace: string[];
  virtual_ms: number;
  events: number;
  messages: number;
  epochs_final: number;
  epochs_rejected: number;
  minted: string;
  claimed: string;
  slashes: number;
  reorgs: number;
  crashes: number;
  outages: number;
  fingerprint: number;
}

class LedgerSimulation implements LedgerWorld, Scene {
  readonly #options: LedgerSimulationOptions;
  readonly #queue = new EventQueue();
  readonly #trace = new Trace();
  readonly #random: Random;
  readonly #facts: SimFacts;
  readonly #invariants: LedgerInvariants;
  readonly #seen = new Map<number, string>();
  readonly nodes: readonly LedgerSimNode[];
  readonly chain: SimChain;
  #profile: LedgerProfile;
  #faulty = true;
  #counts = { events: 0, messages: 0, crashes: 0, outages: 0 };

  constructor(options: LedgerSimulationOptions) {
    this.#options = options;
    this.#random = simRandom(options.seed);
    this.#profile = LEDGER_PROFILES[options.profile];
    this.#facts = new SimFacts(options.seed);
    const keys = options.keys ?? standInKeys(options.seed);
    const roles = this.#roles(options.nodes);
    const place: LedgerPlace = {
      ...{ chain_id: 31_337, epochs: addressOf("epochs"), disputes: addressOf("disputes") },
      ...{ genesis_s: START_MS / 1000, epoch_seconds: LEDGER.epoch_s },
    };
    this.nodes = roles.map((role, index) => {
      const signer = keys.signer(index);
      const address = addressOf(signer.public_key);
      const { direct_nodes_max } = this.#profile;
      const random = simRandom(options.seed * 1000 + index);
      const common = { verifier: keys.verifier, place, direct_nodes_max, resend_ms: 2000 };
      return new LedgerSimNode(index, { ...common, signer, random, address }, role, this);
    });
    const members = this.nodes.map(({ params, index }) => ({
      ...{ address: params.address, public_key: params.signer.public_key },
      is_notary: index < NOTARIES,
    }));
    const contracts = new SimContracts(place, members, keys.verifier);
    this.chain = new SimChain(contracts, this.#random, START_MS / 1000);
    const find = (hash: string) => this.#findRecord(hash as Hash);
    this.#invariants = new LedgerInvariants(this.nodes, this.chain, this.#facts, START_MS, find);
  }

  /** Colluders are notaries; the other cheaters come last. */
  #roles(count: number): Role[] {
    const { cheaters } = this.#profile;
    const colluders = cheaters.filter((role) => role === "colluder");
    const others = cheaters.filter((role) => role !== "colluder");
    const honest = Math.max(0, count - cheaters.length);
    const roles: Role[] = [...colluders, ...Array<Role>(honest).fill("honest"), ...others];
    return roles.slice(0, count);
  }

  run(): LedgerSimulationReport {
    try {
      for (const node of this.nodes) this.#boot(node);
      this.#mine();
      this.#beginFaults();
      while (this.#queue.now_ms < this.#options.duration_ms) this.#queue.runNext();
      this.#endFaults();
      const from = this.#epoch();
      while (!this.#converged(from)) {
        if (this.#epoch() > from + EPOCHS_PATIENCE)
          return this.#report(EXIT.sim_liveness, this.#stuck(from));
        for (let i = 0; i < 500; i++) this.#queue.runNext();
      }
      return this.#report(EXIT.ok, null);
    } catch (error) {
      if (error instanceof Violation) return this.#report(EXIT.sim_correctness, error.message);
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      return this.#report(EXIT.sim_crash, text);
    }
  }

  #boot(node: LedgerSimNode): void {
    node.start();
    const tick = () => {
      node.step({ type: "tick" });
      this.#poll(node);
      this.after(POLL_MS, tick);
    };
    this.after(this.#random.next() * POLL_MS, tick);
  }

  #epoch(): number {
    return Math.floor(this.#queue.now_ms / 1000 / LEDGER.epoch_s);
  }

  #mine(): void {
    this.chain.mine(Math.floor(this.now_ms() / 1000), this.#profile.slow);
    this.#invariants.block();
    this.after(LEDGER.block_s * 1000, () => this.#mine());
  }

  /** A node reads the chain, and its queue sends and learns. */
  #poll(node: LedgerSimNode): void {
    if (!node.machine || !node.rpc_up) return;
    const { head } = this.chain;
    const { address } = node.params;
    for (const [key, entry] of node.disk.queue) {
      if (!entry.sent) this.send(node, key, entry.call);
      entry.sent = true;
      const outcome = this.chain.outcome(address, key);
      if (!outcome || entry.told === outcome.status) continue;
      entry.told = outcome.status;
      node.step({ type: "transaction", key, ...outcome });
    }
    const { number, hash, timestamp_s } = head;
    const place = `${node.life}/${hash}`;
    if (this.#seen.get(node.index) === place) return;
    this.#seen.set(node.index, place);
    node.step({ type: "account_view", view: this.chain.accountView(address) });
    node.step({ type: "block", number, hash, timestamp_s });
    const { machine } = node;
    for (const epoch of machine?.wanted.epochs ?? [])
      node.step({ type: "epoch_view", view: this.chain.epochView(epoch) });
    for (const { id } of this.chain.state.disputes)
      node.step({ type: "dispute_view", view: this.chain.disputeView(id, address) });
  }

  // Faults.

  #beginFaults(): void {
    const { reorg_every_ms, outage_every_ms, crash_every_ms, reorg_depth } = this.#profile;
    this.#repeat(reorg_every_ms, () => {
      this.chain.reorganise(1 + this.#random.below(reorg_depth));
      this.#invariants.block();
    });
    this.#repeat(outage_every_ms, () => this.#outage());
    this.#repeat(crash_every_ms, () => this.#crash());
  }

  #repeat(mean_ms: number, strike: () => void): void {
    if (mean_ms <= 0) return;
    this.after(-Math.log(1 - this.#random.next()) * mean_ms, () => {
      if (!this.#faulty) return;
      strike();
      this.#repeat(mean_ms, strike);
    });
  }

  #outage(): void {
    const node = this.nodes[this.#random.below(this.nodes.length)]!;
    if (!node.rpc_up) return;
    this.#counts.outages++;
    node.setRpc(false);
    this.after(this.#random.next() * this.#profile.outage_max_ms, () => node.setRpc(true));
  }

  #crash(): void {
    const node = this.nodes[this.#random.below(this.nodes.length)]!;
    if (!node.machine) return;
    this.#counts.crashes++;
    this.#trace.note(this.#queue.now_ms, node.index, "CRASH", null);
    node.crash();
    this.after(500 + this.#random.next() * 30_000, () => {
      if (!node.machine) node.start();
    });
  }

  #endFaults(): void {
    this.#faulty = false;
    this.#profile = { ...LEDGER_PROFILES["ledger-calm"], cheaters: this.#profile.cheaters };
    for (const node of this.nodes) {
      if (!node.rpc_up) node.setRpc(true);
      if (!node.machine) node.start();
    }
  }

  /** Enough epochs are final, their rewards claimed, and whoever cheated is slashed. */
  #converged(from: number): boolean {
    const later = [...this.#invariants.final.keys()].filter((epoch) => epoch >= from);
    return later.length >= EPOCHS_AFTER && this.#unclaimed() === null && this.#uncaught() === null;
  }

  #unclaimed(): string | null {
    const { state } = this.chain;
    const epoch = Math.max(...this.#invariants.final.keys());
    const record = this.#findRecord(this.#invariants.final.get(epoch)!.data_hash)!;
    for (const { address, cumulative } of record.record.accounts) {
      const claimed = state.claimed.get(address) ?? 0n;
      if (claimed !== cumulative) return `${address} has claimed ${claimed} of ${cumulative}`;
    }
    return null;
  }

  #uncaught(): string | null {
    const { slashes, settlements } = this.chain.state;
    const tried =
      [...settlements.values()].some((one) => one.rejected) ||
      slashes.some((s) => s.offence === "bad_root");
    const direct = this.nodes.length <= LEDGER_PROFILES[this.#options.profile].direct_nodes_max;
    for (const { role, params, index } of this.nodes) {
      const offences = CAUGHT[role];
      if (!offences || (role === "colluder" ? !tried : !direct)) continue;
      const caught = slashes.some(
        (one) => one.node === params.address && offences.includes(one.offence),
      );
      if (!caught) return `node ${index}, a ${role}, was not slashed`;
    }
    return null;
  }

  #stuck(from: number): string {
    const later = [...this.#invariants.final.keys()].filter((epoch) => epoch >= from);
    const lines = this.nodes.map((node) => {
      const status = node.machine?.view();
      const epochs = status?.epochs.map(
        (one) => `${one.epoch} ${one.phase}: ${one.reason} ${one.hint}`,
      );
      return `node ${node.index} (${node.role}): ${epochs?.slice(-5).join(" | ") ?? "down"}`;
    });
    const what = `${later.length} epochs final after the faults ended`;
    const open = [this.#invariants.final.size > 0 ? this.#unclaimed() : null, this.#uncaught()];
    return [what, ...open.filter((text) => text !== null), ...lines].join("\n");
  }

  #report(exit_code: number, failure: string | null): LedgerSimulationReport {
    const { seed, nodes, profile } = this.#options;
    const { state } = this.chain;
    const claimed = [...state.claimed.values()].reduce((sum, amount) => sum + amount, 0n);
    const { events, messages, crashes, outages } = this.#counts;
    return {
      ...{ seed, nodes, profile, ok: exit_code === EXIT.ok, exit_code, failure },
      trace: failure === null ? [] : this.#trace.tail(),
      virtual_ms: Math.round(this.#queue.now_ms),
      ...{ events, messages },
      epochs_final: this.#invariants.final.size,
      epochs_rejected: state.barred.size,
      minted: state.minted.toString(),
      claimed: claimed.toString(),
      slashes: state.slashes.length,
      reorgs: this.chain.reorgs,
      ...{ crashes, outages },
      fingerprint: this.#trace.fingerprint,
    };
  }

  // World of the nodes.

  now_ms(): number {
    return START_MS + Math.floor(this.#queue.now_ms);
  }
  after(delay_ms: number, run: () => void): void {
    this.#queue.after(delay_ms, run);
  }
  onEvent(node: LedgerSimNode, event: LedgerEvent): void {
    this.#counts.events++;
    if (event.type === "tick" || event.type === "block") return;
    const what = event.type === "message" ? event.message.type : event.type;
    const detail = event.type === "transaction" ? event : null;
    this.#trace.note(this.#queue.now_ms, node.index, what, detail);
  }
  onEffect(node: LedgerSimNode, given: LedgerEffect): LedgerEffect | null {
    if (node.role !== "honest") return cheat(this, node, given);
    const effect = this.#options.sabotage ? this.#options.sabotage(given, node.index) : given;
    if (effect) this.#invariants.effect(node, effect);
    return effect;
  }
  send(node: LedgerSimNode, key: string, call: LedgerCall): void {
    const { address } = node.params;
    this.after(this.#random.next() * 500, () => this.chain.send({ from: address, key, call }));
  }

  carryOut(node: LedgerSimNode, effect: LedgerEffect): void {
    switch (effect.type) {
      case "broadcast":
        for (const other of this.nodes) if (other !== node) this.#tell(node, other, effect.message);
        if (node.role === "double" && effect.message.type === "ledger.commit") {
          const body = secondCommit(node, (effect.message.body as { epoch: number }).epoch);
          for (const other of this.nodes)
            if (other !== node) this.#tell(node, other, { type: "ledger.commit", body });
        }
        break;
      case "send": {
        const to = this.nodes.find((other) => other.params.signer.public_key === effect.to);
        if (to) this.#tell(node, to, effect.message);
        break;
      }
      case "gather_facts": {
        const { epoch, after_round } = effect;
        const { index, role } = node;
        const facts =
          role === "liar"
            ? this.#facts.lie(index, epoch)
            : this.#facts.truth(index, epoch, after_round);
        node.later(100, 2000, () => node.step({ type: "facts", epoch, facts }));
        break;
      }
      case "verify_report":
        this.#verify(node, effect);
        break;
      case "fetch_record":
        node.later(100, 2000, () => this.#fetch(node, effect.data_hash));
        break;
      case "log":
        this.#trace.note(this.#queue.now_ms, node.index, effect.event, effect.fields);
        break;
    }
  }

  #verify(node: LedgerSimNode, effect: Extract<LedgerEffect, { type: "verify_report" }>): void {
    const { epoch, result_hash, report } = effect;
    const reporter = this.nodes.find((other) => other.params.address === effect.node)!;
    node.later(50, 1000, () => {
      if (this.#random.next() < this.#profile.unverified)
        return node.step({ type: "report_unverified", epoch, result_hash, reason: "injected" });
      const verified = this.#facts.verify(reporter.index, report);
      node.step({ type: "report_verified", epoch, result_hash, verified });
    });
  }

  #fetch(node: LedgerSimNode, data_hash: Hash): void {
    const holders = this.nodes.filter(
      (other) => other.machine && other.disk.records.has(data_hash),
    );
    const bytes = holders[0]?.disk.records.get(data_hash);
    if (bytes) node.step({ type: "record_fetched", data_hash, bytes });
    else node.step({ type: "record_failed", data_hash, reason: "nobody has it" });
  }

  #tell(from: LedgerSimNode, to: LedgerSimNode, message: Message): void {
    this.#counts.messages++;
    if (this.#random.next() < this.#profile.loss) return;
    const delay_ms = 5 + this.#profile.delay_max_ms * this.#random.next() ** 3;
    this.after(delay_ms, () => {
      to.step({ type: "message", from: from.params.signer.public_key, message: checked(message) });
    });
  }

  #findRecord(hash: Hash): SealedRecord | undefined {
    for (const node of this.nodes) {
      const bytes = node.disk.records.get(hash);
      if (bytes) return parseRecord(bytes);
    }
    return undefined;
  }
}

const addressOf = (text: string): Address => `0x${sha256Hex(text).slice(0, 40)}`;
const specs = new Map(ledgerMessages.map((spec) => [spec.type as string, spec]));

/** As between processes: the schema and the limit of its type. */
function checked(message: Message): Message {
  const spec = specs.get(message.type);
  const text = JSON.stringify(message.body);
  if (!spec || text.length > spec.limit_bytes)
    throw new Error(`${message.type}: ${text.length} bytes are over the limit, or no such type`);
  return { type: message.type, body: spec.schema.parse(JSON.parse(text)) };
}

/** Runs one simulation to its end. Never throws: a failure is in the report, with its trace. */
export const runLedgerSimulation = (options: LedgerSimulationOptions): LedgerSimulationReport =>
  new LedgerSimulation(options).run();
