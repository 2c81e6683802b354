/**
 * Leader election and certified decisions (paper 10.3, "leader = sorted(eligible)[round mod N]").
 * Each round is decided in three steps; per step the view's leader proposes, members acknowledge
 * durably, a quorum makes a certificate. A silent leader is passed over: a quorum of signed view
 * timeouts gives the next leader its mandate and tells it what may already be certified, which it
 * must propose again. Invariant: all certificates of one (round, step), in whatever views, have one
 * content and result, because two quorums share a member, that member acknowledges nothing below
 * the view that it asked for, and its timeout carries what it acknowledged. This is single-decree
 * Paxos with signed messages; a Byzantine mode would put a prepare quorum between `pending` and
 * `acknowledge`. Longer than other files: each rule is safe only together with the others.
 */
import { invariant } from "../core/errors.ts";
import type { Hash, PublicKey } from "../core/types.ts";
import { Ballots, contentHash, leaderOf } from "./ballot.ts";
import { CatchUp } from "./catch-up.ts";
import type {
  BroadcastEffect,
  EvidenceEffect,
  LogEffect,
  PersistEffect,
  SendEffect,
  Sink,
} from "./effects.ts";
import type { Ack, Certificate, Proposal, Step, ViewTimeout } from "./election-messages.ts";
import { STEPS } from "./election-messages.ts";
import { type ElectionState, initialElection, readElection } from "./election-state.ts";
import type { ReceivedMessage } from "./protocol.ts";
import type { Signer, Verifier } from "./signer.ts";
import { ViewChange } from "./view-change.ts";

/**
 * The wait doubles with each view up to this factor, so that a healed network is not kept waiting.
 */
const BACKOFF_FACTOR_MAX = 32;

export interface ElectionParams {
  signer: Signer;
  verifier: Verifier;
  roster: readonly PublicKey[];
  roster_hash: Hash;
  /** View v of a step ends without a certificate after view_timeout_ms * 2^v. */
  view_timeout_ms: number;
  /** Unanswered messages are repeated after this time. */
  resend_ms: number;
}

/** What the timers must know from the other machines. */
export interface ElectionContext {
  /** There is something to decide; without work nobody is impatient. */
  active: boolean;
  /** A quorum of members is reachable: a minority waits instead of asking for views. */
  quorum_alive: boolean;
  /** Time that the present step rightly takes before the view timeout starts. */
  allowance_ms: number;
  /** Since when the leader is not reachable; null while it is. */
  leader_lost_ms: number | null;
}

export type ElectionEffect =
  | SendEffect
  | BroadcastEffect
  | LogEffect
  | EvidenceEffect
  | PersistEffect<"election">;

export class Election {
  readonly ballots: Ballots;
  /** The leader's proposal for the present step and view, waiting for `acknowledge`. */
  pending: Proposal | null = null;
  /** When the present view and the present step began here. */
  view_since_ms = 0;
  step_since_ms = 0;
  readonly #params: ElectionParams;
  readonly #self: PublicKey;
  #state: ElectionState = initialElection();
  #progress_ms = 0;
  #resend_ms = 0;
  /** The view whose quorum of timeouts this node holds; view 0 needs none. */
  #mandate = 0;
  readonly #timeouts = new ViewChange();
  readonly #acks = new Map<PublicKey, Ack>();
  readonly #catch_up: CatchUp;
  /** First proposal seen per term of this round, to recognise a second. */
  readonly #seen = new Map<string, Proposal>();

  constructor(params: ElectionParams) {
    this.#params = params;
    this.#self = params.signer.public_key;
    this.#catch_up = new CatchUp(params.resend_ms);
    const { roster, roster_hash, signer, verifier } = params;
    this.ballots = new Ballots(roster, roster_hash, signer, verifier);
  }

