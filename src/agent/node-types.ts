/**
 * What goes into the node's state machine and what comes out of it. The machine neither waits nor
 * reads or writes anything: the runtime turns sockets, timers and finished work into events and
 * carries out the effects of one step in order, making each `persist` durable before it begins the
 * next effect. After a crash everything that was under way is forgotten; `start` derives it again.
 */
import type { Random } from "../core/random.ts";
import type { Tier } from "../core/tiers.ts";
import type { Hash, PublicKey } from "../core/types.ts";
import type { Phase, RoundEvent, WorkEffect } from "../diloco/round-types.ts";
import type {
  BroadcastEffect,
  EvidenceEffect,
  LogEffect,
  PersistEffect,
  SendEffect,
} from "../network/effects.ts";
import type { Message } from "../network/protocol.ts";
import type { Signer, Verifier } from "../network/signer.ts";
import type { KeeperEffect, KeeperEvent } from "../storage/keeper-types.ts";

/** Durations of the network file; equal on every node. */
export interface NodeTiming {
  heartbeat_ms: number;
  suspect_ms: number;
  dead_ms: number;
  view_timeout_ms: number;
  grace_ms: number;
  /** How long a shard holder may be silent before its shards are rebuilt elsewhere. */
  repair_after_ms: number;
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
  | RoundEvent
  /** An outcome of storage work. */
  | { type: "keeper"; event: KeeperEvent };

export type NodeEffect =
  | SendEffect
  | BroadcastEffect
  | PersistEffect<PersistKey>
  | { type: "dial"; address: string; public_key: PublicKey | null }
  | WorkEffect
  /** Storage work: shards to fetch, rebuild, delete. */
  | { type: "keeper"; effect: KeeperEffect }
  | EvidenceEffect
  | LogEffect;

/** Keys of the durable state; each value replaces the one before. */
export type PersistKey = "election" | "jobs" | "contribution" | "peers";

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

export type { JobOffer } from "../diloco/round-messages.ts";
export type { MergeTask, Phase, TrainedResult, TrainTask } from "../diloco/round-types.ts";
