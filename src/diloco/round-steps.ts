/**
 * What a node does in each step of a round, as leader and as member. Level-triggered: each call
 * looks at what is certified and what is here, and asks for what is missing; so a restart, a late
 * joiner and a new leader need no path of their own.
 */
import { canonicalJson } from "../core/bytes.ts";
import { trains } from "../core/tiers.ts";
import type { Hash, PublicKey } from "../core/types.ts";
import type { Sink } from "../network/effects.ts";
import type { Proposal } from "../network/election-messages.ts";
import { announcement, type Content, readMergePlan } from "./round-contents.ts";
import { judge } from "./round-judge.ts";
import type { Announcement, Collection, MergePlan } from "./round-messages.ts";
import type { RoundParts } from "./round-parts.ts";
import type { RoundEffect } from "./round-types.ts";

export class RoundSteps {
  readonly #parts: RoundParts;
  #refused: Proposal | null = null;
  #said = { key: "", at_ms: 0 };
  #asked_ms = Number.NEGATIVE_INFINITY;
  /** Pseudo-gradients of the present round and of the one before, which peers may still fetch. */
  #blobs = { round: -1, now: [] as Hash[], before: [] as Hash[] };

  constructor(parts: RoundParts) {
    this.#parts = parts;
  }

  /** Takes every step that is possible now. */
  advance(now_ms: number, out: Sink<RoundEffect>): void {
    // One decision may allow the next at once (a roster of one): at most the three steps of a
    // round.
    for (let i = 0; i < 4; i++) {
      const { round, step } = this.#parts.election;
      this.#advanceOnce(now_ms, out);
      const { election } = this.#parts;
      if (election.round === round && election.step === step) return;
    }
  }

  /** Sends the known jobs to one peer, or to all. */
  tellJobs(to: PublicKey | null, out: Sink<RoundEffect>): void {
    const message = this.#parts.jobs.message();
    if (message) out.push(to ? { type: "send", to, message } : { type: "broadcast", message });
  }

