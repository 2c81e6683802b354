/**
 * The ledger as one node lives it (paper 13): in every epoch gather facts, commit, reveal, compute the
 * record, sign, propose or compare, challenge, vote, claim. A state machine without I/O; after a crash
 * it needs its durable part and new views of the chain, nothing else. Every state that waits, and every
 * share that was missed, has a reason in `view()`.
 */
import type { PublicKey } from "../../core/types.ts";
import { AnswerPace } from "../../network/answer-pace.ts";
import type { Sink } from "../../network/effects.ts";
import type { Message } from "../../network/protocol.ts";
import { Claimer } from "./claimer.ts";
import type { EpochState } from "./epoch-state.ts";
import { Gatherer } from "./gatherer.ts";
import { isOpen, Judge } from "./judge.ts";
import { answerRequest, type LedgerRequest } from "./ledger-answers.ts";
import { statusOf } from "./ledger-status.ts";
import type { LedgerEffect, LedgerEvent, LedgerStatus } from "./ledger-types.ts";
import { EPOCHS_BACK, type EpochMachineParams, MachineParts } from "./machine-parts.ts";
import type { LedgerCommit, LedgerReveal, RecordSignature } from "./messages.ts";
import { OwnContribution } from "./own-part.ts";
import { Punisher } from "./punisher.ts";
import { Settler } from "./settler.ts";
import { Voter } from "./voter.ts";

/** Decided disputes are kept so long for their consequences, in epochs. */
const DISPUTES_MAX = 256;

export class EpochMachine {
  readonly #parts: MachineParts;
  readonly #own: OwnContribution;
  readonly #gatherer: Gatherer;
  readonly #settler: Settler;
  readonly #judge: Judge;
  readonly #voter: Voter;
  readonly #punisher: Punisher;
  readonly #claimer: Claimer;
  readonly #paces = new Map<string, AnswerPace>();

  constructor(params: EpochMachineParams) {
    this.#parts = new MachineParts(params);
    this.#own = new OwnContribution(this.#parts);
    this.#gatherer = new Gatherer(this.#parts);
    this.#settler = new Settler(this.#parts, this.#gatherer);
    this.#judge = new Judge(this.#parts, this.#gatherer, this.#settler);
    this.#voter = new Voter(this.#parts);
    this.#punisher = new Punisher(this.#parts);
    this.#claimer = new Claimer(this.#parts);
  }

  /** Handles one event; the effects are to be carried out in order. */
  step(event: LedgerEvent, now_ms: number): LedgerEffect[] {
    const out: LedgerEffect[] = [];
    if (event.type === "message") {
      // Steps follow with the next tick: a thousand messages are then one pass over the epochs.
      this.#message(event.from, event.message, now_ms, out);
      return out;
    }
    this.#handle(event, now_ms, out);
    this.#advance(now_ms, out);
    return out;
  }

  /** Epochs and disputes whose views this node needs kept up to date, by rising number. */
  get wanted(): { epochs: number[]; disputes: number[] } {
    const epochs = this.#parts.sorted().filter((state) => !this.#isDone(state));
    const disputes = [...this.#parts.disputes.values()].filter((one) => isOpen(one.phase));
    return { epochs: epochs.map((s) => s.epoch), disputes: disputes.map((one) => one.id) };
  }

  view(): LedgerStatus {
    return statusOf(this.#parts, this.#gatherer, this.#settler, this.#voter, this.#claimer);
  }

  #handle(
    event: Exclude<LedgerEvent, { type: "message" }>,
    now_ms: number,
    out: Sink<LedgerEffect>,
  ) {
    const parts = this.#parts;
    switch (event.type) {
      case "start":
        this.#start(event.persisted, event.records, out);
        break;
      case "tick":
        break;
      case "block":
        Object.assign(parts, { up: true, block: event.number, time_s: event.timestamp_s });
        break;
      case "chain_down":
        Object.assign(parts, { up: false, down_reason: event.reason });
        break;
      case "epoch_view":
        parts.state(event.view.epoch).setView(event.view, parts.time_s);
        break;
      case "dispute_view":
        this.#disputeView(event.view);
        break;
      case "account_view":
        parts.account = event.view;
        break;
      case "facts":
        this.#own.facts(parts.state(event.epoch), event.facts, out);
        break;
      case "report_verified":
      case "report_unverified":
        this.#verified(event);
        break;
      case "record_fetched":
        parts.records.fetched(event.data_hash, event.bytes, out);
        break;
      case "record_failed":
        parts.records.failed(event.data_hash);
        break;
      case "transaction":
        this.#transaction(event, now_ms, out);
        break;
      case "accuse":
        this.#accuse(event, now_ms, out);
        break;
      case "dispute_judged":
        this.#voter.judged(event.id, event.guilty);
        break;
    }
  }

  #start(persisted: unknown, records: readonly Uint8Array[], out: Sink<LedgerEffect>): void {
    for (const bytes of records) this.#parts.records.load(bytes);
    if (this.#parts.restore(persisted)) return;
    const fields = { hint: "commitments of earlier runs cannot be opened" };
    out.push({ type: "log", level: "warn", event: "ledger_state_unreadable", fields });
  }

  #disputeView(view: Extract<LedgerEvent, { type: "dispute_view" }>["view"]): void {
    const { disputes } = this.#parts;
    disputes.set(view.id, view);
    if (disputes.size <= DISPUTES_MAX) return;
    const oldest = [...disputes.values()].find((one) => !isOpen(one.phase));
    if (oldest) disputes.delete(oldest.id);
  }

