/**
 * Paces answers to one peer: an answer that is far larger than its question would otherwise let a
 * few bytes a second keep a node busy.
 */
import type { PublicKey } from "../core/types.ts";

/** Peers whose last answer is remembered; a full table is emptied, which loosens the pace once. */
const PEERS_MAX = 2048;

export class AnswerPace {
  readonly #interval_ms: number;
  readonly #answered = new Map<PublicKey, number>();

  /** One answer to a peer in `interval_ms`. */
  constructor(interval_ms: number) {
    this.#interval_ms = interval_ms;
  }

  /** True if this peer may be answered now; then it counts as answered. */
  mayAnswer(peer: PublicKey, now_ms: number): boolean {
    const last_ms = this.#answered.get(peer) ?? Number.NEGATIVE_INFINITY;
    if (now_ms - last_ms < this.#interval_ms) return false;
    if (this.#answered.size >= PEERS_MAX) this.#answered.clear();
    this.#answered.set(peer, now_ms);
    return true;
  }
}