  /** Asks one peer for the jobs that it knows, at a limited rate. */
  askJobs(to: PublicKey, now_ms: number, out: Sink<RoundEffect>): void {
    if (now_ms - this.#asked_ms < this.#parts.params.resend_ms) return;
    this.#asked_ms = now_ms;
    out.push({ type: "send", to, message: { type: "round.jobs_request", body: {} } });
  }

  #advanceOnce(now_ms: number, out: Sink<RoundEffect>): void {
    const { election, promotion, jobs } = this.#parts;
    this.#endRound(out);
    jobs.advance(() => this.#parts.sources([]), now_ms, out);
    const last = this.#parts.last;
    if (election.head && last) {
      // Work on a certified merge goes on here where it can: cheaper than fetching the whole state.
      if (this.#parts.merger.isWorkingOn(last.hash)) this.#workOn(last, now_ms, out);
      promotion.advance(election.head, (hash) => this.#parts.holders(hash), now_ms, out);
    }
    if (election.step === "announce") this.#announce(now_ms, out);
    else if (election.step === "collect") this.#collect(now_ms, out);
    else this.#merge(now_ms, out);
    this.#answer(now_ms, out);
  }

  /** Once per promotion: ends what belonged to the round, and the job with its last round. */
  #endRound(out: Sink<RoundEffect>): void {
    const { election, contribution, blobs, jobs, last, running } = this.#parts;
    if (this.#blobs.round === election.round) return;
    contribution.stop(out);
    if (last) contribution.promoted(last, out);
    const now = last ? last.value.contributors.map((entry) => entry.delta_hash) : [];
    const own = contribution.deltaHash;
    blobs.drop(
      this.#blobs.before.filter((hash) => !now.includes(hash) && hash !== own),
      out,
    );
    this.#blobs = { round: election.round, now, before: this.#blobs.now };
    if (last && !running) jobs.finish(last.value.job_id, last.value.round, out);
  }

  #announce(now_ms: number, out: Sink<RoundEffect>): void {
    const { election, jobs, running, next } = this.#parts;
    if (!election.mayPropose || !next) return;
    const job = jobs.get(next.job_id);
    if (!job) this.#askSomeone(now_ms, out);
    if (!job || (job.state !== "ready" && !running)) return;
    const { members } = election.ballots;
    const able = members.filter(
      (key) => this.#trains(key) && !this.#parts.isLeftOut(next.job_id, key),
    );
    const content = announcement(election.round, next, job.offer, able.length > 0 ? able : members);
    election.propose(canonicalJson(content), now_ms, out);
  }

  /** A member gets a slice unless it is known to be dead or of a tier that does not train. */
  #trains(key: PublicKey): boolean {
    const { self, params, peers } = this.#parts;
    if (key === self) return trains(params.tier);
    const tier = peers.peers.get(key)?.tier ?? null;
    return !peers.dead(key) && (tier === null || trains(tier));
  }

  #collect(now_ms: number, out: Sink<RoundEffect>): void {
    const { election, collector, contribution, peers, announced } = this.#parts;
    if (!announced) return;
    collector.open(announced);
    this.#train(announced, now_ms, out);
    const commit = contribution.commit(announced.hash);
    if (commit && election.isLeader) collector.addCommit(commit, now_ms);
    else if (commit) this.#say({ type: "round.commit", body: commit }, now_ms, out);
    const reason = contribution.failure(announced.hash);
    const { hash: announce_hash } = announced;
    if (reason !== null && election.isLeader)
      collector.addAbstention(this.#parts.self, announce_hash);
    else if (reason !== null)
      this.#say({ type: "round.abstain", body: { announce_hash, reason } }, now_ms, out);
    if (election.mayPropose) {
      const { job_id, round } = announced.value;
      const isWrong = (key: PublicKey) => this.#parts.isLeftOut(job_id, key);
      const isGone = (key: PublicKey) => peers.dead(key) || isWrong(key);
      const commits = collector.collection(this.#since(), { isGone, isWrong }, now_ms);
      if (commits) election.propose(canonicalJson({ round, announce_hash, commits }), now_ms, out);
    }
  }

  #train(announced: Content<Announcement>, now_ms: number, out: Sink<RoundEffect>): void {
    const { jobs, promotion, contribution, params, election } = this.#parts;
    const { job_id, base_hash } = announced.value;
    const job = jobs.get(job_id);
    // A job that cannot be prepared here may have been offered wrongly: the leader has it right.
    if (!job || job.state === "failed") this.askJobs(election.leader, now_ms, out);
    else if (job.state === "ready" && trains(params.tier) && promotion.has(base_hash))
      contribution.train(announced, now_ms, out);
  }

  #merge(now_ms: number, out: Sink<RoundEffect>): void {
    const { election, contribution, collector, blobs, announced, collected } = this.#parts;
    if (!announced || !collected) return;
    collector.open(announced);
    contribution.stop(out);
    this.#reveal(announced, collected, now_ms, out);
    if (election.isLeader) {
      for (const { public_key, reveal } of collector.revealed)
        blobs.want(reveal, () => this.#parts.sources([public_key]), now_ms, out);
      if (election.mayPropose) this.#proposeMerge(announced, collected, now_ms, out);
    }
  }

  #reveal(
    announced: Content<Announcement>,
    collected: Content<Collection>,
    now_ms: number,
    out: Sink<RoundEffect>,
  ): void {
    const { self, election, contribution, collector, blobs } = this.#parts;
    const mine = collected.value.commits.find((commit) => commit.public_key === self);
    // Only a commitment that is in the certified set may be opened.
    const own = contribution.commit(announced.hash);
    if (!own || mine?.commitment !== own.commitment) return;
    const reveal = contribution.reveal(announced.hash, out);
    blobs.arrived(reveal.delta_hash);
    if (election.isLeader) collector.addReveal(self, reveal, collected);
    else if (!election.pending) this.#say({ type: "round.reveal", body: reveal }, now_ms, out);
  }

