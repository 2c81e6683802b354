/**
 * The queue's SQLite file: transactions, their signed forms, events. Written with a full sync before
 * anything is sent, so a transaction that may be on its way is never forgotten. The node and a
 * command beside it may have it open together: nonces are given out in one exclusive transaction.
 */
import type { Database } from "bun:sqlite";
import type { Address, Hex } from "viem";
import { openDatabase } from "../../core/database.ts";
import { MagnetError } from "../../core/errors.ts";
import type {
  Attempt,
  Entry,
  QueueEvent,
  QueueEventKind,
  Reason,
  Submission,
} from "./queue-types.ts";

const VERSION = 1;
const TABLES = `
CREATE TABLE IF NOT EXISTS transactions (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, what TEXT NOT NULL,
  recipient TEXT, data TEXT NOT NULL, value TEXT NOT NULL, gas TEXT, nonce INTEGER,
  pinned INTEGER NOT NULL, not_before_s INTEGER, deadline_s INTEGER, state TEXT NOT NULL,
  final INTEGER NOT NULL DEFAULT 0, reason TEXT, tx_hash TEXT, block_number INTEGER,
  block_hash TEXT, gas_used INTEGER, missing_since_ms INTEGER, missing_since_block INTEGER,
  created_ms INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS live ON transactions (final, seq);
CREATE INDEX IF NOT EXISTS by_nonce ON transactions (nonce);
CREATE TABLE IF NOT EXISTS attempts (
  hash TEXT PRIMARY KEY, key TEXT NOT NULL, nonce INTEGER NOT NULL, raw TEXT NOT NULL,
  max_fee TEXT NOT NULL, tip TEXT NOT NULL, gas TEXT NOT NULL, sent_block INTEGER NOT NULL,
  cancels INTEGER NOT NULL, made INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS attempts_by_key ON attempts (key);
CREATE TABLE IF NOT EXISTS events (
  id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, key TEXT NOT NULL,
  what TEXT NOT NULL, kind TEXT NOT NULL, tx_hash TEXT, reason TEXT) STRICT;
`;

type Row = Record<string, string | number | null>;
/** Fields of an entry that change. */
export type Change = Partial<
  Pick<
    Entry,
    | "nonce"
    | "state"
    | "final"
    | "reason"
    | "tx_hash"
    | "block_number"
    | "block_hash"
    | "gas_used"
    | "missing_since_ms"
    | "missing_since_block"
  >
>;

const big = (text: unknown): bigint => BigInt(text as string);

function entryOf(row: Row): Entry {
  return {
    key: row.key as string,
    what: row.what as string,
    to: row.recipient as Address | null,
    data: row.data as Hex,
    value: big(row.value),
    gas: row.gas === null ? null : big(row.gas),
    nonce: row.nonce as number | null,
    pinned: row.pinned === 1,
    not_before_s: row.not_before_s as number | null,
    deadline_s: row.deadline_s as number | null,
    state: row.state as Entry["state"],
    final: row.final === 1,
    reason: row.reason === null ? null : (JSON.parse(row.reason as string) as Reason),
    tx_hash: row.tx_hash as Hex | null,
    block_number: row.block_number as number | null,
    block_hash: row.block_hash as Hex | null,
    gas_used: row.gas_used as number | null,
    missing_since_ms: row.missing_since_ms as number | null,
    missing_since_block: row.missing_since_block as number | null,
    created_ms: row.created_ms as number,
  };
}

const attemptOf = (row: Row): Attempt => ({
  hash: row.hash as Hex,
  nonce: row.nonce as number,
  raw: row.raw as Hex,
  max_fee: big(row.max_fee),
  tip: big(row.tip),
  gas: big(row.gas),
  sent_block: row.sent_block as number,
  cancels: row.cancels === 1,
});

const eventOf = (row: Row): QueueEvent => ({
  ...(row as unknown as QueueEvent),
  reason: row.reason === null ? null : (JSON.parse(row.reason as string) as Reason),
});

export class QueueStore {
  private readonly database: Database;

  /** Opens or creates the file (":memory:" for none). Throws QUEUE_FILE, DISK_FULL. */
  constructor(file: string) {
    this.database = openDatabase({
      ...{ file, version: VERSION, tables: TABLES },
      // Sending follows the write: what a power failure forgets would be sent a second time.
      durable: true,
      unusable: (message, cause) =>
        new MagnetError("QUEUE_FILE", message, {
          hint: "move the file away only if no transaction of this node is on its way",
          exit: "chain",
          cause,
        }),
    });
  }

  /** Runs `body` alone among all processes that have the file open. */
  exclusively<T>(body: () => T): T {
    return this.database.transaction(body).immediate();
  }

  get(key: string): Entry | undefined {
    const row = this.database
      .query("SELECT * FROM transactions WHERE key = ?")
      .get(key) as Row | null;
    return row === null ? undefined : entryOf(row);
  }

  /** Everything that can still change, oldest submission first. */
  live(): Entry[] {
    return (
      this.database.query("SELECT * FROM transactions WHERE final = 0 ORDER BY seq").all() as Row[]
    ).map(entryOf);
  }

