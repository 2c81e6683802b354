/** A few nodes in one process with perfect delivery, for tests that script what goes wrong. */
import { createNode, type NodeMachine } from "../../src/agent/node.ts";
import type { NodeEffect, NodeEvent, NodeParams } from "../../src/agent/node-types.ts";
import { sha256Hex } from "../../src/core/bytes.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Hash, PublicKey } from "../../src/core/types.ts";
import type { JobOffer } from "../../src/diloco/round-messages.ts";
import { standInKeys } from "../../src/sim/sim-keys.ts";

export const TIMING = {
  heartbeat_ms: 100,
  suspect_ms: 300,
  dead_ms: 1000,
  view_timeout_ms: 500,
  grace_ms: 500,
  repair_after_ms: 30_000,
};
const TICK_MS = 50;
const digest = (...parts: string[]): Hash => sha256Hex(parts.join("\n")) as Hash;

export function jobOffer(rounds: number, name = "job"): JobOffer {
  const spec = JSON.stringify({ name });
  const job_id = sha256Hex(spec) as Hash;
  const pace = { inner_steps: 10, round_deadline_ms: 3000, seed: 1 };
  return { job_id, rounds, ...pace, base_hash: digest("base", job_id), spec };
}

export class Member {
  machine: NodeMachine | null = null;
  readonly persisted: Record<string, unknown> = {};
  readonly states = new Set<Hash>();
  readonly blobs = new Set<Hash>();
  readonly published = new Set<Hash>();
  /** Every effect carried out, over all lives. */
  readonly effects: NodeEffect[] = [];
  /** Crashes before carrying out this many more effects. */
  dies_after = Number.POSITIVE_INFINITY;
  train_ms = 100;
  life = 0;
  constructor(
    readonly index: number,
    readonly params: NodeParams,
  ) {}
  get key(): PublicKey {
    return this.params.signer.public_key;
  }
  count(type: NodeEffect["type"]): number {
    return this.effects.filter((effect) => effect.type === type).length;
  }
}

export class Cluster {
  readonly members: Member[];
  now_ms = 1_800_000_000_000;
  /** Return true to swallow an effect. */
  intercept: (member: Member, effect: NodeEffect) => boolean = () => false;
  #queue: { at_ms: number; run: () => void }[] = [];

  constructor(nodes: number, start = nodes) {
    const keys = standInKeys(1);
    // In key order, so that member i leads round i.
    const signers = Array.from({ length: nodes }, (_, i) => keys.signer(i)).sort((a, b) =>
      a.public_key < b.public_key ? -1 : 1,
    );
    const roster = signers.map((signer) => signer.public_key);
    const shared = { roster, roster_hash: digest("roster"), timing: TIMING, bootstrap: [] };
    this.members = signers.map(
      (signer, i) =>
        new Member(i, {
          ...shared,
          signer,
          verifier: keys.verifier,
          random: seededRandom(i),
          tier: "cpu_only",
          address: `${i}`,
        }),
    );
    for (const member of this.members.slice(0, start)) this.start(member);
  }

  get alive(): Member[] {
    return this.members.filter((member) => member.machine);
  }

  start(member: Member): void {
    member.machine = createNode(member.params);
    this.step(member, {
      type: "start",
      persisted: structuredClone(member.persisted),
      states: [...member.states],
    });
    for (const other of this.alive) {
      if (other === member) continue;
      this.step(member, { type: "peer_up", public_key: other.key, tier: "cpu_only", dialed: null });
      this.step(other, { type: "peer_up", public_key: member.key, tier: "cpu_only", dialed: null });
    }
  }

  kill(member: Member): void {
    member.machine = null;
    member.life++;
    member.dies_after = Number.POSITIVE_INFINITY;
    for (const other of this.alive)
      this.step(other, { type: "peer_down", public_key: member.key, reason: "killed" });
  }

  step(member: Member, event: NodeEvent): void {
    if (!member.machine) return;
    for (const effect of member.machine.step(event, this.now_ms)) {
      if (member.dies_after-- <= 0) {
        this.kill(member);
        return;
      }
      member.effects.push(effect);
      if (!this.intercept(member, effect)) this.#carryOut(member, effect);
    }
  }