  #proposeMerge(
    announced: Content<Announcement>,
    collected: Content<Collection>,
    now_ms: number,
    out: Sink<RoundEffect>,
  ): void {
    const { election, collector, blobs, jobs, promotion } = this.#parts;
    const { round, job_id, job_round, base_hash } = announced.value;
    const job = jobs.get(job_id);
    const contributors = collector.contributors(collected, blobs, this.#since(), now_ms);
    if (!job || !contributors) return;
    const position = { round, job_id, job_round, job_rounds: job.offer.rounds };
    const parents = { announce_hash: announced.hash, collect_hash: collected.hash, base_hash };
    const content = canonicalJson({ ...position, ...parents, contributors });
    election.propose(content, now_ms, out);
    const plan = election.pending && readMergePlan(election.pending);
    if (plan) promotion.led(plan.hash);
  }

  /** Recomputes a merge if the state that it starts from is here. */
  #workOn(plan: Content<MergePlan>, now_ms: number, out: Sink<RoundEffect>): void {
    const { merger, promotion } = this.#parts;
    if (!promotion.has(plan.value.base_hash)) return;
    merger.work(plan, (contributor) => this.#parts.sources([contributor]), now_ms, out);
  }

  #since(): { step_ms: number; view_ms: number } {
    const { step_since_ms, view_since_ms } = this.#parts.election;
    return { step_ms: step_since_ms, view_ms: view_since_ms };
  }

  /** Says something to the leader, again after a while, and at once to a new leader. */
  #say(message: { type: string; body: unknown }, now_ms: number, out: Sink<RoundEffect>): void {
    const { election, params } = this.#parts;
    const key = `${election.leader}/${election.round}/${election.view}/${message.type}`;
    if (key === this.#said.key && now_ms - this.#said.at_ms < params.resend_ms) return;
    this.#said = { key, at_ms: now_ms };
    out.push({ type: "send", to: election.leader, message });
  }

  #askSomeone(now_ms: number, out: Sink<RoundEffect>): void {
    const { election, peers, self } = this.#parts;
    const others = election.ballots.members.filter((key) => key !== self && peers.reachable(key));
    // Another one each time, without a source of randomness.
    const to = others[Math.floor(now_ms / this.#parts.params.resend_ms) % others.length];
    if (to) this.askJobs(to, now_ms, out);
  }

  /** Acknowledges the leader's proposal, refuses it, or fetches what the verdict lacks. */
  #answer(now_ms: number, out: Sink<RoundEffect>): void {
    const { election } = this.#parts;
    const { pending } = election;
    if (!pending || pending === this.#refused) return;
    if (election.acknowledged) {
      this.#keepServing(pending, now_ms, out);
      return;
    }
    this.#parts.refusal = "";
    let verdict = judge(this.#parts, pending);
    const plan = pending.step === "merge" ? readMergePlan(pending) : null;
    if (plan && "missing" in verdict && verdict.missing === "merge") {
      this.#workOn(plan, now_ms, out);
      // A void round needs no work: its result is there at once.
      verdict = judge(this.#parts, pending);
    }
    if ("result" in verdict) election.acknowledge(verdict.result, now_ms, out);
    else if ("refuse" in verdict) this.#refuse(pending, verdict.refuse, now_ms, out);
    else if (verdict.missing === "job") this.askJobs(election.leader, now_ms, out);
  }

  /**
   * Whoever acknowledged a merge is a source of its bytes: after a restart they must be served
   * again, or a merge set that is locked could not be recomputed once its contributors are gone.
   */
  #keepServing(pending: Proposal, now_ms: number, out: Sink<RoundEffect>): void {
    const plan = pending.step === "merge" ? readMergePlan(pending) : null;
    const { blobs } = this.#parts;
    for (const entry of plan?.value.contributors ?? [])
      blobs.want(entry, () => this.#parts.sources([entry.public_key]), now_ms, out);
  }

  #refuse(pending: Proposal, reason: string, now_ms: number, out: Sink<RoundEffect>): void {
    this.#refused = pending;
    this.#parts.refusal = reason;
    const { round, view, step, leader } = this.#parts.election;
    // The leader may just be behind, or this node was offered the job wrongly.
    this.tellJobs(leader, out);
    this.askJobs(leader, now_ms, out);
    const fields = { round, view, step, leader, reason };
    out.push({ type: "log", level: "warn", event: "proposal_refused", fields });
  }
}
