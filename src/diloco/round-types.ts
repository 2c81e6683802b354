/** Events and effects of the round machine: the work that a round asks for, and its outcomes. */
import type { Hash, PublicKey } from "../core/types.ts";
import type {
  BroadcastEffect,
  EvidenceEffect,
  LogEffect,
  PersistEffect,
  SendEffect,
} from "../network/effects.ts";
import type { Contributor, JobOffer } from "./round-messages.ts";

/** Local training for one round, until H inner steps are done. */
export interface TrainTask {
  /** Names the task in `trained`, `train_failed` and `cancel_training`. */
  announce_hash: Hash;
  round: number;
  job_id: Hash;
  job_round: number;
  base_hash: Hash;
  inner_steps: number;
  data_seed: number;
  slice_index: number;
  slice_count: number;
  deadline_ms: number;
  /**
   * Trail of this node's last contribution to the job that was merged: what the optimizer's moments and
   * the residual go on from. Null: there is none.
   */
  previous_trail: Hash | null;
}

/** The outer step over the fetched pseudo-gradients, in the order given. */
export interface MergeTask {
  /** Names the task in `merged` and `merge_failed`. */
  merge_hash: Hash;
  round: number;
  job_id: Hash;
  job_round: number;
  base_hash: Hash;
  contributors: readonly Contributor[];
}

/** Outcome of a TrainTask: the encoded pseudo-gradient is durable, and is not served yet. */
export interface TrainedResult {
  announce_hash: Hash;
  /** SHA-256 of the encoded pseudo-gradient. */
  delta_hash: Hash;
  size_bytes: number;
  tokens: number;
  /** Mean held-out loss of the base and after local training; null without held-out data. */
  loss_before: number | null;
  loss_after: number | null;
  /** SHA-256 of the trail of the inner steps; null where there was no room for one. */
  trail_hash: Hash | null;
}

export type RoundEvent =
  /** A local user submits a job whose blobs this node holds and serves. */
  | { type: "job_started"; job: JobOffer }
  /** Blobs of the job are here and the initial state `base_hash` was computed and kept. */
  | { type: "job_prepared"; job_id: Hash; base_hash: Hash }
  | { type: "job_failed"; job_id: Hash; reason: string }
  | ({ type: "trained" } & TrainedResult)
  | { type: "train_failed"; announce_hash: Hash; reason: string }
  /** The blob is durable here and its SHA-256 was checked. */
  | { type: "blob_fetched"; hash: Hash }
  | { type: "blob_failed"; hash: Hash; reason: string }
  /** The merged state is durable under its hash, and is not adopted yet. */
  | { type: "merged"; merge_hash: Hash; state_hash: Hash }
  | { type: "merge_failed"; merge_hash: Hash; reason: string }
  /** The certified state is durable under its hash, and is not adopted yet. */
  | { type: "checkpoint_fetched"; state_hash: Hash }
  | { type: "checkpoint_failed"; state_hash: Hash; reason: string }
  /** The state is the node's current one, durably. */
  | { type: "adopted"; state_hash: Hash }
  /** An audit, confirmed by a second one, found what this member contributed wrong. */
  | { type: "contributor_wrong"; job_id: Hash; public_key: PublicKey };

/** Work outside the machine. Each `fetch`, `train`, `merge`, `adopt` is answered by one event. */
export type WorkEffect =
  /** Fetch the job's blobs (from `sources` first) and compute the initial state. */
  | { type: "prepare_job"; job: JobOffer; sources: readonly PublicKey[] }
  | { type: "train"; task: TrainTask }
  | { type: "cancel_training"; announce_hash: Hash }
  /**
   * From now on peers may fetch this blob from here; never before. Fetched blobs are served too.
   */
  | { type: "publish_blob"; hash: Hash }
  /** A blob that is here already is answered with `blob_fetched` at once. */
  | { type: "fetch_blob"; hash: Hash; size_bytes: number; sources: readonly PublicKey[] }
  /** No longer needed by any round that can still be merged. */
  | { type: "drop_blobs"; hashes: readonly Hash[] }
  | { type: "merge"; task: MergeTask }
  /** Make a state that is here (merged or fetched) the current one. */
  | { type: "adopt_state"; round: number; job_id: Hash; state_hash: Hash }
  /**
   * Fetch the whole state and check its hash; one that is here (merged before a crash) is found.
   */
  | {
      type: "fetch_checkpoint";
      round: number;
      job_id: Hash;
      state_hash: Hash;
      sources: readonly PublicKey[];
    }
  /** The certified state of `round` is current here; `is_leader`: this node led its merge. */
  | {
      type: "store_checkpoint";
      round: number;
      job_id: Hash;
      state_hash: Hash;
      is_leader: boolean;
    };

export type RoundEffect =
  | WorkEffect
  | SendEffect
  | BroadcastEffect
  | LogEffect
  | EvidenceEffect
  | PersistEffect<"election" | "jobs" | "contribution">;

/** What the node does now. */
export type Phase =
  | "idle"
  | "preparing"
  | "announcing"
  | "catching_up"
  | "training"
  | "committed"
  | "revealing"
  | "merging"
  | "following";