  #verified(event: Extract<LedgerEvent, { type: "report_verified" | "report_unverified" }>): void {
    const here = this.#parts.epochs.get(event.epoch)?.reports.get(event.result_hash);
    if (!here) return;
    if (event.type === "report_verified") here.verified = event.verified;
    else here.reason = event.reason;
  }

  #transaction(
    { key, status, reason }: Extract<LedgerEvent, { type: "transaction" }>,
    now_ms: number,
    out: Sink<LedgerEffect>,
  ): void {
    this.#parts.submitter.outcome(key, status, reason, now_ms);
    const level = status === "confirmed" ? "info" : "warn";
    out.push({ type: "log", level, event: `transaction_${status}`, fields: { key, reason } });
  }

  #accuse(
    event: Extract<LedgerEvent, { type: "accuse" }>,
    now_ms: number,
    out: Sink<LedgerEffect>,
  ): void {
    const { offence, accused, subject, evidence_hash } = event;
    const about = { offence, accused, subject, evidence_hash: `0x${evidence_hash}` as const };
    const key = `challenge:${offence}:${accused}:${subject}`;
    this.#parts.want(key, { method: "challenge", ...about }, now_ms, out, true);
  }

  #message(from: PublicKey, { type, body }: Message, now_ms: number, out: Sink<LedgerEffect>) {
    const state = this.#parts.epochs.get((body as { epoch: number }).epoch);
    if (!state) return;
    if (type === "ledger.commit") this.#gatherer.takeCommit(state, body as LedgerCommit);
    else if (type === "ledger.reveal") this.#gatherer.takeReveal(state, body as LedgerReveal);
    else if (type === "ledger.report")
      this.#gatherer.take(state, from, (body as { report: string }).report);
    else if (type === "ledger.signature")
      this.#settler.takeSignature(state, body as RecordSignature, now_ms, out);
    else if (type === "ledger.commit_set")
      this.#settler.takeSet(state, body as Parameters<Settler["takeSet"]>[1]);
    else if (type === "ledger.request") {
      const request = body as LedgerRequest;
      if (this.#pace(request.want).mayAnswer(from, now_ms))
        answerRequest(state, request, from, this.#settler, out);
    }
  }

  /** Answers are larger than questions: one of a kind to a peer at a time. */
  #pace(want: string): AnswerPace {
    const pace = this.#paces.get(want) ?? new AnswerPace(this.#parts.params.resend_ms / 4);
    this.#paces.set(want, pace);
    return pace;
  }

  #advance(now_ms: number, out: Sink<LedgerEffect>): void {
    const parts = this.#parts;
    for (let e = Math.max(0, parts.epoch - EPOCHS_BACK); e <= parts.epoch; e++) parts.state(e);
    for (const state of parts.sorted()) {
      this.#own.advance(state, now_ms, out);
      if (!this.#isDone(state)) this.#gatherer.advance(state, now_ms, out);
      this.#settler.advance(state, now_ms, out);
      this.#judge.advance(state, now_ms, out);
      this.#expire(state);
      this.#punisher.advance(state, now_ms, out);
    }
    this.#voter.advance(now_ms, out);
    this.#claimer.advance(now_ms, out);
    this.#forget(out);
  }

  /** An epoch that nobody settled in time mints nothing. */
  #expire(state: EpochState): void {
    const { view } = state;
    const open = view && (view.settlement === null || view.settlement.rejected);
    if (!open || this.#parts.time_s < view.windows.settle_end_s || state.phase === "missed") return;
    state.phase = "skipped";
    if (state.record) state.reason = "not settled in time: its pool is not minted";
    else state.reason = "nobody's contribution counted: nothing was minted";
  }

  /** Nothing that the chain will still say about the epoch changes anything here. */
  #isDone(state: EpochState): boolean {
    const { view } = state;
    if (!view || this.#punisher.isPending(state)) return false;
    if (view.settlement && !view.settlement.rejected) return view.settlement.final;
    return this.#parts.time_s >= view.windows.settle_end_s;
  }

  /** Epochs long past, and records that no root of the chain names any more. */
  #forget(out: Sink<LedgerEffect>): void {
    const { epochs, epoch, account, records } = this.#parts;
    for (const state of [...epochs.values()])
      if (state.epoch < epoch - EPOCHS_BACK && this.#isForgettable(state))
        epochs.delete(state.epoch);
    if (!account) return;
    const wanted = new Set([account.final?.data_hash, account.last?.data_hash]);
    for (const state of epochs.values()) {
      wanted.add(state.view?.settlement?.data_hash);
      wanted.add(state.record?.outcome.data_hash);
      for (const { data_hash } of state.signatures.values()) wanted.add(data_hash);
    }
    records.retain(wanted as Set<NonNullable<typeof account.final>["data_hash"]>, out);
  }

  #isForgettable(state: EpochState): boolean {
    const disputed = [...this.#parts.disputes.values()].some(
      (one) =>
        isOpen(one.phase) &&
        one.offence === "bad_root" &&
        BigInt(one.subject) === BigInt(state.epoch),
    );
    const pending = state.view?.settlement && !state.view.settlement.final;
    return !disputed && (this.#isDone(state) || !pending);
  }
}
