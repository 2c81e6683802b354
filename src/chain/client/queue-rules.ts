/**
 * What to do next with a transaction, from what the chain shows: pure, so that every order of
 * mining, replacing, reorganising and failing can be tested without a chain.
 */
import type { Attempt, Entry, QueueLimits } from "./queue-types.ts";

/** What the chain shows at one moment. */
export interface ChainView {
  head: number;
  /** Transactions of the account in blocks: the nonce that is mined next. */
  next_nonce: number;
  /** The chain's clock, seconds. */
  time_s: number;
  now_ms: number;
}

/** A receipt, as far as it matters here. */
export interface Receipt {
  hash: `0x${string}`;
  block_number: number;
  block_hash: `0x${string}`;
  succeeded: boolean;
  gas_used: number;
}

export type Step =
  | { do: "wait" }
  /** A receipt is there (or has moved to another block). */
  | { do: "record"; receipt: Receipt; cancelled: boolean }
  /** Deep enough. */
  | { do: "finish" }
  /** The receipt is gone: on its way again. */
  | { do: "unmine" }
  /** The pool does not know it: the same bytes again. */
  | { do: "resend" }
  /** Higher fee, same nonce; cancelling where the deadline has passed. */
  | { do: "replace"; cancel: boolean }
  /** Its nonce is used up and no receipt is ours: note since when. */
  | { do: "note_missing" }
  /** Somebody else used the nonce for good: another nonce, or failed where it was pinned. */
  | { do: "renonce" };

const isPast = (entry: Entry, view: ChainView) =>
  entry.deadline_s !== null && view.time_s >= entry.deadline_s;

/** For a transaction in a block: has it stayed there? */
export function stepMined(
  entry: Entry,
  receipt: Receipt | undefined,
  view: ChainView,
  limits: QueueLimits,
  attempts: Attempt[],
): Step {
  if (receipt === undefined) return { do: "unmine" };
  if (receipt.hash !== entry.tx_hash || receipt.block_hash !== entry.block_hash)
    return { do: "record", receipt, cancelled: isCancel(receipt, attempts) };
  if (view.head - receipt.block_number + 1 >= limits.confirmations) return { do: "finish" };
  return { do: "wait" };
}

const isCancel = (receipt: Receipt, attempts: Attempt[]): boolean =>
  attempts.some(({ hash, cancels }) => hash === receipt.hash && cancels);

/** For a transaction that was signed and sent. */
export function stepSent(
  entry: Entry,
  facts: { receipt: Receipt | undefined; in_pool: boolean; attempts: Attempt[] },
  view: ChainView,
  limits: QueueLimits,
): Step {
  const { receipt, in_pool, attempts } = facts;
  if (receipt !== undefined)
    return { do: "record", receipt, cancelled: isCancel(receipt, attempts) };
  const last = attempts.at(-1)!;
  if (entry.nonce! < view.next_nonce) {
    // The receipt may only be late (an RPC is many machines): a second nonce now could pay twice.
    if (entry.missing_since_ms === null) return { do: "note_missing" };
    const blocks = view.head - (entry.missing_since_block ?? view.head);
    const waited = view.now_ms - entry.missing_since_ms >= limits.missing_ms;
    return blocks >= limits.confirmations || waited ? { do: "renonce" } : { do: "wait" };
  }
  const is_next = entry.nonce === view.next_nonce;
  const stuck = view.head - last.sent_block >= limits.replace_after_blocks;
  if (is_next && stuck) return { do: "replace", cancel: last.cancels || isPast(entry, view) };
  return in_pool ? { do: "wait" } : { do: "resend" };
}

/** For a transaction that is not signed yet. */
export function stepQueued(entry: Entry, view: ChainView): "send" | "hold" | "drop" {
  if (isPast(entry, view)) return "drop";
  return entry.not_before_s !== null && view.time_s < entry.not_before_s ? "hold" : "send";
}
