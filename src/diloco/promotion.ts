/**
 * Brings this node to the certified state: adopts it where it was merged here, else fetches it from
 * a peer that has it. Invariant: only the state of the last promotion is ever adopted, and
 * promotions only move forward (the election keeps them durably), so nothing is rolled back.
 */
import type { Hash, PublicKey } from "../core/types.ts";
import type { Sink } from "../network/effects.ts";
import type { Certificate } from "../network/election-messages.ts";
import type { JobBook } from "./jobs.ts";
import type { Merger } from "./merger.ts";
import { readMergePlan } from "./round-contents.ts";
import type { RoundEffect } from "./round-types.ts";

/** A checkpoint that no source could give is asked for again after so long. */
const RETRY_MS = 3000;
/** Merged and fetched states that are remembered; older ones have no use. */
const STATES_MAX = 16;

export class Promotion {
  readonly #merger: Merger;
  readonly #jobs: JobBook;
  readonly #states = new Set<Hash>();
  #adopted: Hash | null = null;
  #adopting: Hash | null = null;
  #fetching: Hash | null = null;
  #retry_ms = 0;
  #failure: string | null = null;
  #led: Hash | null = null;

  constructor(merger: Merger, jobs: JobBook) {
    this.#merger = merger;
    this.#jobs = jobs;
  }

  /** The node's current state; null before the first promotion. */
  get adopted(): Hash | null {
    return this.#adopted;
  }
  /** Why the certified state could not be fetched; null if it could. */
  get failure(): string | null {
    return this.#failure;
  }
  /** True if the state is whole on this disk; initial states are kept as long as their job. */
  has(state_hash: Hash): boolean {
    return this.#states.has(state_hash) || this.#jobs.hasBase(state_hash);
  }

  /** A whole state is on this disk. */
  add(state_hash: Hash): void {
    this.#states.delete(state_hash);
    this.#states.add(state_hash);
    if (this.#states.size <= STATES_MAX) return;
    const oldest = this.#states.values().next().value;
    if (oldest !== undefined) this.#states.delete(oldest);
  }

  /** This node led the merge with this content: it says so when the state is stored. */
  led(merge_hash: Hash): void {
    this.#led = merge_hash;
  }

  advance(
    head: Certificate,
    holders: (state_hash: Hash) => readonly PublicKey[],
    now_ms: number,
    out: Sink<RoundEffect>,
  ): void {
    const plan = readMergePlan(head.proposal);
    const state_hash = head.result_hash;
    if (!plan || this.#adopted === state_hash || this.#adopting === state_hash) return;
    const { round, job_id } = plan.value;
    if (this.has(state_hash)) {
      this.#adopting = state_hash;
      out.push({ type: "adopt_state", round, job_id, state_hash });
      return;
    }
    if (this.#merger.isWorkingOn(plan.hash)) return;
    if (this.#fetching === state_hash || now_ms < this.#retry_ms) return;
    const own = this.#merger.result(plan.hash);
    if (own !== null) {
      const fields = { round, own, certified: state_hash };
      out.push({ type: "log", level: "warn", event: "merge_deviates", fields });
    }
    this.#fetching = state_hash;
    out.push({ type: "fetch_checkpoint", round, job_id, state_hash, sources: holders(state_hash) });
  }

  fetched(state_hash: Hash): void {
    if (this.#fetching === state_hash) this.#fetching = null;
    this.#failure = null;
    this.add(state_hash);
  }

  fetchFailed(state_hash: Hash, reason: string, now_ms: number): void {
    if (this.#fetching !== state_hash) return;
    this.#fetching = null;
    this.#failure = reason;
    this.#retry_ms = now_ms + RETRY_MS;
  }

  /** The runtime made a state current; if it is the certified one, storage may spread it. */
  adoptedState(state_hash: Hash, head: Certificate | null, out: Sink<RoundEffect>): void {
    if (this.#adopting === state_hash) this.#adopting = null;
    if (head?.result_hash !== state_hash) return;
    this.#adopted = state_hash;
    const plan = readMergePlan(head.proposal);
    if (!plan) return;
    const { round, job_id } = plan.value;
    const is_leader = this.#led === plan.hash;
    out.push({ type: "store_checkpoint", round, job_id, state_hash, is_leader });
  }
}
