/**
 * The leader's collection of commitments and reveals. Every node keeps what it is sent, since any
 * may lead the next view. "needed" of paper 10.3: all members that are not dead, else a quorum of
 * the slices and a grace window, else whoever committed by the deadline; one straggler never stalls
 * a round.
 */
import type { PublicKey } from "../core/types.ts";
import { quorumOf } from "../network/ballot.ts";
import type { Verifier } from "../network/signer.ts";
import type { BlobWants } from "./blob-wants.ts";
import { type Content, checkCommit, commitmentOf } from "./round-contents.ts";
import type { Announcement, Collection, Commit, Contributor, Reveal } from "./round-messages.ts";

/** Limits of waiting, from the network file. */
export interface Patience {
  /** After a quorum of commitments, how long the others are waited for. */
  grace_ms: number;
  /** How long a contributor may take to open its commitment and serve its bytes. */
  serve_ms: number;
}

export class Collector {
  readonly #patience: Patience;
  readonly #verifier: Verifier;
  #announced: Content<Announcement> | null = null;
  readonly #commits = new Map<PublicKey, Commit>();
  readonly #abstained = new Set<PublicKey>();
  readonly #reveals = new Map<PublicKey, Reveal>();
  #quorum_ms = Number.POSITIVE_INFINITY;

  constructor(patience: Patience, verifier: Verifier) {
    this.#patience = patience;
    this.#verifier = verifier;
  }

  /** Begins to collect for this announcement; a no-op while it is the current one. */
  open(announced: Content<Announcement>): void {
    if (this.#announced?.hash === announced.hash) return;
    this.#announced = announced;
    this.#commits.clear();
    this.#abstained.clear();
    this.#reveals.clear();
    this.#quorum_ms = Number.POSITIVE_INFINITY;
  }

  get committed(): number {
    return this.#commits.size;
  }

  /** Takes a commitment; a second one of the same member is ignored. */
  addCommit(commit: Commit, now_ms: number): void {
    const announced = this.#announced;
    if (commit.announce_hash !== announced?.hash) return;
    if (this.#commits.has(commit.public_key)) return;
    if (!announced.value.slices.includes(commit.public_key)) return;
    if (!checkCommit(this.#verifier, commit)) return;
    this.#commits.set(commit.public_key, commit);
    this.#abstained.delete(commit.public_key);
    if (this.#commits.size === quorumOf(announced.value.slices.length)) this.#quorum_ms = now_ms;
  }

  addAbstention(from: PublicKey, announce_hash: string): void {
    const announced = this.#announced;
    if (announce_hash === announced?.hash && announced.value.slices.includes(from))
      this.#abstained.add(from);
  }

  /** Takes a reveal that opens the member's collected commitment. */
  addReveal(from: PublicKey, reveal: Reveal, collected: Content<Collection>): void {
    const { round, announce_hash, commits } = collected.value;
    if (reveal.announce_hash !== announce_hash || this.#reveals.has(from)) return;
    const commit = commits.find((entry) => entry.public_key === from);
    const commitment = commitmentOf(round, from, reveal.delta_hash, reveal.salt);
    if (commit?.commitment === commitment) this.#reveals.set(from, reveal);
  }

  /**
   * The commitments to propose now; null while it is right to wait. Those of wrong contributors are left
   * out, unless nobody else has committed: then the round would stand still.
   */
  collection(
    since: { step_ms: number; view_ms: number },
    { isGone, isWrong }: Record<"isGone" | "isWrong", (key: PublicKey) => boolean>,
    now_ms: number,
  ): Commit[] | null {
    if (!this.#announced || this.#commits.size === 0) return null;
    const { slices, deadline_ms } = this.#announced.value;
    const { grace_ms } = this.#patience;
    const missing = slices.some(
      (key) => !this.#commits.has(key) && !this.#abstained.has(key) && !isGone(key),
    );
    const quorum_at = Math.max(this.#quorum_ms, since.view_ms) + grace_ms;
    // A new leader first gives everyone the time to send the commitment again.
    const deadline_at = Math.max(since.step_ms + deadline_ms, since.view_ms + grace_ms);
    if (missing && now_ms < quorum_at && now_ms < deadline_at) return null;
    const all = [...this.#commits.values()].sort((a, b) => (a.public_key < b.public_key ? -1 : 1));
    const right = all.filter(({ public_key }) => !isWrong(public_key));
    return right.length > 0 ? right : all;
  }

  /** Reveals whose bytes the leader should have before it proposes the merge. */
  get revealed(): { public_key: PublicKey; reveal: Reveal }[] {
    return [...this.#reveals].map(([public_key, reveal]) => ({ public_key, reveal }));
  }

  /**
   * The merge set to propose now; null while it is right to wait. Whoever has not opened its
   * commitment and served its bytes in time is left out; if that is everyone, the round is void.
   */
  contributors(
    collected: Content<Collection>,
    blobs: BlobWants,
    since: { step_ms: number; view_ms: number },
    now_ms: number,
  ): Contributor[] | null {
    const served: Contributor[] = [];
    for (const { public_key, tokens } of collected.value.commits) {
      const reveal = this.#reveals.get(public_key);
      if (!reveal || !blobs.has(reveal.delta_hash)) continue;
      const { delta_hash, salt, size_bytes } = reveal;
      served.push({ public_key, delta_hash, salt, size_bytes, weight: tokens });
    }
    const all = served.length === collected.value.commits.length;
    const deadline_at = Math.max(since.step_ms, since.view_ms) + this.#patience.serve_ms;
    return all || now_ms >= deadline_at ? served : null;
  }
}