  /** The newest transactions, for status. */
  recent(count: number): Entry[] {
    const sql = "SELECT * FROM transactions ORDER BY seq DESC LIMIT ?";
    return (this.database.query(sql).all(count) as Row[]).map(entryOf);
  }

  add(submission: Submission, now_ms: number): void {
    const { key, what, to, data, value, gas, nonce, not_before_s, deadline_s } = submission;
    this.database
      .query(
        `INSERT INTO transactions (key, what, recipient, data, value, gas, nonce, pinned,
         not_before_s, deadline_s, state, created_ms) VALUES (?,?,?,?,?,?,?,?,?,?,'queued',?)`,
      )
      .run(
        ...[key, what, to, data, String(value ?? 0n), gas === undefined ? null : String(gas)],
        ...[nonce ?? null, nonce === undefined ? 0 : 1, not_before_s ?? null, deadline_s ?? null],
        now_ms,
      );
  }

  /** Forgets a transaction that was given up, so that its key may be used again. */
  remove(key: string): void {
    this.database.query("DELETE FROM attempts WHERE key = ?").run(key);
    this.database.query("DELETE FROM transactions WHERE key = ?").run(key);
  }

  update(key: string, change: Change): void {
    const names = Object.keys(change) as (keyof Change)[];
    const values = names.map((name) => {
      const value = change[name];
      if (name === "reason") return value === null ? null : JSON.stringify(value);
      return typeof value === "boolean" ? Number(value) : value;
    });
    const columns = names.map((name) => `${name} = ?`).join(", ");
    this.database
      .query(`UPDATE transactions SET ${columns} WHERE key = ?`)
      .run(...(values as (string | number | null)[]), key);
  }

  /** Newest last. */
  attempts(key: string): Attempt[] {
    const sql = "SELECT * FROM attempts WHERE key = ? ORDER BY made";
    return (this.database.query(sql).all(key) as Row[]).map(attemptOf);
  }

  addAttempt(key: string, attempt: Attempt): void {
    const { hash, nonce, raw, max_fee, tip, gas, sent_block, cancels } = attempt;
    this.database
      .query(
        `INSERT OR IGNORE INTO attempts (hash, key, nonce, raw, max_fee, tip, gas, sent_block,
         cancels, made) VALUES (?,?,?,?,?,?,?,?,?, (SELECT count(*) FROM attempts WHERE key = ?))`,
      )
      .run(
        ...[hash, key, nonce, raw, String(max_fee), String(tip), String(gas)],
        ...[sent_block, Number(cancels), key],
      );
  }

  removeAttempt(hash: Hex): void {
    this.database.query("DELETE FROM attempts WHERE hash = ?").run(hash);
  }

  touchAttempt(hash: Hex, sent_block: number): void {
    this.database.query("UPDATE attempts SET sent_block = ? WHERE hash = ?").run(sent_block, hash);
  }

  /** The highest nonce given out to a transaction that is signed and not final; -1 where none is. */
  highestNonce(): number {
    const sql = "SELECT max(nonce) AS top FROM transactions WHERE final = 0 AND state <> 'queued'";
    const { top } = this.database.query(sql).get() as Row;
    return top === null ? -1 : Number(top);
  }

  /** Who was given a nonce last. */
  byNonce(nonce: number): Entry | undefined {
    const sql = "SELECT * FROM transactions WHERE nonce = ? ORDER BY seq DESC LIMIT 1";
    const row = this.database.query(sql).get(nonce) as Row | null;
    return row === null ? undefined : entryOf(row);
  }

  addEvent(
    entry: Pick<Entry, "key" | "what">,
    event: Pick<QueueEvent, "at_ms" | "kind" | "tx_hash" | "reason">,
  ) {
    const { at_ms, kind, tx_hash, reason } = event;
    this.database
      .query("INSERT INTO events (at_ms, key, what, kind, tx_hash, reason) VALUES (?,?,?,?,?,?)")
      .run(
        at_ms,
        entry.key,
        entry.what,
        kind,
        tx_hash,
        reason === null ? null : JSON.stringify(reason),
      );
  }

  lastEventId(): number {
    return Number((this.database.query("SELECT max(id) AS id FROM events").get() as Row).id ?? 0);
  }

  eventsAfter(id: number): QueueEvent[] {
    const sql = "SELECT * FROM events WHERE id > ? ORDER BY id";
    return (this.database.query(sql).all(id) as Row[]).map(eventOf);
  }

  lastEvent(key: string): { kind: QueueEventKind; reason: Reason | null } | undefined {
    const sql = "SELECT * FROM events WHERE key = ? ORDER BY id DESC LIMIT 1";
    const row = this.database.query(sql).get(key) as Row | null;
    return row === null ? undefined : eventOf(row);
  }

  /** Keeps the newest `kept` final transactions, and as many events twice over. */
  prune(kept: number): void {
    const old = `SELECT key FROM transactions WHERE final = 1 ORDER BY seq DESC LIMIT -1 OFFSET ${kept}`;
    this.exclusively(() => {
      this.database.run(`DELETE FROM attempts WHERE key IN (${old})`);
      this.database.run(`DELETE FROM transactions WHERE key IN (${old})`);
      this.database.run(
        `DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ${2 * kept}`,
      );
    });
  }

  close(): void {
    this.database.close();
  }
}
