/**
 * Certificates for those who lack them: each proves itself, so they may come from anyone. Answers to one
 * peer and questions to all are paced, because an answer is far larger than its question.
 */
import type { PublicKey } from "../core/types.ts";
import type { SendEffect, Sink } from "./effects.ts";
import type { ElectionState } from "./election-state.ts";

/** Peers whose last answer is remembered; a full table is emptied, which loosens the pace once. */
const PEERS_MAX = 2048;

export class CatchUp {
  readonly #resend_ms: number;
  readonly #answered = new Map<PublicKey, number>();
  #asked_ms = Number.NEGATIVE_INFINITY;

  constructor(resend_ms: number) {
    this.#resend_ms = resend_ms;
  }

  /** True if this peer may be answered now; then it counts as answered. */
  mayAnswer(peer: PublicKey, now_ms: number): boolean {
    const last_ms = this.#answered.get(peer) ?? Number.NEGATIVE_INFINITY;
    if (now_ms - last_ms < this.#resend_ms / 2) return false;
    if (this.#answered.size >= PEERS_MAX) this.#answered.clear();
    this.#answered.set(peer, now_ms);
    return true;
  }

  /** Sends what a peer lacks that has `decided` steps of `round`. */
  help(
    to: PublicKey,
    at: { round: number; decided: number },
    state: ElectionState,
    now_ms: number,
    out: Sink<SendEffect>,
  ): void {
    const { round, head, decided } = state;
    if (at.round > round) return;
    const older = at.round < round && head ? [head] : [];
    const certificates = at.round < round ? [...older, ...decided] : decided.slice(at.decided);
    if (certificates.length === 0 || !this.mayAnswer(to, now_ms)) return;
    const body = { certificates };
    out.push({ type: "send", to, message: { type: "election.certificates", body } });
  }

  /** Asks a peer that is ahead. */
  ask(to: PublicKey, state: ElectionState, now_ms: number, out: Sink<SendEffect>): void {
    if (now_ms - this.#asked_ms < this.#resend_ms) return;
    this.#asked_ms = now_ms;
    const body = { round: state.round, decided: state.decided.length };
    out.push({ type: "send", to, message: { type: "election.sync", body } });
  }
}
