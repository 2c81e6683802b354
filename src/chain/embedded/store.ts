/**
 * The chain's folder: one SQLite file. `log` holds (timestamp, raw transactions) of every block and
 * is the source of truth: only ever appended to, and enough to compute all the rest. Headers,
 * receipts, the index of logs and the nodes of the state are kept beside it so that a start needs no
 * replay. All that belongs to a block is written in one transaction with one fsync.
 */
import type { Database } from "bun:sqlite";
import path from "node:path";
import { RLP } from "@ethereumjs/rlp";
import { openDatabase } from "../../core/database.ts";
import { MagnetError } from "../../core/errors.ts";
import type { SealedBlock } from "./execute.ts";
import { decodeHeader, encodeHeader, type Header } from "./header.ts";
import { fromHex, toHex } from "./hex.ts";
import { CHAIN_LIMITS } from "./limits.ts";
import { packReceipts, type Receipt, unpackReceipts } from "./receipt.ts";
import type { StateStore } from "./state.ts";
import type { SignedTransaction } from "./transaction.ts";

const VERSION = 1;
const TABLES = `
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS log (
  number INTEGER PRIMARY KEY, timestamp INTEGER NOT NULL, transactions BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS blocks (
  number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, header BLOB NOT NULL,
  receipts BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS transactions (
  hash BLOB PRIMARY KEY, number INTEGER NOT NULL, position INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS events (
  number INTEGER NOT NULL, position INTEGER NOT NULL, address BLOB NOT NULL,
  topic0 BLOB, topic1 BLOB, topic2 BLOB, topic3 BLOB,
  PRIMARY KEY (number, position)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS events_by_address ON events (address, number);
CREATE INDEX IF NOT EXISTS events_by_topic ON events (topic0, number);
CREATE TABLE IF NOT EXISTS waiting (
  arrival INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, raw BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS nodes (hash BLOB PRIMARY KEY, bytes BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS codes (hash BLOB PRIMARY KEY, bytes BLOB NOT NULL) STRICT, WITHOUT ROWID;
`;

export interface StoredBlock {
  header: Header;
  hash: Uint8Array;
  raws: Uint8Array[];
  receipts: Receipt[];
}

/** One block of the source of truth. */
export interface LogEntry {
  number: number;
  timestamp: bigint;
  raws: Uint8Array[];
}

/** Where an event lies: block, and position among the block's events. */
export interface EventPlace {
  number: number;
  position: number;
}

/** Values that fit each place; an empty list fits any. */
export interface EventQuery {
  from: number;
  to: number;
  addresses: Uint8Array[];
  topics: Uint8Array[][];
}

/** What changes with one fsync. */
export interface Batch {
  block?: SealedBlock;
  /** Waiting transactions to remember, and hashes of those to forget. */
  add?: SignedTransaction[];
  drop?: string[];
  meta?: Record<string, string>;
}

function openChainDatabase(file: string): Database {
  return openDatabase({
    ...{ file, version: VERSION, tables: TABLES },
    // An answered transaction survives a power failure: every commit waits for the disk.
    durable: true,
    exclusive: true, // one process writes
    unusable: (message, cause) =>
      (cause as { code?: string }).code?.startsWith("SQLITE_BUSY")
        ? new MagnetError("CHAIN_IN_USE", `${file}: another process has this chain open`, {
            hint: "stop the other magnet chain host, or choose another folder",
            exit: "config",
          })
        : new MagnetError("CHAIN_DATABASE", message, {
            hint: "is this a folder of magnet chain host? choose another one with --data-dir",
            exit: "config",
            cause,
          }),
  });
}

export class ChainStore implements StateStore {
  readonly #database: Database;
  /** Nodes written since the last commit, and those read lately. */
  #new_nodes = new Map<string, Uint8Array>();
  #new_codes = new Map<string, Uint8Array>();
  #nodes = new Map<string, Uint8Array>();
  #codes = new Map<string, Uint8Array>();

