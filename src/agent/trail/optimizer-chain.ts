/**
 * What this node's optimizer goes on from, round after round: exactly the end of its last merged
 * contribution, or zeros. A round that was cancelled, failed or came too late has moved the moments and the
 * residual, and so has another job; they are then read back from the trail's files.
 */
import { roomLog } from "../../core/log.ts";
import type { Hash } from "../../core/types.ts";
import type { Trainer } from "../../model/trainer.ts";
import type { JobSpec } from "../job.ts";
import { type Trail, trailHash } from "./trail.ts";
import type { TrailStore } from "./trail-store.ts";

const log = roomLog("agent");

export class OptimizerChain {
  /** The trail whose end the trainer holds; null: zeros; undefined: something else. */
  #at: Trail | null | undefined = null;
  #steps = 0;

  /** Of a new trainer; without a store the moments stay with the node as they are. */
  constructor(
    private readonly trainer: Trainer,
    private readonly store: TrailStore | undefined,
  ) {}

  /** Inner steps that the moments have seen. */
  get optimizer_steps(): number {
    return this.#steps;
  }

  /** The trainer has done a step. */
  stepped(): void {
    this.#at = undefined;
    this.#steps++;
  }

  /** What the trainer holds is now the end of this trail. */
  endsWith(trail: Trail): void {
    this.#at = trail;
  }

  /** Zeros, as before the first round of a job. */
  async clear(): Promise<void> {
    const { trainer } = this;
    this.#at = undefined;
    trainer.m.fill(0);
    trainer.v.fill(0);
    await trainer.push("m", "v");
    await trainer.round.release("residual");
    this.#at = null;
    this.#steps = 0;
  }

  /** Goes on from the end of a trail; returns null where it had to begin at zeros instead. */
  async goOnFrom(previous: Hash | null, job: JobSpec): Promise<Trail | null> {
    const trail = previous && (this.store?.trail(previous) ?? null);
    if (trail && (await this.#take(trail))) {
      this.#steps = trail.optimizer_steps + job.inner_steps;
      return trail;
    }
    if (previous) log.warn("moments_begin_at_zero", { previous });
    if (this.#at !== null) await this.clear();
    return null;
  }

  async #take(trail: Trail): Promise<boolean> {
    const store = this.store!;
    if (this.#at && trailHash(this.#at) === trailHash(trail)) return store.hasEnd(trail);
    const { trainer } = this;
    this.#at = undefined;
    const { m, v } = trainer;
    if (!(await store.loadEnd(trail, { m, v, residual: trainer.arena("residual") }))) return false;
    await trainer.push("m", "v", "residual");
    this.#at = trail;
    return true;
  }
}
