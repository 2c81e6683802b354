/**
 * What happened in the last rounds, as this node saw it: for `magnet node status`, the demo's table
 * and, later, the dashboard. Read off the machine after each step; it decides nothing.
 */
import type { Hash, PublicKey } from "../core/types.ts";
import { leaderOf } from "../network/ballot.ts";
import type { NodeMachine } from "./node.ts";

/** Rounds remembered; older ones are in the log. */
const ROUNDS_MAX = 1000;
/** Announcements remembered until their round is promoted. */
const OPEN_MAX = 8;

export interface WorkerLoss {
  public_key: PublicKey;
  /** Mean held-out loss before and after local training, as the worker committed it. */
  loss_before: number | null;
  loss_after: number | null;
}

export interface RoundRecord {
  round: number;
  job_id: Hash;
  /** Round within the job, from 0. */
  job_round: number;
  /**
   * Who led the merge, and in which view (0: the paper's formula; more: dead leaders passed over).
   */
  leader: PublicKey;
  view: number;
  contributors: PublicKey[];
  workers: WorkerLoss[];
  state_hash: Hash;
  /** Held-out loss of the merged state; null until this node has evaluated it. */
  loss_merged: number | null;
  bits_per_byte: number | null;
  took_ms: number;
}

export class RoundHistory {
  readonly #records: RoundRecord[] = [];
  /**
   * Rounds under way by announcement: a slow node adopts one while the next is announced already.
   */
  readonly #open = new Map<string, { since_ms: number; workers: WorkerLoss[] }>();

  get records(): readonly RoundRecord[] {
    return this.#records;
  }

  /** Looks at the machine after a step: commitments are gone once the round is promoted. */
  observe(node: NodeMachine, now_ms: number): void {
    const { announced, collected } = node.round.parts;
    if (!announced) return;
    let open = this.#open.get(announced.hash);
    if (!open) {
      open = { since_ms: now_ms, workers: [] };
      this.#open.set(announced.hash, open);
      if (this.#open.size > OPEN_MAX) this.#open.delete([...this.#open.keys()][0]!);
    }
    if (collected && open.workers.length === 0)
      open.workers = collected.value.commits.map(({ public_key, loss_before, loss_after }) => ({
        public_key: public_key as PublicKey,
        loss_before,
        loss_after,
      }));
  }

  /** The certified state of the last promoted round is current here. */
  promoted(node: NodeMachine, now_ms: number): RoundRecord | undefined {
    const { head } = node.election;
    const plan = node.round.parts.last?.value;
    if (!head || !plan || this.#records.at(-1)?.round === plan.round) return undefined;
    const open = this.#open.get(plan.announce_hash);
    const record: RoundRecord = {
      round: plan.round,
      job_id: plan.job_id as Hash,
      job_round: plan.job_round,
      leader: leaderOf(node.election.ballots.members, plan.round, head.proposal.view),
      view: head.proposal.view,
      contributors: plan.contributors.map(({ public_key }) => public_key as PublicKey),
      workers: open?.workers ?? [],
      state_hash: head.result_hash as Hash,
      loss_merged: null,
      bits_per_byte: null,
      took_ms: open ? now_ms - open.since_ms : 0,
    };
    this.#records.push(record);
    if (this.#records.length > ROUNDS_MAX) this.#records.shift();
    return record;
  }
}
