/**
 * What a node is doing and what it waits for, in words: read from the machines, never kept apart.
 */
import type { RoundMachine } from "../diloco/round.ts";
import type { Phase } from "../diloco/round-types.ts";
import type { NodeView } from "./node-types.ts";

type Parts = RoundMachine["parts"];
interface Situation {
  phase: Phase;
  reason: string;
  hint: string;
}

const PATIENCE = "nothing to do: the network goes on by itself";

/** The node's view for `magnet node status`. */
export function describeNode(parts: Parts): NodeView {
  const { election, peers, jobs, running, last, promotion, announced, self } = parts;
  const { head } = election;
  const job_id = announced?.value.job_id ?? running?.job_id;
  const job_round = announced?.value.job_round ?? running?.job_round ?? 0;
  const rounds = (job_id && jobs.get(job_id)?.offer.rounds) || last?.value.job_rounds || 0;
  return {
    ...situation(parts),
    round: election.round,
    view: election.view,
    leader: election.leader,
    is_leader: election.isLeader,
    in_roster: election.ballots.isMember(self),
    alive: peers.reachableMembers(),
    quorum: election.ballots.quorum,
    job: job_id ? { job_id, job_round, rounds } : null,
    jobs_waiting: jobs.size - (job_id && jobs.get(job_id) ? 1 : 0),
    promoted:
      head && last
        ? { round: last.value.round, job_id: last.value.job_id, state_hash: head.result_hash }
        : null,
    state_hash: promotion.adopted,
  };
}

/** The phase alone: cheap enough for every heartbeat. */
export const phaseOf = (parts: Parts): Phase => situation(parts).phase;

function situation(parts: Parts): Situation {
  const { election, peers, jobs, running } = parts;
  const first = jobs.first();
  const behind = catchingUp(parts);
  if (behind) return behind;
  if (election.step === "announce" && !running && !first)
    return { phase: "idle", reason: "no job", hint: "submit one: magnet job submit" };
  const inner = election.step === "announce" && !running ? starting(parts) : working(parts);
  const alive = peers.reachableMembers();
  const { quorum, members } = election.ballots;
  if (alive < quorum) {
    const reason = `${alive} of ${members.length} members are reachable, ${quorum} are needed`;
    return { phase: inner.phase, reason, hint: "start or reconnect members: magnet peers list" };
  }
  if (election.changingView) {
    const reason = `no decision in view ${election.view}: waiting for others to give up on it too`;
    return { phase: inner.phase, reason, hint: PATIENCE };
  }
  return inner;
}

/** The certified state is not current here yet. */
function catchingUp({ election, promotion }: Parts): Situation | null {
  const { head } = election;
  if (!head || promotion.adopted === head.result_hash) return null;
  const why = promotion.failure ? `: ${promotion.failure}` : "";
  const reason = `adopting the certified state of round ${election.round - 1}${why}`;
  return { phase: "catching_up", reason, hint: PATIENCE };
}

function starting({ jobs, election, refusal }: Parts): Situation {
  const first = jobs.first();
  if (first?.state === "failed")
    return { phase: "preparing", reason: first.reason, hint: "magnet node logs shows the cause" };
  if (first?.state !== "ready" && !election.pending)
    return { phase: "preparing", reason: "fetching the job's data", hint: PATIENCE };
  return announcing(election, refusal);
}

function announcing(election: Parts["election"], refusal: string): Situation {
  if (refusal !== "")
    return {
      phase: "announcing",
      reason: `the leader's proposal was refused: ${refusal}`,
      hint: "if it stays so: magnet peers why LEADER",
    };
  const reason = election.isLeader
    ? "waiting for a quorum to acknowledge the announcement"
    : "waiting for the leader's certified announcement";
  return { phase: "announcing", reason, hint: PATIENCE };
}

function working(parts: Parts): Situation {
  const { election, announced, contribution, refusal } = parts;
  const { step } = election;
  if (step === "announce" || !announced) return announcing(election, refusal);
  if (step === "collect") return collecting(parts, announced);
  const merging = election.pending !== null;
  if (merging && parts.merger.failure)
    return {
      phase: "merging",
      reason: `the merge failed here: ${parts.merger.failure}`,
      hint: "check memory and disk: magnet doctor",
    };
  const reason = merging
    ? "recomputing the merge, then waiting for a quorum with the same result"
    : "waiting for contributors to open their commitments";
  const phase = merging
    ? "merging"
    : contribution.commit(announced.hash)
      ? "revealing"
      : "following";
  return { phase, reason, hint: PATIENCE };
}

function collecting(parts: Parts, { hash, value }: NonNullable<Parts["announced"]>): Situation {
  const { contribution, collector, self, jobs } = parts;
  if (contribution.commit(hash)) {
    const reason = `waiting for the other ${value.slices.length - 1} members to finish training`;
    return { phase: "committed", reason, hint: PATIENCE };
  }
  if (contribution.isTraining(hash)) {
    const reason = `${value.inner_steps} inner steps on slice ${value.slices.indexOf(self)}`;
    return { phase: "training", reason, hint: PATIENCE };
  }
  const failure = contribution.failure(hash);
  if (failure !== null)
    return {
      phase: "following",
      reason: `local training failed: ${failure}`,
      hint: "it is tried again; magnet node logs shows the cause",
    };
  if (!value.slices.includes(self)) {
    const reason = `no slice in this round; ${collector.committed} commitments seen`;
    return { phase: "following", reason, hint: "the next round counts this node in" };
  }
  const entry = jobs.get(value.job_id);
  const reason = entry?.state === "failed" ? entry.reason : "fetching the job's data and state";
  return { phase: "preparing", reason, hint: PATIENCE };
}
