/**
 * What goes into the ledger's state machine and what comes out of it (paper 13). The machine neither
 * waits nor reads or writes anything. What is on the chain arrives as snapshots: each replaces what was
 * known about its subject before, so a reorganisation needs no undoing here: the newest snapshot counts.
 * Windows are judged by block timestamps only, never by the host's clock.
 */
import type { Tier } from "../../core/tiers.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import type {
  BroadcastEffect,
  LogEffect,
  PersistEffect,
  SendEffect,
} from "../../network/effects.ts";
import type { Message } from "../../network/protocol.ts";
import type { ContributionFacts, ContributionReport } from "./report.ts";

/** "0x" and lower-case hex: words of the chain. SHA-256 hashes stay `Hash`, without "0x". */
export type Hex = `0x${string}`;
/** "0x" and 40 lower-case hex digits, never in mixed case: addresses are compared and sorted as text. */
export type Address = Hex;

/** Offences in the order of `Offence` in the contracts. */
export const OFFENCES = [
  "no_reveal",
  "mismatch",
  "false_tier",
  "bad_data",
  "bad_root",
  "fraudulent_approval",
] as const;
export type Offence = (typeof OFFENCES)[number];

/** Where the ledger lives: part of everything that is signed or hashed. */
export interface LedgerPlace {
  chain_id: number;
  epochs: Address;
  disputes: Address;
  /** Start of epoch 0, unix seconds, and length of an epoch. */
  genesis_s: number;
  epoch_seconds: number;
}

/** A registered node as of the last block before the epoch's end (from logs: all nodes agree). */
export interface LedgerNode {
  address: Address;
  /** SHA-256 of the compressed public key. */
  node_id: Hash;
  tier: Tier;
  /** Base units at work; below the tier's least bond the node is not active and not listed. */
  bond: bigint;
}

export interface EpochWindows {
  /** The epoch's end. */
  commit_start_s: number;
  commit_end_s: number;
  reveal_end_s: number;
  proposer_end_s: number;
  settle_end_s: number;
}

/** A settlement as it is on the chain now. */
export interface SettlementView {
  root: Hex;
  total: bigint;
  count: number;
  data_hash: Hash;
  proposer: Address;
  settled_at_s: number;
  /** Open disputes about it. */
  disputes: number;
  rejected: boolean;
  final: boolean;
  /** Who signed, recovered from the transaction; empty where that could not be read. */
  signers: readonly Address[];
}

/** Everything that the chain says about one epoch, as of the newest block. */
export interface EpochView {
  epoch: number;
  windows: EpochWindows;
  /** `Values` of this epoch. */
  tier_rewards: readonly number[];
  axis_weights: readonly number[];
  challenge_seconds: number;
  /** What settling mints now (`poolOf`). */
  pool: bigint;
  /** `proposerOf`; null where there is no notary. */
  proposer: Address | null;
  signatures_needed: number;
  /** Seats of the notaries now. */
  notaries: readonly Address[];
  nodes: readonly LedgerNode[];
  /** Commitments made on the chain; `punished`: the slash is done. */
  commits: readonly { node: Address; commitment: Hex; punished: boolean }[];
  reveals: readonly {
    node: Address;
    result_hash: Hash;
    score: bigint;
    nonce: Hex;
    matches: boolean;
  }[];
  /** The batch of gossiped commitments; null where there is none. */
  commit_root: { root: Hex; count: number; proposer: Address } | null;
  settlement: SettlementView | null;
}

export type DisputePhase =
  | "drawing"
  | "vote_commit"
  | "vote_reveal"
  | "guilty"
  | "dismissed"
  | "inconclusive";

/** A dispute as it is on the chain now. `subject` is 32 bytes. */
export interface DisputeView {
  id: number;
  offence: Offence;
  phase: DisputePhase;
  accused: Address;
  challenger: Address;
  subject: Hex;
  evidence_hash: Hash;
  draw_block: number;
  /** Unix seconds; 0 before the draw. */
  commit_end_s: number;
  reveal_end_s: number;
  panel: readonly Address[];
  /** Of this node's own vote. */
  own_vote: "none" | "committed" | "revealed";
}

