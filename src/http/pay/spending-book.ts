/**
 * What this machine has spent on paid answers, durable and shared by all its processes: every
 * payment is entered before it is sent, and the limits are checked in the same transaction, so that
 * neither a crash nor two programs at once can spend more. A payment whose fate is not known counts
 * as spent; one that the server refused counts until its authorization can no longer be used.
 */
import type { Database } from "bun:sqlite";
import path from "node:path";
import { formatMag } from "../../chain/amounts.ts";
import { openDatabase } from "../../core/database.ts";
import { MagnetError } from "../../core/errors.ts";

export interface SpendingCaps {
  per_request: bigint;
  per_session: bigint;
  /** Of a day in UTC. */
  per_day: bigint;
}

export type PurchaseState = "sent" | "paid" | "refused";

/** A payment as it is entered. */
export interface Purchase {
  /** Of the authorization, 0x and hex: its name here. */
  nonce: string;
  session: string;
  /** Origin of the server. */
  url: string;
  /** The server's address on the chain, lower case. */
  server: string;
  network: string;
  asset: string;
  pay_to: string;
  payer: string;
  amount: bigint;
  valid_before_s: number;
}

export interface KeptPurchase extends Omit<Purchase, "amount"> {
  amount: string;
  created_ms: number;
  state: PurchaseState;
  transaction_hash: string | null;
  /** The server's signed statement that it owes an answer, JSON. */
  credit: string | null;
  /** The serving receipt that was signed, JSON. */
  receipt: string | null;
  receipt_sent: number;
  /** 1: it was answered, and nothing is owed any more. */
  closed: number;
}

const VERSION = 1;
const TABLES = `
CREATE TABLE IF NOT EXISTS purchases (
  nonce TEXT PRIMARY KEY, session TEXT NOT NULL, url TEXT NOT NULL, server TEXT NOT NULL,
  network TEXT NOT NULL, asset TEXT NOT NULL, pay_to TEXT NOT NULL, payer TEXT NOT NULL,
  amount TEXT NOT NULL, valid_before_s INTEGER NOT NULL, day TEXT NOT NULL,
  created_ms INTEGER NOT NULL, state TEXT NOT NULL, transaction_hash TEXT, credit TEXT,
  receipt TEXT, receipt_sent INTEGER NOT NULL DEFAULT 0,
  closed INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE INDEX IF NOT EXISTS purchases_by_day ON purchases (day);
CREATE INDEX IF NOT EXISTS purchases_by_session ON purchases (session);
`;

export interface Spent {
  session: bigint;
  day: bigint;
}

const dayOf = (ms: number) => new Date(ms).toISOString().slice(0, 10);

export const spendingFile = (data_dir: string): string =>
  path.join(data_dir, "pay", "spending.sqlite");

export class SpendingBook {
  readonly #database: Database;

