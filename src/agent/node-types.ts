/**
 * What goes into the node's state machine and what comes out of it. The machine neither waits nor reads
 * or writes anything: the runtime turns sockets, timers and finished work into events and carries out
 * the effects of one step in order, making each `persist` durable before it begins the next effect.
 * After a crash everything that was under way is forgotten; `start` derives it again.
 */
import type { Random } from "../core/random.ts";
import type { Tier } from "../core/tiers.ts";
import type { Hash, PublicKey } from "../core/types.ts";
import type { Contributor, JobOffer } from "../diloco/round-messages.ts";
import type { Proposal } from "../network/election-messages.ts";
import type { Message } from "../network/protocol.ts";
import type { Signer, Verifier } from "../network/signer.ts";

/** Durations of the network file; equal on every node. */
export interface NodeTiming {
  heartbeat_ms: number;
  suspect_ms: number;
  dead_ms: number;
  view_timeout_ms: number;
  grace_ms: number;
}

/** Everything that the machine needs from outside. */
export interface NodeParams {
  signer: Signer;
  verifier: Verifier;
  /** Salts of commitments and jitter of redials. */
  random: Random;
  /** Roster generation 0; one vote each. */
  roster: readonly PublicKey[];
  /** Hash of the network configuration: part of everything that is signed. */
  roster_hash: Hash;
  tier: Tier;
  /** "host:port" that others can dial, or null. */
  address: string | null;
  bootstrap: readonly { address: string; public_key?: PublicKey | undefined }[];
  timing: NodeTiming;
}

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

export type NodeEvent =
  /** First event. `states`: hashes of the states that are whole on this disk. */
  | { type: "start"; persisted: Record<string, unknown>; states: readonly Hash[] }
  /** At least every half heartbeat. */
  | { type: "tick" }
  /** An authenticated connection stands; `dialed` is the address if this node opened it. */
  | { type: "peer_up"; public_key: PublicKey; tier: Tier; dialed: string | null }
  | { type: "peer_down"; public_key: PublicKey; reason: string }
  | { type: "dial_failed"; address: string; reason: string }
  /** Already checked against the schema of its type. */
  | { type: "message"; from: PublicKey; message: Message }
  /** A local user submits a job whose blobs this node holds and serves. */
  | { type: "job_started"; job: JobOffer }
  /** Blobs of the job are here and the initial state `base_hash` was computed and kept. */
  | { type: "job_prepared"; job_id: Hash; base_hash: Hash }
  | { type: "job_failed"; job_id: Hash; reason: string }
  /** The encoded pseudo-gradient is durable under `delta_hash`, and is not served yet. */
  | {
      type: "trained";
      announce_hash: Hash;
      delta_hash: Hash;
      size_bytes: number;
      tokens: number;
      loss_before: number | null;
      loss_after: number | null;
    }
  | { type: "train_failed"; announce_hash: Hash; reason: string }
  /** The blob is durable here and its SHA-256 was checked. */
  | { type: "blob_fetched"; hash: Hash }
  | { type: "blob_failed"; hash: Hash; reason: string }
  /** The merged state is durable under its hash, and is not adopted yet. */
  | { type: "merged"; merge_hash: Hash; state_hash: Hash }
  | { type: "merge_failed"; merge_hash: Hash; reason: string }
  | { type: "checkpoint_fetched"; state_hash: Hash }
  | { type: "checkpoint_failed"; state_hash: Hash; reason: string }
  /** The state is the node's current one, durably. */
  | { type: "adopted"; state_hash: Hash };

export type NodeEffect =
  /** Dropped without an error where no connection stands: the machine repeats what matters. */
  | { type: "send"; to: PublicKey; message: Message }
  /** To every connected peer. */
  | { type: "broadcast"; message: Message }
  /** Replaces the value under `key`, durably, before the next effect. JSON. */
  | { type: "persist"; key: PersistKey; value: unknown }
  | { type: "dial"; address: string; public_key: PublicKey | null }
  /** Fetch the job's blobs (from `sources` first) and compute the initial state. */
  | { type: "prepare_job"; job: JobOffer; sources: readonly PublicKey[] }
  | { type: "train"; task: TrainTask }
  | { type: "cancel_training"; announce_hash: Hash }
  /** From now on peers may fetch this blob from here; never before. */
  | { type: "publish_blob"; hash: Hash }
  /** A blob that is here already is answered with `blob_fetched` at once. */
  | { type: "fetch_blob"; hash: Hash; size_bytes: number; sources: readonly PublicKey[] }
  /** No longer needed by any round that can still be merged. */
  | { type: "drop_blobs"; hashes: readonly Hash[] }
  | { type: "merge"; task: MergeTask }
  /** Make a state that is here (merged or fetched) the current one. */
  | { type: "adopt_state"; round: number; job_id: Hash; state_hash: Hash }
  /** Fetch the whole state and check its hash. */
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
    }
  | { type: "evidence"; evidence: Evidence }
  | {
      type: "log";
      level: "debug" | "info" | "warn";
      event: string;
      fields: Record<string, string | number | boolean | null>;
    };

/** Keys of the durable state; each value replaces the one before. */
export type PersistKey = "election" | "jobs" | "contribution";

/** Proof of a fault that a third party can check. */
export interface Evidence {
  kind: "equivocation";
  public_key: PublicKey;
  /** Two proposals of one leader for one term with different contents. */
  first: Proposal;
  second: Proposal;
}

/** What the node does, and what it waits for. */
export type Phase =
  | "idle"
  | "announcing"
  | "preparing"
  | "catching_up"
  | "training"
  | "committed"
  | "revealed"
  | "merging"
  | "following";

/** For `magnet node status`: every waiting state has a reason and a hint. */
export interface NodeView {
  phase: Phase;
  round: number;
  view: number;
  leader: PublicKey;
  is_leader: boolean;
  in_roster: boolean;
  /** Members heard of lately, this node included, of `quorum` needed. */
  alive: number;
  quorum: number;
  job: { job_id: Hash; job_round: number; rounds: number } | null;
  jobs_waiting: number;
  /** Last promoted round and its state; null before the first. */
  promoted: { round: number; job_id: Hash; state_hash: Hash } | null;
  /** State that this node has adopted. */
  state_hash: Hash | null;
  reason: string;
  hint: string;
}