/** What the chain says about this node, and the last settlement that counts for claims. */
export interface AccountView {
  registered: boolean;
  /** Bond at least the tier's least, not banned. */
  active: boolean;
  /** Cumulative amount already claimed. */
  claimed: bigint;
  /** Newest final settlement; null before the first. */
  final: { epoch: number; root: Hex; data_hash: Hash } | null;
  /** Newest settlement that was not rejected, final or not; null before the first. */
  last: { epoch: number; root: Hex; data_hash: Hash; final: boolean } | null;
}

/** What a verifier found true of a report; what exceeds the report's own claim does not count. */
export interface VerifiedReport {
  /**
   * Certified, merged rounds in which the node's pseudo-gradient was merged; amount = inner steps x
   * parameters. Only rounds above the last one that an earlier record paid count.
   */
  rounds: readonly { round: number; amount: bigint }[];
  /** Evaluations of states that were promoted in fact; all evaluators together decide their worth. */
  evaluations: readonly { round: number; state_hash: Hash; loss_micronats: number }[];
  /** In the units of AXIS_UNITS: facts that belong to this epoch by block time or signature. */
  data_quality: bigint;
  storage: bigint;
  serving: bigint;
  /** It names rounds of which nobody has a proof: to look for them can take one node longer than another. */
  is_unproven?: boolean;
}

/** Outcome of a submitted transaction; a reorganised one is reported again. */
export type TransactionStatus = "confirmed" | "reverted" | "failed";

export type LedgerEvent =
  /** First event. `records`: canonical bytes of the epoch records kept on this disk. */
  | { type: "start"; persisted: unknown; records: readonly Uint8Array[] }
  /** At least every second. */
  | { type: "tick" }
  /**
   * The chain's head. `timestamp_s`: what a transaction mined now would see: of the newest block, or of
   * the pending one where the chain mines on demand.
   */
  | { type: "block"; number: number; hash: Hex; timestamp_s: number }
  /** The RPC does not answer, or is of another chain; ends with the next `block`. */
  | { type: "chain_down"; reason: string }
  | { type: "epoch_view"; view: EpochView }
  | { type: "dispute_view"; view: DisputeView }
  | { type: "account_view"; view: AccountView }
  /** Answers `gather_facts`. */
  | { type: "facts"; epoch: number; facts: ContributionFacts }
  /** Answers `verify_report`. */
  | { type: "report_verified"; epoch: number; result_hash: Hash; verified: VerifiedReport }
  /** Facts that the report names are not here yet: it is asked again. */
  | { type: "report_unverified"; epoch: number; result_hash: Hash; reason: string }
  /** Already checked against the schema of its type. */
  | { type: "message"; from: PublicKey; message: Message }
  /** Answers `fetch_record`; the bytes' SHA-256 was checked. */
  | { type: "record_fetched"; data_hash: Hash; bytes: Uint8Array }
  | { type: "record_failed"; data_hash: Hash; reason: string }
  /** Answers `submit`. */
  | { type: "transaction"; key: string; status: TransactionStatus; reason: string }
  /** Evidence of an offence that the machine does not see itself (false tier, bad data): a dispute. */
  | { type: "accuse"; offence: Offence; accused: Address; subject: Hex; evidence_hash: Hash }
  /** Answers `judge_dispute`. */
  | { type: "dispute_judged"; id: number; guilty: boolean };