  get round(): number {
    return this.#state.round;
  }
  get view(): number {
    return this.#state.view;
  }
  get decided(): readonly Certificate[] {
    return this.#state.decided;
  }
  get head(): Certificate | null {
    return this.#state.head;
  }
  /** The step being decided. */
  get step(): Step {
    return STEPS[this.#state.decided.length]!;
  }
  get leader(): PublicKey {
    return leaderOf(this.ballots.members, this.#state.round, this.#state.view);
  }
  get isLeader(): boolean {
    return this.leader === this.#self;
  }
  /** True while the node has given up on the view and waits for others to do so. */
  get changingView(): boolean {
    return this.#state.promised > this.#state.view;
  }

  /** Reads the durable state back. Throws STATE_CORRUPT. */
  start(persisted: unknown, now_ms: number, out: Sink<ElectionEffect>): void {
    this.#state = readElection(persisted);
    this.#progress_ms = this.view_since_ms = this.step_since_ms = now_ms;
    const { proposed, view } = this.#state;
    if (!this.isLeader || this.changingView) return;
    if (proposed && this.#isCurrent(proposed)) this.#setPending(proposed, now_ms, out);
    else if (view > 0) this.#sendTimeout(view, this.#self, out);
  }

  /** True if this node may now propose a content of its own for the present step. */
  get mayPropose(): boolean {
    if (!this.isLeader || this.changingView || this.#mandate !== this.#state.view) return false;
    return this.pending === null;
  }

  /** Proposes `content` for the present step. Only while `mayPropose`. */
  propose(content: string, now_ms: number, out: Sink<ElectionEffect>): void {
    invariant(this.mayPropose, "proposed without a mandate");
    const { round, view } = this.#state;
    const proposal = this.ballots.propose({ round, view, step: this.step }, content);
    this.#state.proposed = proposal;
    this.#persist(out);
    this.#acks.clear();
    this.#setPending(proposal, now_ms, out);
    out.push({ type: "broadcast", message: { type: "election.propose", body: proposal } });
  }

  /**
   * Acknowledges the pending proposal with what this node computed from it. The promise is durable
   * before the acknowledgement leaves. A second, different result for the same content is refused.
   */
  acknowledge(result_hash: Hash, now_ms: number, out: Sink<ElectionEffect>): void {
    const proposal = this.pending;
    const state = this.#state;
    if (!proposal || this.changingView || !this.ballots.isMember(this.#self)) return;
    invariant(proposal.view === state.view, "acknowledged outside its view");
    const { lock } = state;
    if (lock?.proposal.content === proposal.content && lock.result_hash !== result_hash) {
      out.push(log("warn", "result_changed", { round: state.round, step: this.step }));
      return;
    }
    if (lock?.proposal !== proposal) {
      state.lock = { proposal, result_hash };
      this.#persist(out);
    }
    const ack = this.ballots.ack(proposal, contentHash(proposal.content), result_hash);
    if (this.isLeader) this.#countAck(this.#self, ack, now_ms, out);
    else out.push({ type: "send", to: this.leader, message: { type: "election.ack", body: ack } });
  }

  /** True if the pending proposal has this node's acknowledgement already. */
  get acknowledged(): boolean {
    return this.pending !== null && this.#state.lock?.proposal === this.pending;
  }
  /** What this node acknowledged for the same content in an earlier view; it must stay the same. */
  get knownResult(): Hash | null {
    const { lock } = this.#state;
    return lock !== null && lock.proposal.content === this.pending?.content
      ? lock.result_hash
      : null;
  }

  /** One message of this room. Anyone may ask; only what members say is looked at. */
  message({ from, type, body }: ReceivedMessage, now_ms: number, out: Sink<ElectionEffect>): void {
    // Before any signature is checked: a stranger's bytes must not cost a millisecond each.
    if (type !== "election.sync" && !this.ballots.isMember(from)) return;
    if (type === "election.propose") this.#onProposal(from, body as Proposal, now_ms, out);
    else if (type === "election.ack") this.#onAck(from, body as Ack, now_ms, out);
    else if (type === "election.view_timeout")
      this.#onViewTimeout(from, body as ViewTimeout, now_ms, out);
    else if (type === "election.sync") {
      const { round, decided } = body as { round: number; decided: number };
      this.#catch_up.help(from, { round, decided }, this.#state, now_ms, out);
    } else if (type === "election.certificates")
      for (const certificate of (body as { certificates: Certificate[] }).certificates)
        this.#learn(certificate, now_ms, out);
  }

  /** A peer's heartbeat says how far it is: ask it for what this node lacks. */
  peerIsAt(
    peer: PublicKey,
    round: number,
    decided: number,
    now_ms: number,
    out: Sink<ElectionEffect>,
  ): void {
    const { round: own, decided: steps } = this.#state;
    if (round > own || (round === own && decided > steps.length))
      this.#catch_up.ask(peer, this.#state, now_ms, out);
  }

  /** Starts a view change when the leader is overdue, and repeats what was not answered. */
  tick(context: ElectionContext, now_ms: number, out: Sink<ElectionEffect>): void {
    if (!context.active || !context.quorum_alive) this.#progress_ms = now_ms;
    else if (!this.changingView && this.#isOverdue(context, now_ms))
      this.#requestView(this.#state.view + 1, now_ms, out);
    if (!context.active || now_ms < this.#resend_ms) return;
    this.#resend_ms = now_ms + this.#params.resend_ms;
    this.#resend(out);
  }

  #isOverdue(context: ElectionContext, now_ms: number): boolean {
    const factor = Math.min(BACKOFF_FACTOR_MAX, 2 ** this.#state.view);
    const patience_ms = this.#params.view_timeout_ms * factor;
    if (now_ms - this.#progress_ms >= context.allowance_ms + patience_ms) return true;
    if (context.leader_lost_ms === null) return false;
    return now_ms - Math.max(this.#progress_ms, context.leader_lost_ms) >= patience_ms;
  }

  #resend(out: Sink<ElectionEffect>): void {
    const { view, promised } = this.#state;
    if (this.changingView) {
      this.#sendTimeout(promised, null, out);
    } else if (this.isLeader && this.pending) {
      const message = { type: "election.propose", body: this.pending };
      for (const to of this.ballots.members)
        if (to !== this.#self && !this.#acks.has(to)) out.push({ type: "send", to, message });
    } else if (view > 0 && !this.pending && !this.isLeader) {
      this.#sendTimeout(view, this.leader, out);
    }
  }

  #sendTimeout(view: number, to: PublicKey | null, out: Sink<ElectionEffect>): void {
    if (!this.ballots.isMember(this.#self)) return;
    const { round, decided, lock } = this.#state;
    // The lock belongs to a view below the one asked for: from there on nothing was acknowledged.
    if (lock && lock.proposal.view >= view) return;
    const body = this.ballots.viewTimeout(round, view, [...decided], lock);
    this.#timeouts.add(this.#self, body);
    if (to === this.#self) return;
    const message = { type: "election.view_timeout", body };
    out.push(to === null ? { type: "broadcast", message } : { type: "send", to, message });
  }

  #requestView(view: number, now_ms: number, out: Sink<ElectionEffect>): void {
    if (!this.ballots.isMember(this.#self)) return;
    const { round } = this.#state;
    out.push(log("info", "view_timeout", { round, view, step: this.step }));
    this.#state.promised = view;
    this.#persist(out);
    this.#resend_ms = now_ms + this.#params.resend_ms;
    this.#sendTimeout(view, null, out);
    this.#countTimeouts(view, now_ms, out);
  }

  #enterView(view: number, now_ms: number, out: Sink<ElectionEffect>): void {
    invariant(view > this.#state.view, "views only grow");
    const { round } = this.#state;
    this.#state.view = view;
    this.#state.promised = Math.max(view, this.#state.promised);
    this.#persist(out);
    this.pending = null;
    this.#acks.clear();
    this.#seen.clear();
    this.#progress_ms = this.view_since_ms = now_ms;
    out.push(log("info", "view_entered", { round, view, leader: this.leader }));
    // Whoever enters by hearsay still owes its own timeout to the leader's mandate.
    if (!this.changingView) this.#sendTimeout(view, this.leader, out);
  }

  #onViewTimeout(
    from: PublicKey,
    body: ViewTimeout,
    now_ms: number,
    out: Sink<ElectionEffect>,
  ): void {
    const at = { round: body.round, decided: body.decided.length };
    if (body.round < this.#state.round) {
      this.#catch_up.help(from, at, this.#state, now_ms, out);
      return;
    }
    if (body.round > this.#state.round) {
      this.#catch_up.ask(from, this.#state, now_ms, out);
      return;
    }
    if (!this.ballots.checkViewTimeout(body, from)) return;
    for (const certificate of body.decided) this.#learn(certificate, now_ms, out);
    if (body.round !== this.#state.round) return;
    this.#catch_up.help(from, at, this.#state, now_ms, out);
    this.#timeouts.add(from, body);
    // A member that lags views behind is told where the others are.
    if (body.view < this.#state.view && this.#catch_up.mayAnswer(from, now_ms))
      this.#sendTimeout(this.#state.promised, from, out);
    // A member asks for view v only after a quorum brought it into v - 1.
    if (body.view > this.#state.view + 1) this.#enterView(body.view - 1, now_ms, out);
    this.#countTimeouts(body.view, now_ms, out);
  }

  #countTimeouts(view: number, now_ms: number, out: Sink<ElectionEffect>): void {
    if (view < this.#state.view || this.#timeouts.count(view) < this.ballots.quorum) return;
    if (view > this.#state.view) this.#enterView(view, now_ms, out);
    if (!this.isLeader || this.#mandate === view || this.changingView) return;
    this.#mandate = view;
    const lock = this.#timeouts.highestLock(view, this.step);
    if (this.pending || !lock) return;
    out.push(log("info", "proposed_again", { round: this.#state.round, view, step: this.step }));
    this.propose(lock.proposal.content, now_ms, out);
  }

  #onProposal(
    from: PublicKey,
    proposal: Proposal,
    now_ms: number,
    out: Sink<ElectionEffect>,
  ): void {
    const state = this.#state;
    const index = STEPS.indexOf(proposal.step);
    if (proposal.round > state.round) this.#catch_up.ask(from, this.#state, now_ms, out);
    else if (proposal.round < state.round || index < state.decided.length)
      this.#catch_up.help(from, { round: proposal.round, decided: index }, state, now_ms, out);
    else if (proposal.view >= state.promised && this.ballots.checkProposal(proposal)) {
      if (proposal.view > state.view) this.#enterView(proposal.view, now_ms, out);
      if (this.#isSecond(proposal, out)) return;
      if (index > state.decided.length) this.#catch_up.ask(from, this.#state, now_ms, out);
      else if (this.pending?.content !== proposal.content) this.#setPending(proposal, now_ms, out);
      else if (this.acknowledged) this.acknowledge(state.lock!.result_hash, now_ms, out);
    }
  }

  /** Keeps the proof if the leader signed two contents for one term; the first stands. */
  #isSecond(proposal: Proposal, out: Sink<ElectionEffect>): boolean {
    const term = `${proposal.view}/${proposal.step}`;
    const first = this.#seen.get(term);
    if (!first) this.#seen.set(term, proposal);
    if (!first || first.content === proposal.content) return false;
    const public_key = leaderOf(this.ballots.members, proposal.round, proposal.view);
    const evidence = { kind: "equivocation" as const, public_key, first, second: proposal };
    out.push({ type: "evidence", evidence });
    return true;
  }

  #setPending(proposal: Proposal, now_ms: number, out: Sink<ElectionEffect>): void {
    this.#progress_ms = now_ms;
    this.pending = proposal;
    const { lock } = this.#state;
    if (lock?.proposal.view !== proposal.view || lock.proposal.content !== proposal.content) return;
    // After a restart the durable promise for this very term only has to be said again.
    this.pending = lock.proposal;
    this.acknowledge(lock.result_hash, now_ms, out);
  }

  #onAck(from: PublicKey, ack: Ack, now_ms: number, out: Sink<ElectionEffect>): void {
    const at = { round: ack.round, decided: 0 };
    if (ack.round < this.#state.round) this.#catch_up.help(from, at, this.#state, now_ms, out);
    if (!this.isLeader || !this.ballots.checkAck(ack, from)) return;
    this.#countAck(from, ack, now_ms, out);
  }

  #countAck(from: PublicKey, ack: Ack, now_ms: number, out: Sink<ElectionEffect>): void {
    const proposal = this.pending;
    if (!proposal || ack.round !== proposal.round || ack.view !== proposal.view) return;
    if (ack.step !== proposal.step || ack.content_hash !== contentHash(proposal.content)) return;
    this.#acks.set(from, ack);
    const equal = [...this.#acks].filter(([, other]) => other.result_hash === ack.result_hash);
    if (equal.length < this.ballots.quorum) return;
    const acks = equal.map(([public_key, { signature }]) => ({ public_key, signature }));
    const certificate = { proposal, result_hash: ack.result_hash, acks };
    this.#decide(certificate, now_ms, out);
    const body = { certificates: [certificate] };
    out.push({ type: "broadcast", message: { type: "election.certificates", body } });
  }

  #learn(certificate: Certificate, now_ms: number, out: Sink<ElectionEffect>): void {
    const { round, step } = certificate.proposal;
    const index = STEPS.indexOf(step);
    const wanted =
      round === this.#state.round
        ? index === this.#state.decided.length || step === "merge"
        : round > this.#state.round && step === "merge";
    if (wanted && this.ballots.checkCertificate(certificate))
      this.#decide(certificate, now_ms, out);
  }

  #decide(certificate: Certificate, now_ms: number, out: Sink<ElectionEffect>): void {
    const { proposal, result_hash } = certificate;
    const { round, view, step } = proposal;
    const state = this.#state;
    if (step === "merge") {
      this.#state = { ...initialElection(), round: round + 1, head: certificate };
      this.view_since_ms = now_ms;
      this.#mandate = 0;
      this.#timeouts.clear();
      this.#seen.clear();
    } else {
      state.decided = [...state.decided, certificate];
      state.lock = null;
    }
    this.#persist(out);
    this.pending = null;
    this.#acks.clear();
    this.#progress_ms = this.step_since_ms = now_ms;
    out.push(log("info", "decided", { round, view, step, result: result_hash }));
  }

  #isCurrent(proposal: Proposal): boolean {
    const { round, view, promised } = this.#state;
    if (proposal.round !== round || proposal.view !== view || promised !== view) return false;
    return proposal.step === this.step;
  }

  /** A copy: the state changes in place, what was persisted must not. */
  #persist(out: Sink<ElectionEffect>): void {
    out.push({ type: "persist", key: "election", value: { ...this.#state } });
  }
}

const log = (level: LogEffect["level"], event: string, fields: LogEffect["fields"]): LogEffect => ({
  type: "log",
  level,
  event,
  fields,
});
