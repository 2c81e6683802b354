/** The parts of a round machine and the readings that its steps, timers and status share. */
import type { Random } from "../core/random.ts";
import type { Tier } from "../core/tiers.ts";
import type { Hash, PublicKey } from "../core/types.ts";
import type { Election } from "../network/election.ts";
import type { Membership } from "../network/membership.ts";
import type { Signer, Verifier } from "../network/signer.ts";
import { BlobWants } from "./blob-wants.ts";
import { Collector } from "./collector.ts";
import { Contribution } from "./contribution.ts";
import { JobBook } from "./jobs.ts";
import { Merger } from "./merger.ts";
import { Promotion } from "./promotion.ts";
import {
  type Content,
  type Next,
  readAnnouncement,
  readCollection,
  readMergePlan,
} from "./round-contents.ts";
import type { Announcement, Collection, MergePlan } from "./round-messages.ts";

export interface RoundParams {
  signer: Signer;
  verifier: Verifier;
  random: Random;
  tier: Tier;
  grace_ms: number;
  view_timeout_ms: number;
  resend_ms: number;
}

export class RoundParts {
  readonly jobs = new JobBook();
  readonly blobs = new BlobWants();
  readonly contribution: Contribution;
  readonly collector: Collector;
  readonly merger: Merger;
  readonly promotion: Promotion;
  readonly self: PublicKey;
  /**
   * How long a contributor may take to reveal and serve: one that needs more stalls every round.
   */
  readonly serve_ms: number;
  /** Why the pending proposal is not acknowledged; empty if it is, or nothing is wrong. */
  refusal = "";
  /** Contributors that audits found wrong, by job: this node leaves them out where it leads. */
  readonly #left_out = new Map<Hash, Set<PublicKey>>();

  constructor(
    readonly params: RoundParams,
    readonly election: Election,
    readonly peers: Membership,
  ) {
    this.self = params.signer.public_key;
    this.serve_ms = params.grace_ms + params.view_timeout_ms;
    const patience = { grace_ms: params.grace_ms, serve_ms: this.serve_ms };
    this.contribution = new Contribution(params.signer, params.random);
    this.collector = new Collector(patience, params.verifier);
    this.merger = new Merger(this.blobs);
    this.promotion = new Promotion(this.merger, this.jobs);
  }

  /** For the rest of the job; the runtime says so again after a restart. */
  leaveOut(job_id: Hash, public_key: PublicKey): void {
    const keys = this.#left_out.get(job_id) ?? new Set();
    this.#left_out.set(job_id, keys.add(public_key));
  }

  isLeftOut(job_id: Hash, public_key: PublicKey): boolean {
    return this.#left_out.get(job_id)?.has(public_key) ?? false;
  }

  /** The certified announcement of this round; null before it. */
  get announced(): Content<Announcement> | null {
    const certificate = this.election.decided[0];
    return certificate ? readAnnouncement(certificate.proposal) : null;
  }

  /** The certified set of commitments of this round; null before it. */
  get collected(): Content<Collection> | null {
    const certificate = this.election.decided[1];
    return certificate ? readCollection(certificate.proposal) : null;
  }

  /** The last promoted round's merge plan; null before the first promotion. */
  get last(): Content<MergePlan> | null {
    return this.election.head ? readMergePlan(this.election.head.proposal) : null;
  }

  /** The job whose rounds are under way; null between jobs. A void round repeats its job round. */
  get running(): Next | null {
    const { head } = this.election;
    const last = this.last?.value;
    if (!head || !last) return null;
    const job_round = last.job_round + (last.contributors.length > 0 ? 1 : 0);
    if (job_round >= last.job_rounds) return null;
    return { job_id: last.job_id, job_round, base_hash: head.result_hash };
  }

  /** The round to announce next: the running job's, else the first of a waiting job. */
  get next(): Next | null {
    const offer = this.jobs.first()?.offer;
    const first = offer && { job_id: offer.job_id, job_round: 0, base_hash: offer.base_hash };
    return this.running ?? first ?? null;
  }

  /** Members that may have a contributor's bytes: itself, the leader, then everyone reachable. */
  sources(first: readonly PublicKey[]): PublicKey[] {
    const { members } = this.election.ballots;
    const reachable = members.filter((key) => this.peers.reachable(key));
    const all = new Set([...first, this.election.leader, ...reachable]);
    all.delete(this.self);
    return [...all];
  }

  /** Reachable members that have adopted the state, before those that at least certified it. */
  holders(state_hash: Hash): PublicKey[] {
    const adopted = this.election.ballots.members.filter((key) => {
      const peer = this.peers.peers.get(key);
      return peer?.connected && peer.status?.state_hash === state_hash;
    });
    const certified = this.election.head?.acks.map((ack) => ack.public_key) ?? [];
    return [...new Set([...adopted, ...certified])].filter((key) => key !== this.self);
  }
}
