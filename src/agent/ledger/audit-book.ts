/**
 * Both sides of storage audits, durable: as auditor, how many seconds of each shard this node's
 * samples stand for in an epoch; as holder, the receipts that other nodes have signed.
 */
import type { Address } from "../../chain/ledger/ledger-types.ts";
import type { AuditReceipt } from "./audit-receipts.ts";
import type { FactStore } from "./fact-store.ts";

const TABLES = `
CREATE TABLE IF NOT EXISTS audit_credits (
  epoch INTEGER NOT NULL, holder TEXT NOT NULL, object TEXT NOT NULL, shard INTEGER NOT NULL,
  held_s REAL NOT NULL, PRIMARY KEY (epoch, holder, object, shard)) STRICT;
CREATE TABLE IF NOT EXISTS audit_receipts (
  epoch INTEGER NOT NULL, auditor TEXT NOT NULL, object TEXT NOT NULL, shard INTEGER NOT NULL,
  held_s INTEGER NOT NULL, json TEXT NOT NULL,
  PRIMARY KEY (epoch, auditor, object, shard)) STRICT;
`;
/** A report is made within the commit window after its epoch; older ones are of no use. */
const EPOCHS_KEPT = 16;
/** Receipts kept of one auditor and epoch: a liar's flood must not fill the disk, nor keep others out. */
const RECEIPTS_MAX = 4096;

export class AuditBook {
  readonly #facts: FactStore;

  constructor(facts: FactStore) {
    this.#facts = facts;
    facts.database.run(TABLES);
  }

  /** Adds a sample of this node as auditor; returns the seconds that all of the epoch stand for. */
  addCredit(
    epoch: number,
    { holder, object, shard }: { holder: Address; object: string; shard: number },
    held_s: number,
  ): number {
    const row = this.#facts.database
      .query(
        "INSERT INTO audit_credits (epoch, holder, object, shard, held_s) VALUES (?, ?, ?, ?, ?) " +
          "ON CONFLICT DO UPDATE SET held_s = held_s + excluded.held_s RETURNING held_s",
      )
      .get(epoch, holder, object, shard, held_s) as { held_s: number };
    return row.held_s;
  }

  /** Keeps a receipt, checked before, unless a later one of the same auditor is here. */
  addReceipt(receipt: AuditReceipt): void {
    const { epoch, auditor, object, shard_index, held_s } = receipt;
    const { database } = this.#facts;
    const { n } = database
      .query("SELECT count(*) AS n FROM audit_receipts WHERE epoch = ? AND auditor = ?")
      .get(epoch, auditor) as { n: number };
    if (n >= RECEIPTS_MAX) return;
    database
      .query(
        "INSERT INTO audit_receipts (epoch, auditor, object, shard, held_s, json) VALUES (?, ?, ?, ?, ?, ?) " +
          "ON CONFLICT DO UPDATE SET held_s = excluded.held_s, json = excluded.json " +
          "WHERE excluded.held_s > held_s",
      )
      .run(epoch, auditor, object, shard_index, held_s, JSON.stringify(receipt));
  }

  /** Receipts for this node of one epoch, those that stand for most first. */
  receiptsOf(epoch: number): AuditReceipt[] {
    const rows = this.#facts.database
      .query("SELECT json FROM audit_receipts WHERE epoch = ? ORDER BY held_s DESC, object, shard")
      .all(epoch) as { json: string }[];
    return rows.map(({ json }) => JSON.parse(json) as AuditReceipt);
  }

  /** Forgets what can no longer be reported. */
  prune(epoch: number): void {
    for (const table of ["audit_credits", "audit_receipts"])
      this.#facts.database.query(`DELETE FROM ${table} WHERE epoch < ?`).run(epoch - EPOCHS_KEPT);
  }
}
