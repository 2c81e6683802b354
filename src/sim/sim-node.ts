/**
 * One simulated node: the shipped state machine, a disk that outlives it, and stand-ins for the
 * work that its effects ask for. States and pseudo-gradients are hashes of what they are made from,
 * so equal inputs give equal results as the real merge does.
 */
import { createNode, type NodeMachine } from "../agent/node.ts";
import type { NodeEffect, NodeEvent, NodeParams } from "../agent/node-types.ts";
import { sha256Hex } from "../core/bytes.ts";
import type { Random } from "../core/random.ts";
import type { Hash } from "../core/types.ts";
import type { MergeTask, TrainTask } from "../diloco/round-types.ts";
import type { Profile } from "./profiles.ts";

/** What survives a crash. */
interface Disk {
  readonly values: Map<string, unknown>;
  readonly blobs: Set<Hash>;
  readonly states: Set<Hash>;
  /** The current state and the one before it: what a restart finds and what peers may fetch. */
  adopted: readonly Hash[];
}

/** What a node needs from the world around it. */
export interface Surroundings {
  readonly random: Random;
  readonly profile: Profile;
  now_ms(): number;
  after(delay_ms: number, run: () => void): void;
  /** Called for every event before the node handles it. */
  onEvent(node: SimNode, event: NodeEvent): void;
  /** Called for every effect; what it returns is carried out. */
  onEffect(node: SimNode, effect: NodeEffect): NodeEffect | null;
  /** The crash that was due strikes. */
  onCrash(node: SimNode): void;
  /** The first of `sources` that is up and holds what `holds` looks for. */
  findSource(node: SimNode, sources: readonly string[], holds: (peer: SimNode) => boolean): boolean;
}

export class SimNode {
  readonly disk: Disk = {
    values: new Map(),
    blobs: new Set(),
    states: new Set(),
    adopted: [],
  };
  machine: NodeMachine | null = null;
  /** Work begun in an earlier life never reports back. */
  #life = 0;
  /** Effects that are still carried out before the node crashes; null: no crash is due. */
  crash_after: number | null = null;
  #training: Hash | null = null;
  /** Blobs that peers may read; nothing is served before this life published or fetched it. */
  readonly #served = new Set<Hash>();

  constructor(
    readonly index: number,
    readonly params: NodeParams,
    /** How far this node's clock is wrong. */
    readonly skew_ms: number,
    readonly is_straggler: boolean,
    /** Its merges are wrong now and then. */
    readonly is_faulty: boolean,
    private readonly world: Surroundings,
  ) {}

  start(): void {
    this.#life++;
    this.machine = createNode(this.params);
    const persisted = Object.fromEntries(this.disk.values);
    this.step({ type: "start", persisted, states: this.disk.adopted });
  }

  crash(): void {
    this.machine = null;
    this.crash_after = null;
    this.#training = null;
    this.#served.clear();
    this.#life++;
  }

  /** Handles an event and carries out its effects in order, unless the node crashes among them. */
  step(event: NodeEvent): void {
    if (!this.machine) return;
    this.world.onEvent(this, event);
    for (const effect of this.machine.step(event, this.world.now_ms() + this.skew_ms)) {
      if (this.crash_after !== null && this.crash_after-- === 0) {
        this.world.onCrash(this);
        return;
      }
      const allowed = this.world.onEffect(this, effect);
      if (allowed) this.#carryOut(allowed);
    }
  }

