/**
 * Disputes as a node sees them through (paper 13.3): draw the panel, vote when drawn (commit, then
 * open), resolve. A notary votes what it has found out itself; what it could not find out by the end of
 * the window is not proven, but for a record that nobody serves. An absent vote is slashed, an own case
 * is never voted on.
 */
import type { Sink } from "../../network/effects.ts";
import { voteOf } from "./digests.ts";
import { FETCHES_LEAST, isOpen } from "./judge.ts";
import type { Address, DisputeView, LedgerEffect } from "./ledger-types.ts";
import type { MachineParts } from "./machine-parts.ts";
import { hex } from "./words.ts";

/** Share of the vote's window after which what is not proven counts as not proven. */
const VERDICT_SHARE = 0.6;

export class Voter {
  readonly #verdicts = new Map<number, boolean>();
  readonly #asked_ms = new Map<number, number>();
  /** When the vote's window was first seen open. */
  readonly #opened_s = new Map<number, number>();
  readonly #reasons = new Map<number, string>();

  constructor(private readonly parts: MachineParts) {}

  judged(id: number, guilty: boolean): void {
    this.#verdicts.set(id, guilty);
  }

  reason(id: number): string {
    return this.#reasons.get(id) ?? "";
  }

  advance(now_ms: number, out: Sink<LedgerEffect>): void {
    for (const dispute of this.parts.disputes.values()) {
      const reason = isOpen(dispute.phase)
        ? this.#open(dispute, now_ms, out)
        : `decided: ${dispute.phase}`;
      this.#reasons.set(dispute.id, reason);
      if (!isOpen(dispute.phase)) this.#forget(dispute.id);
    }
  }

  #open(dispute: DisputeView, now_ms: number, out: Sink<LedgerEffect>): string {
    const { time_s, address } = this.parts;
    if (dispute.commit_end_s === 0) return this.#draw(dispute, now_ms, out);
    if (!this.#opened_s.has(dispute.id)) this.#opened_s.set(dispute.id, time_s);
    const on_panel = dispute.panel.includes(address);
    if (time_s < dispute.commit_end_s) {
      if (!on_panel) return "the panel votes";
      if (dispute.own_vote !== "none") return "voted; opens the vote when all have voted";
      return this.#vote(dispute, now_ms, out);
    }
    if (time_s < dispute.reveal_end_s) {
      if (!on_panel || dispute.own_vote !== "committed") return "the panel opens its votes";
      return this.#reveal(dispute, now_ms, out);
    }
    return this.#resolve(dispute, now_ms, out);
  }

