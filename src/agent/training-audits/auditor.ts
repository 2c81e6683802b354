/**
 * This node as an auditor of training: does the audits that are due, a few at a time, and hands
 * over what it cannot do to the next auditor of the draw. An audit stays due until its outcome is
 * in the book, so a restart in the middle begins it again.
 */
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import type { JobSpec } from "../job.ts";
import { pause } from "./audit-files.ts";
import type { NotedCase, TrainingAudit } from "./book.ts";
import { AUDIT_WINDOW_MS } from "./draw.ts";
import { type ExamineContext, examine, type Outcome } from "./examine.ts";
import { takeOverRequest } from "./messages.ts";

/** Audits whose files are fetched while others wait for the trainer. */
const ACTIVE_MAX = 4;
/** An audit begun later could find that its author no longer keeps the files. */
const LATE_MS = AUDIT_WINDOW_MS / 2;
const REQUEST_MS = 10_000;
/** The next auditor may promote the round a little later than this node. */
const ASKS = 5;
const ASK_PAUSE_MS = 2000;

/** A job as this node has it; "coming" while it is being prepared. */
export type KnownJob = JobSpec | "coming" | "none";

export interface AuditorContext extends ExamineContext {
  self: PublicKey;
  jobOf(job_id: Hash): KnownJob;
  /** Ended when the node closes. */
  signal: AbortSignal;
  /** Fulfilled while no files of audits are being deleted. */
  idle(): Promise<void>;
  now_ms(): number;
  log: Log;
  /** An audit of this node has this outcome. */
  ended(noted: NotedCase, audit: TrainingAudit, outcome: Outcome): void;
}

const keyOf = ({ round, author }: TrainingAudit) => `${round}/${author}`;

export class TrainingAuditor {
  readonly #context: AuditorContext;
  readonly #active = new Map<string, TrainingAudit>();

  constructor(context: AuditorContext) {
    this.#context = context;
  }

  /** Audits that are being done. */
  get active(): TrainingAudit[] {
    return [...this.#active.values()];
  }

  /** Begins what is due, as much as may be under way at once. */
  wake(): void {
    const { book, signal, log } = this.#context;
    for (const audit of signal.aborted ? [] : book.due()) {
      if (this.#active.size >= ACTIVE_MAX) return;
      const key = keyOf(audit);
      if (this.#active.has(key) || this.#mustWait(audit)) continue;
      this.#active.set(key, audit);
      this.#do(audit)
        .catch((error) => {
          if (signal.aborted) return; // still due
          log.warn("training_audit_failed", { reason: toMagnetError(error).message });
        })
        .finally(() => {
          this.#active.delete(key);
          this.wake();
        });
    }
  }

  /** After a restart the job is prepared first. */
  #mustWait({ round, author, noted_ms }: TrainingAudit): boolean {
    const { book, jobOf, now_ms } = this.#context;
    const noted = book.case(round, author);
    return (
      noted !== undefined && now_ms() < noted_ms + LATE_MS && jobOf(noted.value.job_id) === "coming"
    );
  }

  async #do(audit: TrainingAudit): Promise<void> {
    const { book, now_ms, ended, log, idle } = this.#context;
    const { round, author } = audit;
    await idle();
    const noted = book.case(round, author);
    let outcome: Outcome = { state: "not_auditable", reason: "its round is forgotten here" };
    if (noted) outcome = await this.#outcomeOf(audit, noted);
    book.finish(audit, outcome, now_ms());
    const { state, reason } = outcome;
    const is_second = audit.claimer !== null;
    const level = state === "wrong" ? "warn" : "debug";
    log[level]("training_audited", { round, author, state, reason, is_second });
    if (noted) ended(noted, audit, outcome);
  }

  async #outcomeOf(audit: TrainingAudit, noted: NotedCase): Promise<Outcome> {
    const { signal, jobOf, now_ms } = this.#context;
    if (now_ms() >= audit.noted_ms + LATE_MS)
      return { state: "not_auditable", reason: "this node was away, or busy for too long" };
    const job = jobOf(noted.value.job_id);
    const { author } = audit;
    const sources = audit.claimer === null ? [author] : [audit.claimer, author];
    let outcome: Outcome;
    try {
      if (typeof job === "string") outcome = { state: "handed_over", reason: "no such job here" };
      else outcome = await examine(this.#context, { noted, job, sources, signal });
    } catch (error) {
      signal.throwIfAborted();
      outcome = { state: "handed_over", reason: toMagnetError(error).message };
    }
    // Of a second look the claimer hears, and asks the next one itself.
    if (outcome.state !== "handed_over" || audit.claimer !== null) return outcome;
    if (await this.#handOver(noted)) return outcome;
    return { state: "not_auditable", reason: outcome.reason };
  }

  /** True once one of the auditors behind this node has taken the audit. */
  async #handOver({ value }: NotedCase): Promise<boolean> {
    const { self, transport, signal } = this.#context;
    const { round, author, auditors } = value;
    const { request, response } = takeOverRequest;
    const limits = { timeout_ms: REQUEST_MS, signal };
    for (const next of auditors.slice(auditors.indexOf(self) + 1))
      for (let asked = 0; asked < ASKS; asked++) {
        try {
          const answer = await transport.request(next, request.type, { round, author }, limits);
          if (response.schema.parse(answer).taken) return true;
          break; // it cannot either
        } catch {
          await pause(signal, ASK_PAUSE_MS); // not there, or not as far yet
        }
      }
    return false;
  }

  /** An auditor before this one in the order cannot do an audit. Throws AUDIT_UNKNOWN. */
  takeOver(from: PublicKey, round: number, author: PublicKey): boolean {
    const { book, self, jobOf, now_ms } = this.#context;
    const noted = book.case(round, author);
    if (!noted)
      throw new MagnetError("AUDIT_UNKNOWN", "this audit is not known here", { retryable: true });
    const { auditors, job_id } = noted.value;
    const before = auditors.indexOf(from);
    if (before < 0 || before >= auditors.indexOf(self)) return false;
    if (jobOf(job_id) === "none") return false;
    book.addDue(round, author, null, now_ms());
    this.wake();
    return true;
  }
}