  /** Opens or creates the file (":memory:" for none). Throws SPENDING_BOOK, DISK_FULL. */
  constructor(file: string) {
    this.#database = openDatabase({
      ...{ file, version: VERSION, tables: TABLES },
      durable: true,
      unusable: (message, cause) =>
        new MagnetError("SPENDING_BOOK", message, {
          hint: "nothing is paid while it cannot be read: it holds what was spent today",
          cause,
        }),
    });
  }

  /** What counts against the limits now. */
  spent(session: string, now_ms: number): Spent {
    return {
      session: this.#sum("session", session, now_ms),
      day: this.#sum("day", dayOf(now_ms), now_ms),
    };
  }

  #sum(column: "session" | "day", value: string, now_ms: number): bigint {
    const rows = this.#database
      .query(
        `SELECT amount FROM purchases WHERE ${column} = ?
         AND (state != 'refused' OR valid_before_s > ?)`,
      )
      .all(value, Math.floor(now_ms / 1000)) as { amount: string }[];
    return rows.reduce((sum, { amount }) => sum + BigInt(amount), 0n);
  }

  /** Throws SPENDING_CAP, naming the limit, where `amount` is too much. */
  check(amount: bigint, caps: SpendingCaps, session: string, now_ms: number): void {
    const spent = this.spent(session, now_ms);
    const over = (what: string, sum: bigint, cap: bigint, setting: string) => {
      if (sum <= cap) return;
      const asked = `${formatMag(amount)} MAG would be ${formatMag(sum)} ${what}`;
      throw new MagnetError("SPENDING_CAP", `${asked}; the limit is ${formatMag(cap)}`, {
        hint: `raise it for this run with ${setting}, or in the configuration (pay)`,
        exit: "usage",
      });
    };
    over("for one request", amount, caps.per_request, "--max-per-request");
    over("in this session", spent.session + amount, caps.per_session, "--max-per-session");
    over("today", spent.day + amount, caps.per_day, "--max-per-day");
  }

  /** Enters a payment before it is sent. Throws SPENDING_CAP. */
  enter(purchase: Purchase, caps: SpendingCaps, now_ms: number): void {
    const enter = this.#database.transaction(() => {
      this.check(purchase.amount, caps, purchase.session, now_ms);
      this.#database
        .query(
          `INSERT INTO purchases (nonce, session, url, server, network, asset, pay_to, payer,
           amount, valid_before_s, day, created_ms, state)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'sent')`,
        )
        .run(
          ...[purchase.nonce, purchase.session, purchase.url, purchase.server, purchase.network],
          ...[purchase.asset, purchase.pay_to, purchase.payer, purchase.amount.toString()],
          ...[purchase.valid_before_s, dayOf(now_ms), now_ms],
        );
    });
    enter.immediate();
  }

  get(nonce: string): KeptPurchase | undefined {
    const row = this.#database.query("SELECT * FROM purchases WHERE nonce = ?").get(nonce);
    return (row ?? undefined) as KeptPurchase | undefined;
  }

  paid(nonce: string, transaction: string): void {
    this.#database
      .query("UPDATE purchases SET state = 'paid', transaction_hash = ? WHERE nonce = ?")
      .run(transaction, nonce);
  }

  refused(nonce: string): void {
    this.#database
      .query("UPDATE purchases SET state = 'refused' WHERE nonce = ? AND state = 'sent'")
      .run(nonce);
  }

  /** Null: it was redeemed, or there is none. */
  setCredit(nonce: string, credit: object | null): void {
    this.#database
      .query("UPDATE purchases SET credit = ? WHERE nonce = ?")
      .run(credit === null ? null : JSON.stringify(credit), nonce);
  }

  /** An answer that this server owes and that pays for `price`; the smallest that does. */
  creditOf(server: string, asset: string, payer: string, price: bigint): KeptPurchase | undefined {
    const rows = this.#database
      .query(
        "SELECT * FROM purchases WHERE credit IS NOT NULL AND server = ? AND asset = ? AND payer = ?",
      )
      .all(server, asset, payer) as KeptPurchase[];
    return rows
      .filter(({ amount }) => BigInt(amount) >= price)
      .sort((a, b) => Number(BigInt(a.amount) - BigInt(b.amount)))[0];
  }

  closed(nonce: string): void {
    this.#database.query("UPDATE purchases SET closed = 1 WHERE nonce = ?").run(nonce);
  }

  /** Payments to a server of which it is not known that they were answered; newest first. */
  open(url: string, limit = 5): KeptPurchase[] {
    return this.#database
      .query(
        `SELECT * FROM purchases WHERE url = ? AND closed = 0 AND credit IS NULL
         AND state != 'refused' ORDER BY created_ms DESC LIMIT ?`,
      )
      .all(url, limit) as KeptPurchase[];
  }

  setReceipt(nonce: string, receipt: object): void {
    this.#database
      .query("UPDATE purchases SET receipt = ? WHERE nonce = ?")
      .run(JSON.stringify(receipt), nonce);
  }

  receiptSent(nonce: string): void {
    this.#database.query("UPDATE purchases SET receipt_sent = 1 WHERE nonce = ?").run(nonce);
  }

  /** Receipts that their servers have not got yet. */
  unsentReceipts(url: string, limit = 20): KeptPurchase[] {
    return this.#database
      .query(
        `SELECT * FROM purchases WHERE url = ? AND receipt IS NOT NULL AND receipt_sent = 0
         ORDER BY created_ms LIMIT ?`,
      )
      .all(url, limit) as KeptPurchase[];
  }

  /** Newest first. */
  list(limit: number): KeptPurchase[] {
    return this.#database
      .query("SELECT * FROM purchases ORDER BY created_ms DESC LIMIT ?")
      .all(limit) as KeptPurchase[];
  }

  close(): void {
    this.#database.close();
  }
}
