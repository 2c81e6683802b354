/**
 * Transactions that the machine wants. The queue behind it sends each key at most once and follows it
 * through restarts and reorganisations; here only what did not work is tried again under a new key, as
 * long as the chain still shows the need.
 */
import type { Sink } from "../../network/effects.ts";
import type { LedgerCall, LedgerEffect, TransactionStatus } from "./ledger-types.ts";

/** A reverted call is worth trying again only where the chain has moved on meanwhile. */
const ATTEMPTS_MAX = 6;
/** Keys remembered; the oldest is forgotten, and the queue still knows it. */
const KEYS_MAX = 2048;

interface Attempt {
  number: number;
  status: TransactionStatus | "pending";
  at_ms: number;
  reason: string;
}

export class Submitter {
  readonly #attempts = new Map<string, Attempt>();

  /** `retry_ms`: from the end of an attempt to the next one. */
  constructor(private readonly retry_ms: number) {}

  /**
   * Asks for a transaction once; again after a failure, or where it had no visible effect. `once`: what
   * it does is not visible in any view, or others may have done it: only a failure is tried again.
   */
  want(key: string, call: LedgerCall, now_ms: number, out: Sink<LedgerEffect>, once = false): void {
    const last = this.#attempts.get(key);
    if (last?.status === "pending" || (once && last && last.status !== "failed")) return;
    if (last !== undefined) {
      const patience_ms = this.retry_ms * (last.status === "confirmed" ? 4 : 1 + last.number);
      if (now_ms - last.at_ms < patience_ms || last.number + 1 >= ATTEMPTS_MAX) return;
    }
    const number = last === undefined ? 0 : last.number + 1;
    this.#attempts.set(key, { number, status: "pending", at_ms: now_ms, reason: "" });
    if (this.#attempts.size > KEYS_MAX) this.#attempts.delete([...this.#attempts.keys()][0]!);
    out.push({ type: "submit", key: attemptKey(key, number), call });
  }

  /** What became of a key; of an attempt that is not the newest, nothing is changed. */
  outcome(key: string, status: TransactionStatus, reason: string, now_ms: number): void {
    const [name, number] = parseKey(key);
    const attempt = this.#attempts.get(name);
    if (!attempt || attempt.number !== number) return;
    this.#attempts.set(name, { number, status, at_ms: now_ms, reason });
  }

  /** For people: "waits to be mined", "reverted: WindowClosed"; undefined where nothing was sent. */
  state(key: string): string | undefined {
    const attempt = this.#attempts.get(key);
    if (attempt === undefined) return undefined;
    if (attempt.status === "pending") return "its transaction waits to be mined";
    if (attempt.status === "confirmed") return "its transaction is mined";
    return `its transaction ${attempt.status}: ${attempt.reason}`;
  }
}

const attemptKey = (key: string, number: number) => (number === 0 ? key : `${key}#${number}`);

function parseKey(key: string): [name: string, number: number] {
  const at = key.lastIndexOf("#");
  return at < 0 ? [key, 0] : [key.slice(0, at), Number(key.slice(at + 1))];
}