  /** Seconds after `from_s` at which it is this node's turn; the challenger is first. */
  #turn(dispute: DisputeView, purpose: string, from_s: number): number {
    if (dispute.challenger === this.parts.address) return from_s;
    const newest = this.parts.sorted().findLast((state) => state.view !== null);
    const window_s = this.parts.params.place.epoch_seconds / 4;
    return from_s + 1 + (newest ? this.parts.stagger(newest, purpose, window_s) : 0);
  }

  #draw(dispute: DisputeView, now_ms: number, out: Sink<LedgerEffect>): string {
    const { block, time_s } = this.parts;
    const { id, draw_block } = dispute;
    if (block <= draw_block) return `the panel is drawn after block ${draw_block}`;
    if (!this.#opened_s.has(-1 - id)) this.#opened_s.set(-1 - id, time_s);
    const turn_s = this.#turn(dispute, `draw ${id}`, this.#opened_s.get(-1 - id)!);
    if (time_s < turn_s) return "waits for the panel to be drawn";
    const call = { method: "drawPanel" as const, id, signers: this.#signers(dispute) };
    return `draws the panel: ${this.parts.want(`draw:${id}:${draw_block}`, call, now_ms, out)}`;
  }

  /** Who signed the root under dispute: they do not judge it. */
  #signers({ offence, subject }: DisputeView): readonly Address[] {
    if (offence !== "bad_root") return [];
    return this.parts.epochs.get(Number(BigInt(subject)))?.view?.settlement?.signers ?? [];
  }

  #vote(dispute: DisputeView, now_ms: number, out: Sink<LedgerEffect>): string {
    const { parts } = this;
    const { id } = dispute;
    let vote = parts.votes.get(id);
    if (!vote) {
      const guilty = this.#verdict(dispute, now_ms, out);
      if (guilty === undefined) return "drawn for the panel: looks into the case";
      vote = { id, guilty, salt: hex(parts.params.random.bytes(32)) };
      parts.votes.set(id, vote);
      // Durable first: a vote whose salt is lost cannot be opened.
      parts.persist(out);
    }
    const hash = voteOf(parts.params.place, { ...vote, notary: parts.address });
    const call = { method: "commitVote" as const, id, vote: hash };
    return `votes: ${parts.want(`vote:${id}`, call, now_ms, out)}`;
  }

  #verdict(dispute: DisputeView, now_ms: number, out: Sink<LedgerEffect>): boolean | undefined {
    const { id, commit_end_s } = dispute;
    const from_s = this.#opened_s.get(id)!;
    const late = this.parts.time_s >= from_s + VERDICT_SHARE * (commit_end_s - from_s);
    const found =
      dispute.offence === "bad_root" ? this.#rootVerdict(dispute) : this.#verdicts.get(id);
    if (found !== undefined) return found;
    if (late) return this.#isWithheld(dispute);
    const asked_ms = this.#asked_ms.get(id) ?? Number.NEGATIVE_INFINITY;
    if (dispute.offence !== "bad_root" && now_ms - asked_ms >= 4 * this.parts.params.resend_ms) {
      this.#asked_ms.set(id, now_ms);
      out.push({ type: "judge_dispute", dispute });
    }
    return undefined;
  }

  /**
   * Nobody serves the record of a root under dispute: upheld, it could neither be checked nor claimed,
   * so this is not the same as not proven.
   */
  #isWithheld({ offence, subject }: DisputeView): boolean {
    if (offence !== "bad_root") return false;
    const { epochs, records } = this.parts;
    const data_hash = epochs.get(Number(BigInt(subject)))?.view?.settlement?.data_hash;
    if (data_hash === undefined || records.get(data_hash)) return false;
    return records.failures(data_hash) >= FETCHES_LEAST;
  }

  /** From this node's own judgement of that settlement. */
  #rootVerdict(dispute: DisputeView): boolean | undefined {
    const state = this.parts.epochs.get(Number(BigInt(dispute.subject)));
    const { judgement, view } = state ?? {};
    if (!judgement || judgement.root !== view?.settlement?.root) return undefined;
    return judgement.verdict === "open" ? undefined : judgement.verdict === "bad";
  }

  #reveal({ id }: DisputeView, now_ms: number, out: Sink<LedgerEffect>): string {
    const vote = this.parts.votes.get(id);
    if (!vote) return "its vote cannot be opened: it was not made with this data folder";
    const { guilty, salt } = vote;
    const call = { method: "revealVote" as const, id, guilty, salt };
    return `opens its vote: ${this.parts.want(`reveal_vote:${id}`, call, now_ms, out)}`;
  }

  #resolve(dispute: DisputeView, now_ms: number, out: Sink<LedgerEffect>): string {
    const { id, reveal_end_s } = dispute;
    if (this.parts.time_s < this.#turn(dispute, `resolve ${id}`, reveal_end_s))
      return "waits for its result";
    const call = { method: "resolve" as const, id };
    return `asks for its result: ${this.parts.want(`resolve:${id}`, call, now_ms, out)}`;
  }

  #forget(id: number): void {
    this.#verdicts.delete(id);
    this.#asked_ms.delete(id);
    this.#opened_s.delete(id);
    this.#opened_s.delete(-1 - id);
  }
}