  /** Runs for so long, or until `done`; returns whether it came. */
  run(for_ms: number, done: () => boolean = () => false): boolean {
    const end_ms = this.now_ms + for_ms;
    for (; this.now_ms < end_ms && !done(); this.now_ms += TICK_MS) {
      for (const member of this.alive) this.step(member, { type: "tick" });
      for (;;) {
        const i = this.#queue.findIndex((entry) => entry.at_ms <= this.now_ms);
        if (i < 0) break;
        this.#queue.splice(i, 1)[0]!.run();
      }
    }
    return done();
  }

  /** Every living node is idle on the same state of the same round. */
  settled(rounds: number): boolean {
    const views = this.alive.map((member) => member.machine!.view());
    const [first] = views;
    return views.every(
      (view) =>
        view.phase === "idle" &&
        view.promoted !== null &&
        view.promoted.round + 1 >= rounds &&
        view.state_hash === first?.state_hash,
    );
  }

  #later(member: Member, delay_ms: number, event: NodeEvent, before?: () => void): void {
    const { life } = member;
    const run = () => {
      if (member.life !== life) return;
      before?.();
      this.step(member, event);
    };
    this.#queue.push({ at_ms: this.now_ms + delay_ms, run });
  }

  #carryOut(member: Member, effect: NodeEffect): void {
    switch (effect.type) {
      case "send":
        this.#deliver(member, effect.to, effect);
        break;
      case "broadcast":
        for (const other of this.alive)
          if (other !== member) this.#deliver(member, other.key, effect);
        break;
      case "persist":
        member.persisted[effect.key] = structuredClone(effect.value);
        break;
      case "prepare_job": {
        const { job_id, base_hash } = effect.job;
        const event = { type: "job_prepared" as const, job_id, base_hash };
        this.#later(member, 0, event, () => member.states.add(base_hash));
        break;
      }
      case "train": {
        const { announce_hash } = effect.task;
        const delta_hash = digest("delta", announce_hash, member.key);
        const sizes = { size_bytes: 10, tokens: 100, loss_before: 2, loss_after: 1 };
        const trail_hash = digest("trail", announce_hash, member.key);
        const hashes = { announce_hash, delta_hash, trail_hash };
        const event = { type: "trained" as const, ...hashes, ...sizes };
        this.#later(member, member.train_ms, event, () => member.blobs.add(delta_hash));
        break;
      }
      case "publish_blob":
        member.published.add(effect.hash);
        break;
      case "fetch_blob": {
        const { hash } = effect;
        const from = this.alive.find((other) => other.published.has(hash));
        if (!from && !member.blobs.has(hash))
          this.#later(member, 50, { type: "blob_failed", hash, reason: "nobody has it" });
        else
          this.#later(member, 10, { type: "blob_fetched", hash }, () => {
            member.blobs.add(hash);
            member.published.add(hash);
          });
        break;
      }
      case "merge": {
        const { merge_hash, base_hash, contributors } = effect.task;
        const state_hash = digest(base_hash, ...contributors.map((entry) => entry.delta_hash));
        const event = { type: "merged" as const, merge_hash, state_hash };
        this.#later(member, 20, event, () => member.states.add(state_hash));
        break;
      }
      case "fetch_checkpoint": {
        const { state_hash } = effect;
        if (this.alive.some((other) => other.states.has(state_hash)))
          this.#later(member, 50, { type: "checkpoint_fetched", state_hash }, () =>
            member.states.add(state_hash),
          );
        else this.#later(member, 50, { type: "checkpoint_failed", state_hash, reason: "nobody" });
        break;
      }
      case "adopt_state":
        this.#later(member, 0, { type: "adopted", state_hash: effect.state_hash });
        break;
    }
  }

  #deliver(
    from: Member,
    to: PublicKey,
    { message }: { message: { type: string; body: unknown } },
  ): void {
    const target = this.members.find((member) => member.key === to);
    if (target?.machine) this.#later(target, 0, { type: "message", from: from.key, message });
  }
}
