/**
 * The payments that a server has taken, durable: one row for each (payer, nonce), written before the
 * money moves and updated as it does. It answers three questions after any crash: was this payment
 * used, was it answered, and is something still owed for it.
 *
 *   settling -> settled -> answered      the ordinary way
 *   settling -> (row removed)            the payment failed for certain: nothing was taken
 *   settled  -> credit                   taken, and the answer failed: it is owed
 *   credit   -> redeeming -> answered    the credit was used
 *   redeeming -> credit                  that failed too
 */
import type { Database } from "bun:sqlite";
import { openDatabase } from "../../core/database.ts";
import { MagnetError } from "../../core/errors.ts";
import type { Payment } from "./payment-header.ts";

export type PaymentState = "settling" | "settled" | "answered" | "credit" | "redeeming";

/** A row; amounts as decimal strings. */
export interface PaymentRecord {
  payer: string;
  nonce: string;
  state: PaymentState;
  amount: string;
  pay_to: string;
  valid_before: string;
  /** SHA-256 of the request that it was sent with: that request may be repeated. */
  request_hash: string;
  route: string;
  created_ms: number;
  /** The chain's height when the payment was claimed. */
  block: number;
  transaction_hash: string | null;
  updated_ms: number;
}

const VERSION = 1;
const TABLES = `
CREATE TABLE IF NOT EXISTS payments (
  payer TEXT NOT NULL, nonce TEXT NOT NULL, state TEXT NOT NULL, amount TEXT NOT NULL,
  pay_to TEXT NOT NULL, valid_before TEXT NOT NULL, request_hash TEXT NOT NULL,
  route TEXT NOT NULL, created_ms INTEGER NOT NULL, block INTEGER NOT NULL,
  transaction_hash TEXT, updated_ms INTEGER NOT NULL, PRIMARY KEY (payer, nonce)) STRICT;
CREATE INDEX IF NOT EXISTS open_payments ON payments (state) WHERE state != 'answered';
`;

export type PaymentKey = Pick<PaymentRecord, "payer" | "nonce">;

export interface Totals {
  payments: number;
  /** Settled money, decimal base units. */
  amount: bigint;
  credits: number;
}

export class PaymentStore {
  readonly #database: Database;

  /** Opens or creates the file (":memory:" for none). Throws PAYMENT_STORE, DISK_FULL. */
  constructor(file: string) {
    this.#database = openDatabase({
      ...{ file, version: VERSION, tables: TABLES },
      durable: false, // but for the one write that must be, see `claim`
      // Two servers on one file would each restore what the other is working on.
      exclusive: true,
      unusable: (message, cause) =>
        new MagnetError("PAYMENT_STORE", message, {
          hint: "is another paid server running on this data folder? never delete the file: it says which payments are owed",
          cause,
        }),
    });
  }

  /** What a crash left: answers that were being made are owed. Returns how many. */
  recover(now_ms: number): number {
    const { changes } = this.#database
      .query(
        "UPDATE payments SET state = 'credit', updated_ms = ? WHERE state IN ('settled', 'redeeming')",
      )
      .run(now_ms);
    return changes;
  }

  get({ payer, nonce }: PaymentKey): PaymentRecord | undefined {
    const found = this.#database
      .query("SELECT * FROM payments WHERE payer = ? AND nonce = ?")
      .get(payer, nonce);
    return (found ?? undefined) as PaymentRecord | undefined;
  }

  /** Claims a payment before anything moves; false where it is known already. */
  claim(
    payment: Payment,
    facts: Pick<PaymentRecord, "request_hash" | "route" | "block">,
    now_ms: number,
  ): boolean {
    // The one write that must outlast a power failure: without it money would come for nothing.
    this.#database.run("PRAGMA synchronous = FULL");
    try {
      const { changes } = this.#database
        .query(
          `INSERT OR IGNORE INTO payments VALUES
           (?, ?, 'settling', ?, ?, ?, ?, ?, ?, ?, NULL, ?)`,
        )
        .run(
          ...[payment.payer, payment.nonce, payment.value.toString(), payment.to],
          ...[payment.valid_before.toString(), facts.request_hash, facts.route],
          ...[now_ms, facts.block, now_ms],
        );
      return changes === 1;
    } finally {
      this.#database.run("PRAGMA synchronous = NORMAL");
    }
  }

  /** Moves a payment on; false where it was not in `from`. */
  move(key: PaymentKey, from: PaymentState, to: PaymentState, now_ms: number): boolean {
    const { changes } = this.#database
      .query(
        "UPDATE payments SET state = ?, updated_ms = ? WHERE payer = ? AND nonce = ? AND state = ?",
      )
      .run(to, now_ms, key.payer, key.nonce, from);
    return changes === 1;
  }

  setTransaction({ payer, nonce }: PaymentKey, hash: string): void {
    this.#database
      .query("UPDATE payments SET transaction_hash = ? WHERE payer = ? AND nonce = ?")
      .run(hash, payer, nonce);
  }

  /** Forgets a payment that can no longer be taken. */
  remove({ payer, nonce }: PaymentKey): void {
    this.#database
      .query("DELETE FROM payments WHERE payer = ? AND nonce = ? AND state = 'settling'")
      .run(payer, nonce);
  }

  inState(state: PaymentState, limit = 1000): PaymentRecord[] {
    return this.#database
      .query("SELECT * FROM payments WHERE state = ? ORDER BY created_ms LIMIT ?")
      .all(state, limit) as PaymentRecord[];
  }

  /** Amounts can exceed SQLite's integers: they are added here. */
  totals(): Totals {
    const totals: Totals = { payments: 0, amount: 0n, credits: 0 };
    const rows = this.#database
      .query("SELECT state, amount, count(*) AS n FROM payments GROUP BY state, amount")
      .all() as { state: PaymentState; amount: string; n: number }[];
    for (const { state, amount, n } of rows) {
      if (state === "settling") continue;
      totals.payments += n;
      totals.amount += BigInt(amount) * BigInt(n);
      if (state === "credit" || state === "redeeming") totals.credits += n;
    }
    return totals;
  }

  close(): void {
    this.#database.close();
  }
}
