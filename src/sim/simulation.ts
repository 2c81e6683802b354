/**
 * A whole network in one process on virtual time, running exactly the shipped node (agent/node.ts).
 * Safety phase: faults strike and jobs run; every invariant is checked after every effect. Liveness
 * phase: the faults end, a quorum at least is up, and every accepted job must end on all living
 * nodes. The same options give the same run, event for event.
 */

import type { NodeEffect, NodeEvent } from "../agent/node-types.ts";
import { protocol } from "../agent/protocol.ts";
import { canonicalJson, sha256Hex } from "../core/bytes.ts";
import { EXIT } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import type { Hash, PublicKey } from "../core/types.ts";
import type { JobOffer } from "../diloco/round-messages.ts";
import { quorumOf } from "../network/ballot.ts";
import type { Message } from "../network/protocol.ts";
import { EventQueue } from "./event-queue.ts";
import { Faults } from "./faults.ts";
import { Invariants, Violation } from "./invariants.ts";
import { PROFILES, type Profile, type ProfileName } from "./profiles.ts";
import { type KeySource, standInKeys } from "./sim-keys.ts";
import { type Endpoint, SimNetwork } from "./sim-network.ts";
import { SimNode, type Surroundings } from "./sim-node.ts";
import { simRandom } from "./sim-random.ts";
import { Trace } from "./trace.ts";

const TIMING = {
  heartbeat_ms: 1000,
  suspect_ms: 3000,
  dead_ms: 8000,
  view_timeout_ms: 2000,
  grace_ms: 2000,
  repair_after_ms: 30_000,
};
const TICK_MS = 500;
const ROUND_DEADLINE_MS = 6000;
/** After the faults end, everything must have converged within this virtual time. */
const LIVENESS_MS = 600_000;
/** Clocks of the simulation start here: after every date that could be confused with it. */
const EPOCH_MS = 1_800_000_000_000;

export interface SimulationOptions {
  seed: number;
  nodes: number;
  /** Length of the safety phase. */
  duration_ms: number;
  profile: ProfileName;
  /** Rounds per job; jobs follow each other for the whole duration. */
  rounds?: number;
  /** Real cryptography instead of the stand-ins. */
  keys?: KeySource;
  /** Every message goes through JSON and its schema, as between processes. Slow. */
  encode?: boolean;
  /** Changes effects before they are carried out: shows that the invariants catch a broken node. */
  sabotage?: (effect: NodeEffect) => NodeEffect | null;
}

export interface SimulationReport {
  seed: number;
  nodes: number;
  profile: ProfileName;
  ok: boolean;
  /** 0 ok, 127 crash, 128 liveness, 129 correctness. */
  exit_code: number;
  failure: string | null;
  /** Last events before the failure. */
  trace: string[];
  virtual_ms: number;
  events: number;
  messages: number;
  rounds_promoted: number;
  jobs_submitted: number;
  view_max: number;
  crashes: number;
  partitions: number;
  fingerprint: number;
}

class Simulation implements Surroundings, Endpoint {
  readonly #options: SimulationOptions;
  readonly #queue = new EventQueue();
  readonly #trace = new Trace();
  readonly #nodes: SimNode[];
  readonly #index: Map<PublicKey, number>;
  readonly #network: SimNetwork;
  readonly #invariants: Invariants;
  readonly #faults: Faults;
  readonly #jobs: JobOffer[] = [];
  readonly random: Random;
  profile: Profile;
  #events = 0;
  #view_max = 0;

