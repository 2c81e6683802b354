/**
 * Certificates for those who lack them: each proves itself. Answers to one peer and questions to
 * all are paced, because an answer is far larger than its question.
 */
import type { PublicKey } from "../core/types.ts";
import { AnswerPace } from "./answer-pace.ts";
import type { SendEffect, Sink } from "./effects.ts";
import type { ElectionState } from "./election-state.ts";

export class CatchUp extends AnswerPace {
  readonly #resend_ms: number;
  #asked_ms = Number.NEGATIVE_INFINITY;

  constructor(resend_ms: number) {
    super(resend_ms / 2);
    this.#resend_ms = resend_ms;
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
