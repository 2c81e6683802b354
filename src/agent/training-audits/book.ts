/**
 * What this node knows of audits of training, durable: the cases that were drawn, its own audits
 * and their outcomes, claims made and received, verdicts. An audit that was due before a restart is
 * due after it. One SQLite file of the data folder, in networks without a ledger as well.
 */
import type { Database } from "bun:sqlite";
import { openDatabase } from "../../core/database.ts";
import { MagnetError } from "../../core/errors.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import type { AuditCase } from "./audit-case.ts";
import { type Claim, REASON_MAX, type Verdict } from "./messages.ts";

const VERSION = 1;
const TABLES = `
CREATE TABLE IF NOT EXISTS cases (
  round INTEGER NOT NULL, author TEXT NOT NULL, json TEXT NOT NULL, base_params TEXT,
  noted_ms INTEGER NOT NULL, PRIMARY KEY (round, author)) STRICT;
CREATE TABLE IF NOT EXISTS audits (
  round INTEGER NOT NULL, author TEXT NOT NULL, claimer TEXT, state TEXT NOT NULL,
  reason TEXT NOT NULL, noted_ms INTEGER NOT NULL, at_ms INTEGER NOT NULL,
  PRIMARY KEY (round, author)) STRICT;
CREATE INDEX IF NOT EXISTS audits_by_state ON audits (state);
CREATE TABLE IF NOT EXISTS claims (
  round INTEGER NOT NULL, author TEXT NOT NULL, claimer TEXT NOT NULL, json TEXT NOT NULL,
  state TEXT NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (round, author, claimer)) STRICT;
CREATE TABLE IF NOT EXISTS verdicts (
  id INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT NOT NULL, author TEXT NOT NULL,
  round INTEGER NOT NULL, json TEXT, UNIQUE (job_id, author)) STRICT;
CREATE TABLE IF NOT EXISTS trails (
  author TEXT NOT NULL, trail_hash TEXT NOT NULL, round INTEGER NOT NULL,
  PRIMARY KEY (author, trail_hash)) STRICT;
CREATE TABLE IF NOT EXISTS jobs (
  job_id TEXT PRIMARY KEY, round INTEGER NOT NULL, is_whole INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS asked (
  trail_hash TEXT NOT NULL, auditor TEXT NOT NULL, at_ms INTEGER NOT NULL,
  PRIMARY KEY (trail_hash, auditor)) STRICT;
`;
/** A week is for people, and for the ledger's epochs of days. */
const KEPT_MS = 7 * 24 * 3_600_000;
/** Trails of one author: a contribution builds on the one before it, or on one a few rounds back. */
const TRAILS_KEPT = 16;
const VERDICTS_KEPT = 4096;
const JOBS_KEPT = 64;

/** A promoted round as this node saw it. */
export interface SeenRound {
  round: number;
  job_id: Hash;
  job_round: number;
  now_ms: number;
}

export type AuditState =
  | "due"
  | "passed"
  | "wrong"
  | "not_served"
  | "not_auditable"
  | "handed_over";

export interface TrainingAudit {
  round: number;
  author: PublicKey;
  /** Whose claim it looks at a second time; null for an audit of the draw. */
  claimer: PublicKey | null;
  state: AuditState;
  reason: string;
  /** When it became due. */
  noted_ms: number;
  /** When it was done. */
  at_ms: number;
}

export interface NotedCase {
  value: AuditCase;
  /** Of the round's base, as this node has it; null where it was not here. */
  base_params: Hash | null;
  noted_ms: number;
}

/**
 * Of a claim of this node: open, then confirmed, denied or unanswered. Of another's: received, then
 * confirmed or refuted by this node's own audit.
 */
export type ClaimState = "open" | "received" | "confirmed" | "denied" | "unanswered" | "refuted";

export interface NotedClaim {
  claim: Claim;
  state: ClaimState;
  at_ms: number;
}

export interface AuditCounts {
  due: number;
  passed: number;
  wrong: number;
  not_served: number;
  not_auditable: number;
  handed_over: number;
  /** Contributions that two auditors found wrong, by whomever. */
  confirmed: number;
  /** Claims of other nodes that this one could not confirm. */
  false_claims: number;
  /** Own trails that others have asked for, each counted once for each of them. */
  asked: number;
}

export class TrainingBook {
  readonly #database: Database;

