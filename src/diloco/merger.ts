/**
 * Recomputes a proposed merge: fetches every pseudo-gradient by hash, runs the outer step, and
 * yields the hash of the merged state, which is what the node acknowledges. The merge is verified
 * by every member, not trusted (paper 10.3 step 6). One merge is worked on at a time.
 */
import type { Hash, PublicKey } from "../core/types.ts";
import type { Sink } from "../network/effects.ts";
import type { BlobWants } from "./blob-wants.ts";
import type { Content } from "./round-contents.ts";
import type { MergePlan } from "./round-messages.ts";
import type { RoundEffect } from "./round-types.ts";

/** A merge that failed here (no memory, a full disk) is tried again after so long. */
const RETRY_MS = 5000;

export class Merger {
  readonly #blobs: BlobWants;
  #plan: Content<MergePlan> | null = null;
  #running: Hash | null = null;
  #result: Hash | null = null;
  #failure: { reason: string; retry_ms: number } | null = null;

  constructor(blobs: BlobWants) {
    this.#blobs = blobs;
  }

  /** Why the last attempt failed; null if none did. */
  get failure(): string | null {
    return this.#failure?.reason ?? null;
  }

  /** The hash of the merged state once it is known; a void round keeps its base. */
  result(merge_hash: Hash): Hash | null {
    return this.#plan?.hash === merge_hash ? this.#result : null;
  }

  /** True while this merge may still succeed here without help. */
  isWorkingOn(merge_hash: Hash): boolean {
    if (this.#plan?.hash !== merge_hash || this.#result !== null || this.#failure) return false;
    return !this.#plan.value.contributors.some((entry) => this.#blobs.isStuck(entry.delta_hash));
  }

  /** Takes the next step of the merge. `sources`: who may have a contributor's bytes. */
  work(
    plan: Content<MergePlan>,
    sources: (contributor: PublicKey) => readonly PublicKey[],
    now_ms: number,
    out: Sink<RoundEffect>,
  ): void {
    if (this.#plan?.hash !== plan.hash) {
      this.#plan = plan;
      this.#running = this.#result = this.#failure = null;
    }
    if (this.#result !== null || this.#running !== null) return;
    if (this.#failure && now_ms < this.#failure.retry_ms) return;
    const { contributors, ...rest } = plan.value;
    if (contributors.length === 0) {
      this.#result = plan.value.base_hash;
      return;
    }
    for (const entry of contributors)
      this.#blobs.want(entry, () => sources(entry.public_key), now_ms, out);
    if (!contributors.every((entry) => this.#blobs.has(entry.delta_hash))) return;
    this.#failure = null;
    this.#running = plan.hash;
    const { round, job_id, job_round, base_hash } = rest;
    const task = { round, job_id, job_round, base_hash, contributors };
    out.push({ type: "merge", task: { merge_hash: plan.hash, ...task } });
  }

  merged(merge_hash: Hash, state_hash: Hash): void {
    if (this.#running !== merge_hash) return;
    this.#running = null;
    this.#result = state_hash;
  }

  failed(merge_hash: Hash, reason: string, now_ms: number): void {
    if (this.#running !== merge_hash) return;
    this.#running = null;
    this.#failure = { reason, retry_ms: now_ms + RETRY_MS };
  }
}