  constructor(options: SimulationOptions) {
    this.#options = options;
    this.random = simRandom(options.seed);
    this.profile = PROFILES[options.profile];
    const keys = options.keys ?? standInKeys(options.seed);
    const signers = Array.from({ length: options.nodes }, (_, i) => keys.signer(i));
    const roster = signers.map((signer) => signer.public_key);
    this.#index = new Map(roster.map((key, i) => [key, i]));
    this.#network = new SimNetwork(this.#queue, this.random, this.profile, this);
    this.#invariants = new Invariants(roster);
    this.#nodes = signers.map((signer, index) => {
      const skew_ms = (this.random.next() * 2 - 1) * this.profile.clock_skew_ms;
      // A network of stragglers alone is not stuck but slow, which no time limit can tell apart.
      const is_straggler = this.random.next() < this.profile.straggler && index > 0;
      const common = { roster, roster_hash: sha256Hex(roster.join()) as Hash, timing: TIMING };
      const own = { signer, address: `${index}`, random: simRandom(options.seed * 1000 + index) };
      const bootstrap = index === 0 ? [] : [{ address: "0" }, { address: "1" }];
      const params = { ...common, ...own, bootstrap, verifier: keys.verifier };
      const tier = "cpu_only" as const;
      // One node at most computes wrongly, where a quorum can do without it.
      const is_faulty = index === 0 && options.nodes >= 3;
      const whole = { ...params, tier };
      return new SimNode(index, whole, Math.floor(skew_ms), is_straggler, is_faulty, this);
    });
    this.#faults = new Faults(this.#nodes, this.#network, this.#queue, this.random, this.#trace);
  }

  run(): SimulationReport {
    try {
      for (const node of this.#nodes) this.#boot(node);
      this.#faults.begin(this.profile);
      this.after(1000, () => this.#submitJobs());
      while (this.#queue.now_ms < this.#options.duration_ms) this.#queue.runNext();
      this.#beginLiveness();
      const limit_ms = this.#queue.now_ms + LIVENESS_MS;
      while (!this.#converged()) {
        if (this.#queue.now_ms > limit_ms) return this.#report(EXIT.sim_liveness, this.#stuck());
        for (let i = 0; i < 200; i++) this.#queue.runNext();
      }
      return this.#report(EXIT.ok, null);
    } catch (error) {
      if (error instanceof Violation) return this.#report(EXIT.sim_correctness, error.message);
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      return this.#report(EXIT.sim_crash, text);
    }
  }

  #boot(node: SimNode): void {
    node.start();
    const tick = () => {
      node.step({ type: "tick" });
      this.after(TICK_MS, tick);
    };
    this.after(this.random.next() * TICK_MS, tick);
  }

  /** Jobs follow each other; now and then two are submitted at once, at different nodes. */
  #submitJobs(): void {
    const busy = this.#nodes.some((node) => node.machine && !this.#isIdle(node));
    const over = this.#queue.now_ms >= this.#options.duration_ms;
    if (over && this.#jobs.length > 0) return;
    const count = busy ? 0 : this.random.next() < 0.2 ? 2 : 1;
    for (let i = 0; i < count; i++) this.#submitJob();
    this.after(500, () => this.#submitJobs());
  }

  #isIdle(node: SimNode): boolean {
    return node.machine !== null && node.machine.view().phase === "idle";
  }

  #submitJob(): void {
    const up = this.#nodes.filter((node) => node.machine);
    const node = up[this.random.below(up.length)];
    if (!node || this.#jobs.length >= 64) return;
    const number = this.#jobs.length;
    const spec = canonicalJson({ seed: this.#options.seed, number });
    const job_id = sha256Hex(spec) as Hash;
    const base_hash = sha256Hex(`base/${job_id}`) as Hash;
    const rounds = this.#options.rounds ?? 3;
    const pace = { inner_steps: 10, round_deadline_ms: ROUND_DEADLINE_MS };
    const job = { job_id, rounds, ...pace, seed: number, base_hash, spec };
    node.step({ type: "job_started", job });
    // A node that crashed before the job was durable never accepted it.
    if (JSON.stringify(node.disk.values.get("jobs") ?? null).includes(job_id)) this.#jobs.push(job);
  }

  #beginLiveness(): void {
    this.profile = PROFILES.calm;
    this.#network.profile = this.profile;
    const faults = PROFILES[this.#options.profile];
    const members = this.#nodes.length;
    const spare = members - quorumOf(members) - (faults.wrong_merge > 0 ? 1 : 0);
    this.#faults.end(Math.max(0, spare), faults);
    if (this.#jobs.length === 0) this.#submitJobs();
  }

  /** Every living node has adopted the last state, and no job is left. */
  #converged(): boolean {
    let state: Hash | null | undefined;
    for (const { machine } of this.#nodes) {
      const view = machine?.view();
      if (!view) continue;
      if (view.phase !== "idle" || view.jobs_waiting > 0) return false;
      if (view.state_hash === null || view.state_hash !== (state ?? view.state_hash)) return false;
      state = view.state_hash;
    }
    return state !== undefined;
  }

  #stuck(): string {
    const lines = this.#nodes.map(({ index, machine }) => {
      if (!machine) return `node ${index}: down`;
      const view = machine.view();
      const leader = this.#index.get(view.leader);
      const place = `round ${view.round} view ${view.view} leader ${leader}`;
      return `node ${index}: ${place} ${view.phase}, ${view.reason}`;
    });
    return ["no progress after the faults ended", ...lines].join("\n");
  }

  #report(exit_code: number, failure: string | null): SimulationReport {
    const { seed, nodes, profile } = this.#options;
    return {
      seed,
      nodes,
      profile,
      ok: exit_code === EXIT.ok,
      exit_code,
      failure,
      trace: failure === null ? [] : this.#trace.tail(),
      virtual_ms: Math.round(this.#queue.now_ms),
      events: this.#events,
      messages: this.#network.messages,
      rounds_promoted: this.#invariants.promoted,
      jobs_submitted: this.#jobs.length,
      view_max: this.#view_max,
      crashes: this.#faults.crashes,
      partitions: this.#faults.partitions,
      fingerprint: this.#trace.fingerprint,
    };
  }

  // Surroundings of the nodes.

  now_ms(): number {
    return EPOCH_MS + Math.floor(this.#queue.now_ms);
  }
  after(delay_ms: number, run: () => void): void {
    this.#queue.after(delay_ms, run);
  }
  onEvent(node: SimNode, event: NodeEvent): void {
    this.#events++;
    this.#trace.event(this.#queue.now_ms, node.index, event);
  }
  onEffect(node: SimNode, given: NodeEffect): NodeEffect | null {
    const effect = this.#options.sabotage ? this.#options.sabotage(given) : given;
    if (effect) this.#observe(node, effect);
    return effect;
  }
  #observe(node: SimNode, effect: NodeEffect): void {
    this.#invariants.effect(node.index, effect);
    if (effect.type === "send") {
      const to = this.#index.get(effect.to);
      if (to !== undefined) this.#network.send(node.index, to, this.#encoded(effect.message));
    } else if (effect.type === "broadcast") {
      const message = this.#encoded(effect.message);
      for (const { index } of this.#nodes)
        if (index !== node.index) this.#network.send(node.index, index, message);
    } else if (effect.type === "dial") this.#network.dial(node.index, Number(effect.address));
    else if (effect.type === "log") {
      const view = effect.event === "view_entered" ? Number(effect.fields.view) : 0;
      this.#view_max = Math.max(this.#view_max, view);
      this.#trace.note(this.#queue.now_ms, node.index, effect.event, effect.fields);
    } else if (effect.type === "store_checkpoint")
      this.#invariants.adopted(node.index, effect.round, effect.state_hash);
  }
  onCrash(node: SimNode): void {
    this.#faults.stop(node);
  }
  findSource(
    node: SimNode,
    sources: readonly string[],
    holds: (peer: SimNode) => boolean,
  ): boolean {
    return sources.some((key) => {
      const peer = this.#nodes[this.#index.get(key as PublicKey) ?? -1];
      if (!peer?.machine || !holds(peer)) return false;
      return (
        this.#network.passes(node.index, peer.index) && this.#network.passes(peer.index, node.index)
      );
    });
  }

  // Endpoint of the network.

  isUp(node: number): boolean {
    return this.#nodes[node]?.machine != null;
  }
  connected(node: number, peer: number, dialed: boolean): void {
    const { params } = this.#nodes[peer]!;
    const { tier, address } = params;
    const public_key = params.signer.public_key;
    const event = { type: "peer_up" as const, public_key, tier };
    this.#nodes[node]!.step({ ...event, dialed: dialed ? address : null });
  }
  disconnected(node: number, peer: number): void {
    const public_key = this.#nodes[peer]!.params.signer.public_key;
    this.#nodes[node]!.step({ type: "peer_down", public_key, reason: "connection lost" });
  }
  dialFailed(node: number, peer: number): void {
    this.#nodes[node]!.step({ type: "dial_failed", address: `${peer}`, reason: "no answer" });
  }
  deliver(node: number, from: number, message: Message): void {
    const key = this.#nodes[from]!.params.signer.public_key;
    this.#nodes[node]!.step({ type: "message", from: key, message });
  }

  /** As between processes: through text, the schema and the limit of its type. */
  #encoded(message: Message): Message {
    if (!this.#options.encode) return message;
    const spec = protocol.find((entry) => entry.type === message.type);
    const text = JSON.stringify(message.body);
    if (!spec || text.length > spec.limit_bytes)
      throw new Error(`${message.type}: ${text.length} bytes are over the limit, or no such type`);
    return { type: message.type, body: spec.schema.parse(JSON.parse(text)) };
  }
}

/** Runs one simulation to its end. Never throws: a failure is in the report, with its trace. */
export const runSimulation = (options: SimulationOptions): SimulationReport =>
  new Simulation(options).run();