  #carryOut(effect: NodeEffect): void {
    const { blobs, states, values } = this.disk;
    switch (effect.type) {
      case "persist":
        values.set(effect.key, effect.value);
        break;
      case "prepare_job":
        this.#later(50, 500, () => {
          if (this.#fails()) return this.#report("job_failed", { job_id: effect.job.job_id });
          const { job_id, base_hash } = effect.job;
          states.add(base_hash);
          this.step({ type: "job_prepared", job_id, base_hash });
        });
        break;
      case "train":
        this.#train(effect.task);
        break;
      case "cancel_training":
        this.#training = null;
        break;
      case "publish_blob":
        this.#served.add(effect.hash);
        break;
      case "drop_blobs":
        for (const hash of effect.hashes) {
          blobs.delete(hash);
          this.#served.delete(hash);
        }
        break;
      case "fetch_blob":
        this.#fetchBlob(effect.hash, effect.sources);
        break;
      case "merge":
        this.#merge(effect.task);
        break;
      case "fetch_checkpoint":
        this.#fetchState(effect.state_hash, effect.sources);
        break;
      case "adopt_state":
        if (!states.has(effect.state_hash)) throw new Error("adopted a state that is not here");
        this.#later(1, 50, () => this.#adopt(effect.state_hash));
        break;
    }
  }

  /** True if a peer may read this blob here. */
  serves(hash: Hash): boolean {
    return this.#served.has(hash) && this.disk.blobs.has(hash);
  }

  #train({ announce_hash, base_hash, deadline_ms }: TrainTask): void {
    if (!this.disk.states.has(base_hash)) throw new Error("trains from a state that is not here");
    this.#training = announce_hash;
    const slow = this.is_straggler ? 10 * deadline_ms : 0;
    this.#later(slow + 200, slow + 2500, () => {
      if (this.#training !== announce_hash) return;
      if (this.#fails()) return this.#report("train_failed", { announce_hash });
      const delta_hash = digest("delta", announce_hash, this.params.signer.public_key);
      this.disk.blobs.add(delta_hash);
      const size = { size_bytes: 1000, tokens: 100 + this.index };
      const losses = { loss_before: 2, loss_after: 1.5 };
      const trail_hash = digest("trail", announce_hash, this.params.signer.public_key);
      this.step({ type: "trained", announce_hash, delta_hash, ...size, ...losses, trail_hash });
    });
  }

  #fetchBlob(hash: Hash, sources: readonly string[]): void {
    const arrived = () => {
      this.disk.blobs.add(hash);
      this.#served.add(hash);
      this.step({ type: "blob_fetched", hash });
    };
    const here = this.disk.blobs.has(hash);
    this.#later(here ? 0 : 20, here ? 0 : 400, () => {
      if (here) {
        arrived();
        return;
      }
      const found = this.world.findSource(this, sources, (peer) => peer.serves(hash));
      if (this.#fails() || !found) this.#report("blob_failed", { hash });
      else arrived();
    });
  }

  #fetchState(state_hash: Hash, sources: readonly string[]): void {
    const here = this.disk.states.has(state_hash);
    this.#later(here ? 0 : 50, here ? 0 : 800, () => {
      const serves = ({ disk }: SimNode) => disk.adopted.includes(state_hash);
      const found = here || (!this.#fails() && this.world.findSource(this, sources, serves));
      if (!found) return this.#report("checkpoint_failed", { state_hash });
      this.disk.states.add(state_hash);
      this.step({ type: "checkpoint_fetched", state_hash });
    });
  }

  #merge({ merge_hash, base_hash, contributors }: MergeTask): void {
    const { blobs, states } = this.disk;
    const missing = contributors.some((entry) => !blobs.has(entry.delta_hash));
    if (missing || !states.has(base_hash)) throw new Error("merges what is not here");
    const inputs = contributors.map((entry) => `${entry.delta_hash}*${entry.weight}`);
    const flips = this.is_faulty && this.world.random.next() < this.world.profile.wrong_merge;
    this.#later(20, 300, () => {
      if (this.#fails()) return this.#report("merge_failed", { merge_hash });
      const state_hash = digest("state", base_hash, ...inputs, flips ? "flipped" : "");
      states.add(state_hash);
      this.step({ type: "merged", merge_hash, state_hash });
    });
  }

  #adopt(state_hash: Hash): void {
    const { disk } = this;
    const all = [state_hash, ...disk.adopted.filter((other) => other !== state_hash)];
    for (const old of all.slice(2)) disk.states.delete(old);
    disk.adopted = all.slice(0, 2);
    this.step({ type: "adopted", state_hash });
  }

  #fails(): boolean {
    return this.world.random.next() < this.world.profile.work_failure;
  }

  #report(type: string, about: Record<string, string>): void {
    this.step({ type, reason: "injected", ...about } as unknown as NodeEvent);
  }

  #later(min_ms: number, max_ms: number, run: () => void): void {
    const life = this.#life;
    const delay_ms = min_ms + (max_ms - min_ms) * this.world.random.next();
    this.world.after(delay_ms, () => {
      if (this.#life === life) run();
    });
  }
}

const digest = (...parts: string[]): Hash => sha256Hex(parts.join("\n")) as Hash;
