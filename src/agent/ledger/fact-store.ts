/**
 * The facts that this node has gathered for the ledger, in one SQLite file of its data folder:
 * proofs of trained rounds, its own evaluations of promoted states, its audits of other nodes'
 * shards. A fact is kept until well after it can have been paid, then dropped; what a crash of the
 * machine loses of the last moments is an audit or an evaluation that counts for little.
 */
import type { Database } from "bun:sqlite";
import { openDatabase } from "../../core/database.ts";
import { MagnetError } from "../../core/errors.ts";
import type { Cid, Hash, PublicKey } from "../../core/types.ts";
import type { RoundProof } from "./round-proof.ts";

const VERSION = 1;
const TABLES = `
CREATE TABLE IF NOT EXISTS rounds (
  round INTEGER PRIMARY KEY, state_hash TEXT NOT NULL, proof TEXT NOT NULL,
  bytes INTEGER NOT NULL, noted_ms INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS rounds_by_state ON rounds (state_hash);
CREATE TABLE IF NOT EXISTS evaluations (
  round INTEGER PRIMARY KEY, state_hash TEXT NOT NULL, loss REAL NOT NULL,
  noted_ms INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS audits (
  id INTEGER PRIMARY KEY AUTOINCREMENT, holder TEXT NOT NULL, cid TEXT NOT NULL,
  shard INTEGER NOT NULL, size_bytes INTEGER NOT NULL, passed INTEGER NOT NULL,
  reason TEXT NOT NULL, at_ms INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS audits_by_time ON audits (at_ms);
`;

/** Proofs of a large network have up to a MiB each: the oldest go first. */
const PROOF_BYTES_MAX = 256 << 20;
/** Audits and evaluations are paid within an epoch or two; a week of them is for people. */
const KEPT_MS = 7 * 24 * 3_600_000;

/** One look at a shard of another node. */
export interface Audit {
  /** Rises with every audit of this node. */
  id: number;
  holder: PublicKey;
  cid: Cid;
  shard: number;
  size_bytes: number;
  passed: boolean;
  /** Why it failed; empty if it passed. */
  reason: string;
  at_ms: number;
}

export interface OwnEvaluation {
  round: number;
  state_hash: Hash;
  /** Mean held-out loss in nats per token. */
  loss: number;
  noted_ms: number;
}

export class FactStore {
  /** For the tables of other files of this folder. */
  readonly database: Database;
  #proof_bytes: number;

  /** Opens or creates the file (":memory:" for none). Throws FACTS_UNUSABLE, disk errors. */
  constructor(file: string) {
    this.database = openDatabase({
      ...{ file, version: VERSION, tables: TABLES },
      durable: false,
      unusable: (message, cause) =>
        new MagnetError("FACTS_UNUSABLE", message, {
          hint: "move the file away: facts are gathered anew, those of the running epoch are lost",
          cause,
        }),
    });
    const sum = this.database.query("SELECT coalesce(sum(bytes), 0) AS bytes FROM rounds").get();
    this.#proof_bytes = (sum as { bytes: number }).bytes;
  }

  close(): void {
    this.database.close();
  }

  /** Keeps a proof, checked before; a round has one. */
  addRound(round: number, proof: RoundProof, noted_ms: number): void {
    const text = JSON.stringify(proof);
    const { changes } = this.database
      .query(
        "INSERT OR IGNORE INTO rounds (round, state_hash, proof, bytes, noted_ms) VALUES (?, ?, ?, ?, ?)",
      )
      .run(round, proof.certificate.result_hash, text, text.length, noted_ms);
    if (changes > 0) this.#proof_bytes += text.length;
    while (this.#proof_bytes > PROOF_BYTES_MAX) this.#dropOldestRound();
  }

  #dropOldestRound(): void {
    const dropped = this.database
      .query(
        "DELETE FROM rounds WHERE round = (SELECT min(round) FROM rounds) RETURNING round, bytes",
      )
      .get() as { round: number; bytes: number };
    this.#proof_bytes -= dropped.bytes;
  }

  round(round: number): RoundProof | undefined {
    const row = this.database.query("SELECT proof FROM rounds WHERE round = ?").get(round);
    return row ? (JSON.parse((row as { proof: string }).proof) as RoundProof) : undefined;
  }

  /** The first round that promoted this state. */
  roundOfState(state_hash: Hash): number | undefined {
    const row = this.database
      .query("SELECT min(round) AS round FROM rounds WHERE state_hash = ?")
      .get(state_hash) as { round: number | null };
    return row.round ?? undefined;
  }

  /** Numbers of the proven rounds above `after`, rising. */
  roundsAfter(after: number): number[] {
    const rows = this.database
      .query("SELECT round FROM rounds WHERE round > ? ORDER BY round")
      .all(after) as { round: number }[];
    return rows.map(({ round }) => round);
  }

  addEvaluation({ round, state_hash, loss, noted_ms }: OwnEvaluation): void {
    this.database
      .query(
        "INSERT OR REPLACE INTO evaluations (round, state_hash, loss, noted_ms) VALUES (?, ?, ?, ?)",
      )
      .run(round, state_hash, loss, noted_ms);
    this.database.query("DELETE FROM evaluations WHERE noted_ms < ?").run(noted_ms - KEPT_MS);
  }

  /** Own evaluations of rounds above `after`, rising. */
  evaluationsAfter(after: number): OwnEvaluation[] {
    return this.database
      .query(
        "SELECT round, state_hash, loss, noted_ms FROM evaluations WHERE round > ? ORDER BY round",
      )
      .all(after) as OwnEvaluation[];
  }

  addAudit({ holder, cid, shard, size_bytes, passed, reason, at_ms }: Omit<Audit, "id">): void {
    this.database
      .query(
        "INSERT INTO audits (holder, cid, shard, size_bytes, passed, reason, at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
      )
      .run(holder, cid, shard, size_bytes, passed ? 1 : 0, reason.slice(0, 250), at_ms);
    this.database.query("DELETE FROM audits WHERE at_ms < ?").run(at_ms - KEPT_MS);
  }

  /** Audits made after the one with this number (0: all that are kept), in their order. */
  auditsAfter(id: number): Audit[] {
    const rows = this.database
      .query(
        "SELECT id, holder, cid, shard, size_bytes, passed, reason, at_ms FROM audits WHERE id > ? ORDER BY id",
      )
      .all(id) as (Omit<Audit, "passed"> & { passed: number })[];
    return rows.map((row) => ({ ...row, passed: row.passed === 1 }));
  }
}