/** A call of the contracts, in their terms. */
export type LedgerCall =
  | { method: "commit"; epoch: number; commitment: Hex }
  | { method: "reveal"; epoch: number; result_hash: Hex; score: bigint; nonce: Hex }
  | { method: "commitRoot"; epoch: number; root: Hex; count: number }
  | {
      method: "settle";
      epoch: number;
      root: Hex;
      total: bigint;
      count: number;
      data_hash: Hex;
      /** By notaries, in rising order of address. */
      signatures: readonly Hex[];
    }
  | { method: "claim"; account: Address; cumulative: bigint; proof: readonly Hex[] }
  | { method: "challenge"; offence: Offence; accused: Address; subject: Hex; evidence_hash: Hex }
  /** `signers` of the settlement under dispute, empty for other offences. */
  | { method: "drawPanel"; id: number; signers: readonly Address[] }
  | { method: "commitVote"; id: number; vote: Hex }
  | { method: "revealVote"; id: number; guilty: boolean; salt: Hex }
  | { method: "resolve"; id: number }
  | { method: "punishNoReveal"; epoch: number; node: Address }
  | { method: "punishMismatch"; epoch: number; node: Address }
  | {
      method: "proveMismatch";
      epoch: number;
      node: Address;
      commitment: Hex;
      commit_signature: Hex;
      result_hash: Hex;
      score: bigint;
      nonce: Hex;
      reveal_signature: Hex;
    }
  | {
      method: "proveDoubleCommit";
      epoch: number;
      node: Address;
      first: Hex;
      first_signature: Hex;
      second: Hex;
      second_signature: Hex;
    }
  | { method: "punishApprovers"; epoch: number; root: Hex; signers: readonly Address[] };

export type LedgerEffect =
  | SendEffect
  | BroadcastEffect
  | LogEffect
  | PersistEffect<"ledger">
  /**
   * Send a transaction, at most once per `key`: a key known to the durable queue is answered with what
   * became of it.
   */
  | { type: "submit"; key: string; call: LedgerCall }
  /** What this node has contributed: certified rounds above `after_round`, evaluations, and so on. */
  | { type: "gather_facts"; epoch: number; after_round: number }
  /** Check a report of `node` against this node's own knowledge: one answer, now or later. */
  | {
      type: "verify_report";
      epoch: number;
      node: Address;
      public_key: PublicKey | null;
      result_hash: Hash;
      report: ContributionReport;
    }
  /** Keep durably and serve to peers under its hash. */
  | { type: "store_record"; epoch: number; data_hash: Hash; bytes: Uint8Array }
  /** Records no longer needed. */
  | { type: "drop_records"; data_hashes: readonly Hash[] }
  /** From any peer, `sources` first. */
  | { type: "fetch_record"; data_hash: Hash; sources: readonly PublicKey[] }
  /** Keep the evidence of a challenge and serve it under its hash. */
  | { type: "store_evidence"; evidence_hash: Hash; bytes: Uint8Array }
  /** Is the accused guilty? For offences that the machine cannot judge alone (all but bad_root). */
  | { type: "judge_dispute"; dispute: DisputeView };

/** What a node does in an epoch now. */
export type EpochPhase =
  | "collecting"
  | "gathering_facts"
  | "committing"
  | "committed"
  | "revealing"
  | "revealed"
  | "waiting"
  | "recording"
  | "signing"
  | "settled"
  | "disputed"
  | "final"
  | "missed"
  | "skipped";

/** For `chain status` and `chain epoch`: every waiting or missed state has a reason. */
export interface EpochStatus {
  epoch: number;
  phase: EpochPhase;
  /** "no share in epoch 12: reveal missed by 40 s". */
  reason: string;
  hint: string;
  own: {
    commitment: Hex | null;
    committed: boolean;
    revealed: boolean;
    score: string | null;
    reward: string | null;
  };
  proposer: Address | null;
  reports: { revealed: number; here: number; verified: number };
  signatures: { have: number; needed: number };
  record_hash: Hash | null;
  root: Hex | null;
}

export interface LedgerStatus {
  chain: { up: boolean; reason: string; block: number; timestamp_s: number };
  epoch: number;
  address: Address;
  active: boolean;
  claimed: string;
  /** Earned under the newest final record and not claimed yet; null while that is not here. */
  claimable: string | null;
  epochs: EpochStatus[];
  disputes: {
    id: number;
    offence: Offence;
    phase: DisputePhase;
    accused: Address;
    reason: string;
  }[];
}