  /** A folder, or undefined for a chain in memory only. Throws CHAIN_DATABASE and system errors. */
  constructor(folder: string | undefined) {
    this.#database = openChainDatabase(
      folder === undefined ? ":memory:" : path.join(folder, "chain.sqlite"),
    );
  }

  get(hash: Uint8Array): Uint8Array | undefined {
    const key = toHex(hash);
    const known = this.#new_nodes.get(key) ?? this.#nodes.get(key);
    if (known !== undefined) return known;
    const row = this.#database.query("SELECT bytes FROM nodes WHERE hash = ?").get(hash);
    if (row === null) return undefined;
    const { bytes } = row as { bytes: Uint8Array };
    this.#remember(key, bytes);
    return bytes;
  }

  #remember(key: string, bytes: Uint8Array): void {
    this.#nodes.set(key, bytes);
    if (this.#nodes.size <= CHAIN_LIMITS.cached_nodes) return;
    // The oldest tenth goes at once: one at a time would cost an iterator each.
    let left = CHAIN_LIMITS.cached_nodes / 10;
    for (const old of this.#nodes.keys()) {
      this.#nodes.delete(old);
      if (--left <= 0) return;
    }
  }

  put(hash: Uint8Array, bytes: Uint8Array): void {
    this.#new_nodes.set(toHex(hash), bytes);
  }

  code(hash: Uint8Array): Uint8Array | undefined {
    const key = toHex(hash);
    const known = this.#new_codes.get(key) ?? this.#codes.get(key);
    if (known !== undefined) return known;
    const row = this.#database.query("SELECT bytes FROM codes WHERE hash = ?").get(hash);
    if (row === null) return undefined;
    const { bytes } = row as { bytes: Uint8Array };
    if (this.#codes.size >= 1024) this.#codes.clear();
    this.#codes.set(key, bytes);
    return bytes;
  }

  putCode(hash: Uint8Array, code: Uint8Array): void {
    this.#new_codes.set(toHex(hash), code);
  }

  /** Forgets nodes written since the last commit: their block was not made. */
  discard(): void {
    this.#new_nodes.clear();
    this.#new_codes.clear();
  }

  /** Writes the batch, durable when this returns. Nothing of it is there where it throws. */
  commit(batch: Batch): void {
    this.#database.transaction(() => {
      const { block, add = [], drop = [], meta = {} } = batch;
      if (block !== undefined) {
        this.#writeState();
        this.#writeBlock(block);
      }
      for (const hash of drop)
        this.#database.query("DELETE FROM waiting WHERE hash = ?").run(fromHex(hash));
      for (const { hash, raw } of add)
        this.#database
          .query("INSERT OR IGNORE INTO waiting (hash, raw) VALUES (?, ?)")
          .run(fromHex(hash), raw);
      for (const [key, value] of Object.entries(meta))
        this.#database.query("INSERT OR REPLACE INTO meta VALUES (?, ?)").run(key, value);
    })();
    if (batch.block === undefined) return;
    for (const [key, bytes] of this.#new_nodes) this.#remember(key, bytes);
    this.discard();
  }

  #writeState(): void {
    const node = this.#database.query("INSERT OR IGNORE INTO nodes VALUES (?, ?)");
    for (const [hash, bytes] of this.#new_nodes) node.run(fromHex(hash), bytes);
    const code = this.#database.query("INSERT OR IGNORE INTO codes VALUES (?, ?)");
    for (const [hash, bytes] of this.#new_codes) code.run(fromHex(hash), bytes);
  }

  #writeBlock({ header, hash, transactions, receipts }: SealedBlock): void {
    const number = Number(header.number);
    this.#database
      .query("INSERT INTO log VALUES (?, ?, ?)")
      .run(number, Number(header.timestamp), RLP.encode(transactions.map(({ raw }) => raw)));
    this.#database
      .query("INSERT INTO blocks VALUES (?, ?, ?, ?)")
      .run(number, hash, encodeHeader(header), packReceipts(receipts));
    const place = this.#database.query("INSERT INTO transactions VALUES (?, ?, ?)");
    for (const [i, { hash: id }] of transactions.entries()) place.run(fromHex(id), number, i);
    const event = this.#database.query("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)");
    let position = 0;
    for (const { logs } of receipts)
      for (const { address, topics } of logs) {
        const [a = null, b = null, c = null, d = null] = topics;
        event.run(number, position++, address, a, b, c, d);
      }
  }

  meta(key: string): string | undefined {
    const row = this.#database.query("SELECT value FROM meta WHERE key = ?").get(key);
    return (row as { value: string } | null)?.value;
  }

  /** Number of the newest block, or undefined before the genesis. */
  height(): number | undefined {
    const row = this.#database.query("SELECT max(number) AS height FROM blocks").get();
    return (row as { height: number | null }).height ?? undefined;
  }

  header(number: number): { header: Header; hash: Uint8Array } | undefined {
    const row = this.#database
      .query("SELECT hash, header FROM blocks WHERE number = ?")
      .get(number);
    if (row === null) return undefined;
    const { hash, header } = row as { hash: Uint8Array; header: Uint8Array };
    return { header: decodeHeader(header), hash };
  }

  block(number: number): StoredBlock | undefined {
    const row = this.#database
      .query(
        "SELECT hash, header, receipts, transactions FROM blocks JOIN log USING (number) WHERE number = ?",
      )
      .get(number);
    if (row === null) return undefined;
    const { hash, header, receipts, transactions } = row as Record<string, Uint8Array>;
    return {
      ...{ header: decodeHeader(header!), hash: hash! },
      raws: RLP.decode(transactions!) as Uint8Array[],
      receipts: unpackReceipts(receipts!),
    };
  }

  numberOf(hash: string): number | undefined {
    const row = this.#database.query("SELECT number FROM blocks WHERE hash = ?").get(fromHex(hash));
    return (row as { number: number } | null)?.number;
  }

  /** Block and position of a transaction. */
  find(hash: string): EventPlace | undefined {
    const row = this.#database
      .query("SELECT number, position FROM transactions WHERE hash = ?")
      .get(fromHex(hash));
    return (row as EventPlace | null) ?? undefined;
  }

  /** Places of at most `limit` events that fit, oldest first. */
  events({ from, to, addresses, topics }: EventQuery, limit: number): EventPlace[] {
    const where = ["number BETWEEN ? AND ?"];
    const values: (number | Uint8Array)[] = [from, to];
    const fit = (column: string, choices: readonly Uint8Array[]) => {
      if (choices.length === 0) return;
      where.push(`${column} IN (${choices.map(() => "?").join(", ")})`);
      values.push(...choices);
    };
    fit("address", addresses);
    topics.forEach((choices, i) => {
      fit(`topic${i}`, choices);
      // A place that any value fits still has to be there.
      if (choices.length === 0) where.push(`topic${i} IS NOT NULL`);
    });
    const text = `SELECT number, position FROM events WHERE ${where.join(" AND ")}
      ORDER BY number, position LIMIT ${limit}`;
    const statement = this.#database.prepare(text);
    try {
      return statement.all(...values) as EventPlace[];
    } finally {
      statement.finalize(); // an open statement would hold the file after close
    }
  }

  /** Raw transactions that wait for a block, in the order of their arrival. */
  waiting(): Uint8Array[] {
    const rows = this.#database.query("SELECT raw FROM waiting ORDER BY arrival").all();
    return (rows as { raw: Uint8Array }[]).map(({ raw }) => raw);
  }

  /** Whether a transaction is kept among the waiting. */
  waits(hash: string): boolean {
    return this.#database.query("SELECT 1 FROM waiting WHERE hash = ?").get(fromHex(hash)) !== null;
  }

  /** The source of truth, oldest first; block 0 is the genesis and has no entry of weight. */
  *log(): Generator<LogEntry> {
    const rows = this.#database.query("SELECT * FROM log ORDER BY number").iterate();
    for (const row of rows as Iterable<{
      number: number;
      timestamp: number;
      transactions: Uint8Array;
    }>)
      yield {
        ...{ number: row.number, timestamp: BigInt(row.timestamp) },
        raws: RLP.decode(row.transactions) as Uint8Array[],
      };
  }

  close(): void {
    this.#database.close();
  }
}
