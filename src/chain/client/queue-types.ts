/** What goes into the queue of transactions, what is known of it, and the queue's limits. */
import type { Address, Hex } from "viem";

/** A transaction to be sent exactly once. */
export interface Submission {
  /** Says what it is: the same key again is the same transaction ("commit:12"). */
  key: string;
  /** Words for messages ("epochs.commit"). */
  what: string;
  /** Null creates a contract. */
  to: Address | null;
  data: Hex;
  value?: bigint;
  /** Held back until the chain's clock is there, seconds. */
  not_before_s?: number;
  /** From this time of the chain on it is worthless: dropped, or replaced by nothing. */
  deadline_s?: number;
  /** In place of an estimate. */
  gas?: bigint;
  /** Exactly this nonce or failed (deployment at predicted addresses). */
  nonce?: number;
}

/**
 * queued: not signed yet. sent: signed and given to the RPC. mined, reverted: in a block.
 * failed: would revert, or can never be sent. dropped: its deadline passed.
 */
export type TransactionState = "queued" | "sent" | "mined" | "reverted" | "failed" | "dropped";

/** Why something is as it is, for people and scripts. */
export interface Reason {
  code: string;
  message: string;
  hint?: string;
}

export interface Entry {
  key: string;
  what: string;
  to: Address | null;
  data: Hex;
  value: bigint;
  gas: bigint | null;
  nonce: number | null;
  /** The submission named the nonce. */
  pinned: boolean;
  not_before_s: number | null;
  deadline_s: number | null;
  state: TransactionState;
  /** Nothing can change it any more: deep enough in the chain, or given up. */
  final: boolean;
  reason: Reason | null;
  tx_hash: Hex | null;
  block_number: number | null;
  block_hash: Hex | null;
  gas_used: number | null;
  /** Since when its nonce is used up without a receipt of ours. */
  missing_since_ms: number | null;
  missing_since_block: number | null;
  created_ms: number;
}

/** One signed form of a transaction; replacements share the nonce. */
export interface Attempt {
  hash: Hex;
  nonce: number;
  raw: Hex;
  /** Wei; the gas price where the chain knows no base fee. */
  max_fee: bigint;
  tip: bigint;
  gas: bigint;
  sent_block: number;
  /** Sends nothing to ourselves, so that the nonce is used up. */
  cancels: boolean;
}

export type QueueEventKind =
  | "queued"
  | "sent"
  | "replaced"
  | "waiting"
  | "mined"
  | "reverted"
  | "reorged"
  | "requeued"
  | "confirmed"
  | "failed"
  | "dropped";

/** Outcomes, in order; kept in the file, so that whoever opens it later can read them. */
export interface QueueEvent {
  id: number;
  at_ms: number;
  key: string;
  what: string;
  kind: QueueEventKind;
  tx_hash: Hex | null;
  reason: Reason | null;
}

export interface QueueLimits {
  /** Transactions signed and not mined: nodes keep 16 to 64 of an account, later ones wait. */
  in_flight: number;
  /** Blocks after which a transaction that is next in line is sent again with a higher fee. */
  replace_after_blocks: number;
  /** Blocks on top of which a receipt counts as final. */
  confirmations: number;
  /** A nonce used up by somebody else is believed after the confirmations, or after so long. */
  missing_ms: number;
  /** Estimates are raised by so much: the state may differ in the block that takes it. */
  gas_margin_percent: number;
  /** Nobody pays more per unit of gas: above it the queue waits and says so. Wei. */
  fee_cap: bigint;
  /** Transactions kept after they are final; the oldest go first. */
  kept: number;
}

export const QUEUE_LIMITS: QueueLimits = {
  in_flight: 16,
  replace_after_blocks: 6,
  confirmations: 6,
  missing_ms: 60_000,
  gas_margin_percent: 25,
  fee_cap: 1_000n * 10n ** 9n,
  kept: 10_000,
};
