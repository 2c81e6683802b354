/**
 * What this node found wrong is confirmed by another auditor of the draw, or nothing follows from
 * it: the claim is told to the next in order, again and again until it has looked for itself. The
 * other side of the same: claims of others make an audit due here, and are answered by what it
 * shows.
 */
import { MagnetError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import type { Signer, Verifier } from "../../network/signer.ts";
import type { Transport } from "../../network/transport.ts";
import type { NotedCase, NotedClaim, TrainingBook } from "./book.ts";
import { claimHolds, signClaim, signVerdict, verdictHolds } from "./claims.ts";
import { type Claim, claimRequest, type Verdict, verdictMessage } from "./messages.ts";

const REQUEST_MS = 10_000;
/** One that does not answer is given up on for the next; one that says that it works on it later. */
const SILENT_MS = 120_000;
const WORKING_MS = 3_600_000;
/** Points for a false signature, as for a corrupt blob. */
const FALSE_POINTS = 50;

export interface ClaimDeskContext {
  signer: Signer;
  verifier: Verifier;
  transport: Transport;
  book: TrainingBook;
  /** Ended when the node closes. */
  signal: AbortSignal;
  now_ms(): number;
  log: Log;
  /** An audit was made due. */
  wake(): void;
  /** Where this is new, the author is left out from now on. */
  convict(noted: NotedCase, verdict: Verdict | null): void;
}

type Answer = ReturnType<typeof claimRequest.response.schema.parse>;

/** Whom a claim is with. */
interface Asked {
  /** Place in the order of the auditors. */
  at: number;
  since_ms: number;
  heard_ms: number;
}

export class ClaimDesk {
  readonly #context: ClaimDeskContext;
  /** By claim; after a restart all are asked again from the first. */
  readonly #asked = new Map<string, Asked>();
  #asking = false;

  constructor(context: ClaimDeskContext) {
    this.#context = context;
  }

  /** This node found a contribution wrong. */
  open({ value }: NotedCase, reason: string): void {
    const { signer, book, now_ms } = this.#context;
    book.addClaim(signClaim(signer, value, reason), "open", now_ms());
  }

  /** Asks for answers to all open claims; call it every few seconds. */
  async ask(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    try {
      for (const noted of this.#context.book.claims("open")) await this.#askOne(noted);
    } finally {
      this.#asking = false;
    }
  }

  async #askOne({ claim }: NotedClaim): Promise<void> {
    const { book, signer, transport, signal, now_ms } = this.#context;
    const noted = book.case(claim.round, claim.author);
    if (!noted) return book.setClaim(claim, "unanswered");
    const { auditors } = noted.value;
    const key = `${claim.round}/${claim.author}`;
    const [since_ms, heard_ms] = [now_ms(), now_ms()];
    const first = { at: auditors.indexOf(signer.public_key) + 1, since_ms, heard_ms };
    const asked = this.#asked.get(key) ?? first;
    this.#asked.set(key, asked);
    const second = auditors[asked.at];
    if (second === undefined) return this.#unanswered(noted, claim);
    try {
      const { request, response } = claimRequest;
      const limits = { timeout_ms: REQUEST_MS, signal };
      const answer = await transport.request(second, request.type, { claim }, limits);
      asked.heard_ms = now_ms();
      this.#answered(noted, claim, second, response.schema.parse(answer));
      if (now_ms() - asked.since_ms >= WORKING_MS) this.#next(asked);
    } catch {
      if (signal.aborted) return;
      if (now_ms() - asked.heard_ms >= SILENT_MS) this.#next(asked);
    }
  }

  #next(asked: Asked): void {
    asked.at++;
    asked.since_ms = this.#context.now_ms();
    asked.heard_ms = asked.since_ms;
  }

  /** Nobody is left who could look: this node goes by its own audit, and only itself. */
  #unanswered(noted: NotedCase, claim: Claim): void {
    this.#context.book.setClaim(claim, "unanswered");
    this.#context.convict(noted, null);
  }

  #answered(noted: NotedCase, claim: Claim, second: PublicKey, answer: Answer): void {
    const { book, verifier, transport, log } = this.#context;
    const { state, reason, signature } = answer;
    const { round, author } = claim;
    if (state === "unable") this.#next(this.#asked.get(`${round}/${author}`)!);
    else if (state === "refuted") {
      book.setClaim(claim, "denied");
      log.warn("claim_denied", { round, author, second, reason });
    } else if (state === "confirmed") {
      const verdict = { claim, second, signature: signature ?? "" };
      if (!verdictHolds(verifier, noted.value, verdict)) {
        transport.penalize(second, FALSE_POINTS, "false_verdict");
        this.#next(this.#asked.get(`${round}/${author}`)!);
        return;
      }
      book.setClaim(claim, "confirmed");
      this.#spread(noted, verdict);
    }
  }

  #spread(noted: NotedCase, verdict: Verdict): void {
    this.#context.convict(noted, verdict);
    this.#context.transport.broadcast({ type: verdictMessage.type, body: verdict });
  }

  /** A claim of another auditor. Throws AUDIT_UNKNOWN, CLAIM_REFUSED. */
  receive(from: PublicKey, claim: Claim): Answer {
    const { book, signer, verifier, transport, now_ms, wake } = this.#context;
    const noted = book.case(claim.round, claim.author);
    if (!noted)
      throw new MagnetError("AUDIT_UNKNOWN", "this audit is not known here", { retryable: true });
    const { auditors } = noted.value;
    const at = auditors.indexOf(from);
    const refused = new MagnetError("CLAIM_REFUSED", "this node was not drawn to look at it");
    if (from !== claim.claimer || at < 0 || at >= auditors.indexOf(signer.public_key))
      throw refused;
    // The first one stays: who says two things is answered for the one.
    const known = book.claim(claim.round, claim.author, from);
    if (!known && !claimHolds(verifier, noted.value, claim)) {
      transport.penalize(from, FALSE_POINTS, "false_claim");
      throw refused;
    }
    if (!known) {
      book.addClaim(claim, "received", now_ms());
      book.addDue(claim.round, claim.author, from, now_ms());
      wake();
    }
    return this.#answer(noted, known?.claim ?? claim);
  }

  /** What this node's own audit says of a claim. */
  #answer(noted: NotedCase, claim: Claim): Answer {
    const { book, signer } = this.#context;
    const audit = book.audit(claim.round, claim.author);
    const none = { reason: "", signature: null };
    if (audit?.state === "due") return { state: "working", ...none };
    if (audit?.state === "passed") {
      book.setClaim(claim, "refuted");
      return { state: "refuted", reason: "the same steps give the same here", signature: null };
    }
    if (audit?.state !== "wrong") return { state: "unable", ...none };
    const verdict = signVerdict(signer, claim);
    book.setClaim(claim, "confirmed");
    this.#context.convict(noted, verdict);
    return { state: "confirmed", reason: audit.reason, signature: verdict.signature };
  }

  /** What two auditors agree on, told by anybody; passed on once. */
  hear(from: PublicKey, verdict: Verdict): void {
    const { book, verifier, transport } = this.#context;
    const { round, author } = verdict.claim;
    const noted = book.case(round, author);
    if (!noted || this.#isKnown(noted.value.job_id, author)) return;
    if (verdictHolds(verifier, noted.value, verdict)) this.#spread(noted, verdict);
    else transport.penalize(from, FALSE_POINTS, "false_verdict");
  }

  #isKnown(job_id: Hash, author: PublicKey): boolean {
    return this.#context.book
      .verdicts()
      .some((one) => one.job_id === job_id && one.author === author && one.verdict !== null);
  }
}