  /** Opens or creates the file (":memory:" for none). Throws AUDITS_UNUSABLE, disk errors. */
  constructor(file: string) {
    this.#database = openDatabase({
      ...{ file, version: VERSION, tables: TABLES },
      durable: false,
      unusable: (message, cause) =>
        new MagnetError("AUDITS_UNUSABLE", message, {
          hint: "move the file away: this node then knows of audits from now on",
          cause,
        }),
    });
  }

  close(): void {
    this.#database.close();
  }

  /** Keeps the cases of a round and the trails of the contributions that were merged in it. */
  addRound(
    cases: readonly AuditCase[],
    trails: readonly { author: PublicKey; trail_hash: Hash }[],
    seen: SeenRound,
  ): void {
    const { round, now_ms } = seen;
    const add = this.#database.transaction(() => {
      this.#see(seen);
      for (const value of cases)
        this.#database
          .query("INSERT OR IGNORE INTO cases (round, author, json, noted_ms) VALUES (?, ?, ?, ?)")
          .run(value.round, value.author, JSON.stringify(value), now_ms);
      for (const { author, trail_hash } of trails) this.#addTrail(author, trail_hash, round);
      this.#prune(now_ms);
    });
    add();
  }

  /** A round that was missed leaves a gap in every job: it may have been of any. */
  #see({ round, job_id, job_round }: SeenRound): void {
    const query = (sql: string) => this.#database.query(sql);
    const { last } = query("SELECT max(round) AS last FROM jobs").get() as { last: number | null };
    if (last !== null && round <= last) return;
    if (last !== null && round > last + 1) query("UPDATE jobs SET is_whole = 0").run();
    query(
      "INSERT INTO jobs (job_id, round, is_whole) VALUES (?, ?, ?) " +
        "ON CONFLICT DO UPDATE SET round = excluded.round",
    ).run(job_id, round, job_round === 0 ? 1 : 0);
    query(
      "DELETE FROM jobs WHERE job_id NOT IN (SELECT job_id FROM jobs ORDER BY round DESC LIMIT ?)",
    ).run(JOBS_KEPT);
  }

  /** True if this node saw every round of the job, so that it knows all that was merged. */
  sawAll(job_id: Hash): boolean {
    const row = this.#database.query("SELECT is_whole FROM jobs WHERE job_id = ?").get(job_id);
    return (row as { is_whole: number } | null)?.is_whole === 1;
  }

  #addTrail(author: PublicKey, trail_hash: Hash, round: number): void {
    this.#database
      .query("INSERT OR IGNORE INTO trails (author, trail_hash, round) VALUES (?, ?, ?)")
      .run(author, trail_hash, round);
    this.#database
      .query(
        "DELETE FROM trails WHERE author = ? AND round <= " +
          "(SELECT round FROM trails WHERE author = ? ORDER BY round DESC LIMIT 1 OFFSET ?)",
      )
      .run(author, author, TRAILS_KEPT);
  }

  #prune(now_ms: number): void {
    for (const table of ["cases", "audits"])
      this.#database.query(`DELETE FROM ${table} WHERE noted_ms < ?`).run(now_ms - KEPT_MS);
    for (const table of ["claims", "asked"])
      this.#database.query(`DELETE FROM ${table} WHERE at_ms < ?`).run(now_ms - KEPT_MS);
  }

  case(round: number, author: PublicKey): NotedCase | undefined {
    const row = this.#database
      .query("SELECT json, base_params, noted_ms FROM cases WHERE round = ? AND author = ?")
      .get(round, author) as { json: string; base_params: Hash | null; noted_ms: number } | null;
    if (!row) return undefined;
    const { json, base_params, noted_ms } = row;
    return { value: JSON.parse(json) as AuditCase, base_params, noted_ms };
  }

  /** Hash of the weights of the round's base, of which no copy is kept. */
  setBaseParams(round: number, base_params: Hash): void {
    this.#database
      .query("UPDATE cases SET base_params = ? WHERE round = ?")
      .run(base_params, round);
  }

  /** True if this is the trail of a contribution of the author's that was merged, as seen here. */
  hasTrail(author: PublicKey, trail_hash: Hash): boolean {
    return this.roundOf(author, trail_hash) !== undefined;
  }

  /** Makes an audit due; false if it is known. */
  addDue(round: number, author: PublicKey, claimer: PublicKey | null, now_ms: number): boolean {
    const { changes } = this.#database
      .query(
        "INSERT OR IGNORE INTO audits (round, author, claimer, state, reason, noted_ms, at_ms) " +
          "VALUES (?, ?, ?, 'due', '', ?, 0)",
      )
      .run(round, author, claimer, now_ms);
    return changes > 0;
  }

  /** The outcome of an audit; the first one stays. */
  finish(
    { round, author }: { round: number; author: PublicKey },
    { state, reason }: { state: Exclude<AuditState, "due">; reason: string },
    now_ms: number,
  ): void {
    this.#database
      .query(
        "UPDATE audits SET state = ?, reason = ?, at_ms = ? " +
          "WHERE round = ? AND author = ? AND state = 'due'",
      )
      .run(state, reason.slice(0, REASON_MAX), now_ms, round, author);
  }

  audit(round: number, author: PublicKey): TrainingAudit | undefined {
    const row = this.#database
      .query("SELECT * FROM audits WHERE round = ? AND author = ?")
      .get(round, author);
    return (row ?? undefined) as TrainingAudit | undefined;
  }

  /** All that are due, the oldest first. */
  due(): TrainingAudit[] {
    return this.#database
      .query("SELECT * FROM audits WHERE state = 'due' ORDER BY noted_ms, round, author")
      .all() as TrainingAudit[];
  }

  /** Audits that are done, the newest last. */
  done(): TrainingAudit[] {
    return this.#database
      .query("SELECT * FROM audits WHERE state != 'due' ORDER BY at_ms, round, author")
      .all() as TrainingAudit[];
  }

  /** Keeps a claim, checked before; false if it is known. */
  addClaim(claim: Claim, state: "open" | "received", now_ms: number): boolean {
    const { round, author, claimer } = claim;
    const { changes } = this.#database
      .query(
        "INSERT OR IGNORE INTO claims (round, author, claimer, json, state, at_ms) " +
          "VALUES (?, ?, ?, ?, ?, ?)",
      )
      .run(round, author, claimer, JSON.stringify(claim), state, now_ms);
    return changes > 0;
  }

  setClaim({ round, author, claimer }: Claim, state: ClaimState): void {
    this.#database
      .query("UPDATE claims SET state = ? WHERE round = ? AND author = ? AND claimer = ?")
      .run(state, round, author, claimer);
  }

  claim(round: number, author: PublicKey, claimer: PublicKey): NotedClaim | undefined {
    const row = this.#database
      .query("SELECT json, state, at_ms FROM claims WHERE round = ? AND author = ? AND claimer = ?")
      .get(round, author, claimer) as { json: string; state: ClaimState; at_ms: number } | null;
    return row ? this.#claimOf(row) : undefined;
  }

  claims(state: ClaimState): NotedClaim[] {
    const rows = this.#database
      .query("SELECT json, state, at_ms FROM claims WHERE state = ? ORDER BY at_ms, round, author")
      .all(state) as { json: string; state: ClaimState; at_ms: number }[];
    return rows.map((row) => this.#claimOf(row));
  }

  #claimOf(row: { json: string; state: ClaimState; at_ms: number }): NotedClaim {
    return { claim: JSON.parse(row.json) as Claim, state: row.state, at_ms: row.at_ms };
  }

  /**
   * The author's commits are left out from now on; false if that is known. `verdict` is null where this
   * node found it alone and no other auditor is there.
   */
  convict(job_id: Hash, author: PublicKey, round: number, verdict: Verdict | null): boolean {
    const { changes } = this.#database
      .query(
        "INSERT INTO verdicts (job_id, author, round, json) VALUES (?, ?, ?, ?) ON CONFLICT DO " +
          "UPDATE SET round = excluded.round, json = excluded.json " +
          "WHERE json IS NULL AND excluded.json IS NOT NULL",
      )
      .run(job_id, author, round, verdict && JSON.stringify(verdict));
    this.#database
      .query("DELETE FROM verdicts WHERE id <= (SELECT max(id) FROM verdicts) - ?")
      .run(VERDICTS_KEPT);
    return changes > 0;
  }

  /** The newest last. */
  verdicts(): { job_id: Hash; author: PublicKey; round: number; verdict: Verdict | null }[] {
    const rows = this.#database
      .query("SELECT job_id, author, round, json FROM verdicts ORDER BY id")
      .all() as { job_id: Hash; author: PublicKey; round: number; json: string | null }[];
    return rows.map(({ json, ...row }) => ({
      ...row,
      verdict: json === null ? null : (JSON.parse(json) as Verdict),
    }));
  }

  /** The round of a merged contribution, by its trail. */
  roundOf(author: PublicKey, trail_hash: Hash): number | undefined {
    const row = this.#database
      .query("SELECT round FROM trails WHERE author = ? AND trail_hash = ?")
      .get(author, trail_hash) as { round: number } | null;
    return row?.round;
  }

  /** An auditor asked for a trail of this node's. */
  addAsked(trail_hash: Hash, auditor: PublicKey, now_ms: number): void {
    this.#database
      .query("INSERT OR IGNORE INTO asked (trail_hash, auditor, at_ms) VALUES (?, ?, ?)")
      .run(trail_hash, auditor, now_ms);
  }

  counts(): AuditCounts {
    const number = (sql: string) => (this.#database.query(sql).get() as { n: number }).n;
    const inState = (state: AuditState) =>
      number(`SELECT count(*) AS n FROM audits WHERE state = '${state}'`);
    return {
      due: inState("due"),
      passed: inState("passed"),
      wrong: inState("wrong"),
      not_served: inState("not_served"),
      not_auditable: inState("not_auditable"),
      handed_over: inState("handed_over"),
      confirmed: number("SELECT count(*) AS n FROM verdicts WHERE json IS NOT NULL"),
      false_claims: number("SELECT count(*) AS n FROM claims WHERE state = 'refuted'"),
      asked: number("SELECT count(*) AS n FROM asked"),
    };
  }
}
