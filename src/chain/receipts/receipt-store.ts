/**
 * The serving receipts that a server was handed, kept for the reward epochs: one SQLite file in the
 * data folder, written by `magnet serve --paid` and read by the node, which are two processes. What
 * is in it was checked when it came in; a reader checks again, since the file is only a file.
 */
import type { Database } from "bun:sqlite";
import path from "node:path";
import { openDatabase } from "../../core/database.ts";
import { MagnetError } from "../../core/errors.ts";
import { checkedReceipt, receiptKey, type ServingReceipt } from "./serving-receipt.ts";

const VERSION = 1;
const TABLES = `
CREATE TABLE IF NOT EXISTS receipts (
  id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, server TEXT NOT NULL,
  received_ms INTEGER NOT NULL, json TEXT NOT NULL) STRICT;
`;

export interface KeptReceipt {
  /** Grows in the order of arrival: a reader goes on after the last one that it has seen. */
  id: number;
  receipt: ServingReceipt;
}

async function readBack(json: string): Promise<ServingReceipt | undefined> {
  try {
    return await checkedReceipt(JSON.parse(json));
  } catch {
    return undefined; // somebody wrote into the file: it counts for nothing
  }
}

/** The file below a data folder. */
export const receiptFile = (data_dir: string): string => path.join(data_dir, "receipts.sqlite");

export class ReceiptStore {
  readonly #database: Database;

  /** Opens or creates the file (":memory:" for none). Throws RECEIPT_STORE, DISK_FULL. */
  constructor(file: string) {
    this.#database = openDatabase({
      ...{ file, version: VERSION, tables: TABLES },
      // The customer was told that it is kept: it must outlast a power failure.
      durable: true,
      unusable: (message, cause) =>
        new MagnetError("RECEIPT_STORE", message, {
          hint: "move the file away; receipts that were not yet counted are lost with it",
          cause,
        }),
    });
  }

  /** Keeps a checked receipt; false where the payment has one already (the first one stays). */
  add(receipt: ServingReceipt, received_ms: number): boolean {
    const { changes } = this.#database
      .query("INSERT OR IGNORE INTO receipts (key, server, received_ms, json) VALUES (?, ?, ?, ?)")
      .run(receiptKey(receipt), receipt.server, received_ms, JSON.stringify(receipt));
    return changes === 1;
  }

  /** Receipts for `server` after `id`, oldest first, checked anew; what fails the check is left out. */
  async after(id: number, server: string, limit = 1000): Promise<KeptReceipt[]> {
    const rows = this.#database
      .query("SELECT id, json FROM receipts WHERE id > ? AND server = ? ORDER BY id LIMIT ?")
      .all(id, server.toLowerCase(), limit) as { id: number; json: string }[];
    const kept: KeptReceipt[] = [];
    for (const row of rows) {
      const receipt = await readBack(row.json);
      if (receipt !== undefined) kept.push({ id: row.id, receipt });
    }
    return kept;
  }

  get count(): number {
    const row = this.#database.query("SELECT count(*) AS n FROM receipts").get() as { n: number };
    return row.n;
  }

  close(): void {
    this.#database.close();
  }
}
