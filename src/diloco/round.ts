/**
 * The DiLoCo round (paper 10.3): announce, train, commit, collect, reveal, merge, promote, as a
 * state machine without I/O on top of the election, which certifies the three contents of each
 * round. Invariants: a set of commitments is certified before any of them is opened; what a member
 * acknowledges as merged it has computed itself; the promoted state never goes back.
 */
import type { Hash, PublicKey } from "../core/types.ts";
import { AnswerPace } from "../network/answer-pace.ts";
import type { Sink } from "../network/effects.ts";
import type { Election, ElectionContext } from "../network/election.ts";
import type { Membership } from "../network/membership.ts";
import type { ReceivedMessage } from "../network/protocol.ts";
import type { Commit, FinishedJob, JobOffer, Reveal } from "./round-messages.ts";
import { type RoundParams, RoundParts } from "./round-parts.ts";
import { RoundSteps } from "./round-steps.ts";
import type { RoundEffect, RoundEvent, TrainedResult } from "./round-types.ts";

export class RoundMachine {
  readonly parts: RoundParts;
  readonly #steps: RoundSteps;
  readonly #pace: AnswerPace;

  constructor(params: RoundParams, election: Election, peers: Membership) {
    this.#pace = new AnswerPace(params.resend_ms / 2);
    this.parts = new RoundParts(params, election, peers);
    this.#steps = new RoundSteps(this.parts);
  }

  /** Reads the durable state back; `states` are the hashes of whole states on this disk. */
  start(persisted: Record<string, unknown>, states: readonly Hash[]): void {
    this.parts.jobs.start(persisted.jobs);
    this.parts.contribution.start(persisted.contribution);
    for (const state_hash of states) this.parts.promotion.add(state_hash);
  }

  /** What the election's timers must know. */
  context(): ElectionContext {
    const { election, peers, announced, params, serve_ms } = this.parts;
    const { step, leader, ballots } = election;
    let allowance_ms = 0;
    if (step === "collect" && announced)
      allowance_ms = announced.value.deadline_ms + params.grace_ms;
    if (step === "merge") allowance_ms = serve_ms;
    return {
      active: step !== "announce" || this.#hasWork(),
      quorum_alive: peers.reachableMembers() >= ballots.quorum,
      allowance_ms,
      leader_lost_ms: peers.lostSince(leader),
    };
  }

  /** Between jobs a node is impatient only once it could start the next itself. */
  #hasWork(): boolean {
    const { running, jobs } = this.parts;
    return running !== null || jobs.first()?.state === "ready";
  }

  /** One outcome of work outside. Call `advance` afterwards. */
  event(event: RoundEvent, now_ms: number, out: Sink<RoundEffect>): void {
    const { jobs, blobs, merger, promotion, election } = this.parts;
    switch (event.type) {
      case "job_started":
        this.#jobStarted(event.job, out);
        break;
      case "job_prepared":
        jobs.prepared(event.job_id, event.base_hash);
        break;
      case "job_failed":
        jobs.failed(event.job_id, event.reason, now_ms);
        break;
      case "trained":
        this.#trained(event, out);
        break;
      case "train_failed":
        this.#trainFailed(event.announce_hash, event.reason, now_ms, out);
        break;
      case "blob_fetched":
        blobs.arrived(event.hash);
        break;
      case "blob_failed":
        blobs.failed(event.hash, now_ms);
        break;
      case "merged":
        promotion.add(event.state_hash);
        merger.merged(event.merge_hash, event.state_hash);
        break;
      case "merge_failed":
        merger.failed(event.merge_hash, event.reason, now_ms);
        break;
      case "checkpoint_fetched":
        promotion.fetched(event.state_hash);
        break;
      case "checkpoint_failed":
        promotion.fetchFailed(event.state_hash, event.reason, now_ms);
        break;
      case "adopted":
        promotion.adoptedState(event.state_hash, election.head, out);
        break;
      case "contributor_wrong":
        this.parts.leaveOut(event.job_id, event.public_key);
        break;
    }
  }

  /** One message of this room. Call `advance` afterwards. */
  message({ from, type, body }: ReceivedMessage, now_ms: number, out: Sink<RoundEffect>): void {
    const { jobs, collector, collected, election } = this.parts;
    if (type === "round.jobs_request") {
      if (this.#pace.mayAnswer(from, now_ms)) this.#steps.tellJobs(from, out);
      return;
    }
    // A stranger may ask, but neither start nor end a job, nor contribute.
    if (!election.ballots.isMember(from)) return;
    if (type === "round.jobs") {
      const known = body as { jobs: JobOffer[]; finished: FinishedJob[] };
      for (const { job_id, round } of known.finished)
        if (jobs.get(job_id) && round < election.round) jobs.finish(job_id, round, out);
      for (const job of known.jobs) jobs.add(job, out);
      // A node that slept through a job's last round would start it again for ever.
      if (known.jobs.some((job) => jobs.isFinished(job.job_id))) this.#steps.tellJobs(from, out);
    } else if (type === "round.commit") {
      if ((body as Commit).public_key === from) collector.addCommit(body as Commit, now_ms);
    } else if (type === "round.abstain")
      collector.addAbstention(from, (body as { announce_hash: string }).announce_hash);
    else if (type === "round.reveal" && collected)
      collector.addReveal(from, body as Reveal, collected);
  }

  /** A peer connected: it learns the jobs, and a stale one learns which have ended. */
  peerUp(peer: PublicKey, out: Sink<RoundEffect>): void {
    this.#steps.tellJobs(peer, out);
  }

  /** A peer's heartbeat told how many jobs it knows. */
  peerKnowsJobs(peer: PublicKey, jobs: number, now_ms: number, out: Sink<RoundEffect>): void {
    if (jobs > this.parts.jobs.size) this.#steps.askJobs(peer, now_ms, out);
  }

  /** Takes every step that is possible now. */
  advance(now_ms: number, out: Sink<RoundEffect>): void {
    this.#steps.advance(now_ms, out);
  }

  #jobStarted(job: JobOffer, out: Sink<RoundEffect>): void {
    const { jobs } = this.parts;
    const added = jobs.add(job, out, true);
    if (added) this.#steps.tellJobs(null, out);
    const { job_id } = job;
    const reason = jobs.get(job_id) ? "it is known" : "it has ended, or too many wait";
    const fields = added ? { job_id } : { job_id, reason };
    const event = added ? "job_accepted" : "job_refused";
    out.push({ type: "log", level: added ? "info" : "warn", event, fields });
  }

  #trained(result: TrainedResult, out: Sink<RoundEffect>): void {
    const { contribution, blobs, election } = this.parts;
    const { round } = election;
    if (!contribution.trained(result, round, out)) {
      blobs.drop([result.delta_hash], out);
      return;
    }
    blobs.arrived(result.delta_hash);
    const { loss_before, loss_after, tokens } = result;
    const fields = { round, tokens, loss_before, loss_after };
    out.push({ type: "log", level: "info", event: "trained", fields });
  }

  #trainFailed(announce_hash: Hash, reason: string, now_ms: number, out: Sink<RoundEffect>): void {
    if (!this.parts.contribution.trainFailed(announce_hash, reason, now_ms)) return;
    const fields = { round: this.parts.election.round, reason };
    out.push({ type: "log", level: "warn", event: "train_failed", fields });
  }
}
