/**
 * A member's verdict on the leader's pending proposal: what to acknowledge it with, why to refuse
 * it, or that something is still missing here.
 */
import type { Hash, PublicKey } from "../core/types.ts";
import type { Proposal } from "../network/election-messages.ts";
import {
  readAnnouncement,
  readCollection,
  readMergePlan,
  refuseAnnouncement,
  refuseCollection,
  refuseMergePlan,
} from "./round-contents.ts";
import type { RoundParts } from "./round-parts.ts";

/** `missing: "job"`: the job of the announcement is not known here; `"merge"`: not computed yet. */
export type Verdict = { result: Hash } | { refuse: string } | { missing: "job" | "merge" };

/** Judges the pending proposal against what is certified and known here. */
export function judge(parts: RoundParts, pending: Proposal): Verdict {
  if (pending.step === "announce") return judgeAnnouncement(parts, pending);
  return pending.step === "collect" ? judgeCollection(parts, pending) : judgeMerge(parts, pending);
}

/** Merge proposals found right once: the check hashes, and the merge takes many events. */
const sound = new WeakMap<RoundParts, Proposal>();

function judgeAnnouncement(parts: RoundParts, pending: Proposal): Verdict {
  const { jobs, running, election } = parts;
  const content = readAnnouncement(pending);
  if (!content) return { refuse: "it is not an announcement" };
  const { job_id } = content.value;
  if (jobs.isFinished(job_id)) return { refuse: "the job has ended" };
  const offer = jobs.get(job_id)?.offer;
  if (!offer) return { missing: "job" };
  const next = running ?? { job_id, job_round: 0, base_hash: offer.base_hash };
  const isMember = (key: PublicKey) => election.ballots.isMember(key);
  const reason = refuseAnnouncement(content.value, election.round, next, offer, isMember);
  return reason === null ? { result: content.hash } : { refuse: reason };
}

function judgeCollection({ announced, params }: RoundParts, pending: Proposal): Verdict {
  const content = readCollection(pending);
  if (!content || !announced) return { refuse: "it is not a collection" };
  const reason = refuseCollection(content.value, announced, params.verifier);
  return reason === null ? { result: content.hash } : { refuse: reason };
}

function judgeMerge(parts: RoundParts, pending: Proposal): Verdict {
  const { announced, collected, jobs, merger, election } = parts;
  const plan = readMergePlan(pending);
  if (!plan || !announced || !collected) return { refuse: "it is not a merge plan" };
  const offer = jobs.get(plan.value.job_id)?.offer;
  if (!offer) return { missing: "job" };
  if (sound.get(parts) !== pending) {
    const reason = refuseMergePlan(plan.value, announced, collected, offer.rounds);
    if (reason !== null) return { refuse: reason };
    sound.set(parts, pending);
  }
  const result = election.knownResult ?? merger.result(plan.hash);
  return result === null ? { missing: "merge" } : { result };
}
