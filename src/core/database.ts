/**
 * Opens the SQLite files in which a node keeps what it must not forget. All are opened alike: made
 * with their folder where they are not there, in WAL mode, and refused where a newer magnet wrote
 * them. What differs is how much a power failure may cost, and what a person can do about a file
 * that is unusable.
 */
import { Database } from "bun:sqlite";
import fs from "node:fs";
import path from "node:path";
import { type MagnetError, toMagnetError } from "./errors.ts";

export interface DatabaseOptions {
  /** ":memory:" for none. */
  file: string;
  /** Of the tables; a file of a later version is refused. */
  version: number;
  /** CREATE ... IF NOT EXISTS statements. */
  tables: string;
  /** Every commit waits for the disk; else the last ones may be lost in a power failure. */
  durable: boolean;
  /** No other process may have it open meanwhile; the lock goes with the process. */
  exclusive?: boolean;
  /** The error for a file that is unusable; its message begins with the file's name. */
  unusable(message: string, cause: unknown): MagnetError;
}

/** Another process that writes is done in milliseconds; one that hangs is given up on. */
const BUSY_MS = 5000;

/** Throws DISK_FULL and other errors of the system by their names, else what `unusable` makes. */
export function openDatabase(options: DatabaseOptions): Database {
  const { file, version, tables, durable, exclusive } = options;
  let database: Database | undefined;
  try {
    if (file !== ":memory:") fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
    database = new Database(file, { create: true, strict: true });
    // Who has it for itself keeps it: there is nothing to wait for.
    database.run(
      exclusive ? "PRAGMA locking_mode = EXCLUSIVE" : `PRAGMA busy_timeout = ${BUSY_MS}`,
    );
    database.run("PRAGMA journal_mode = WAL");
    database.run(`PRAGMA synchronous = ${durable ? "FULL" : "NORMAL"}`);
    const row = database.query("PRAGMA user_version").get() as { user_version: number };
    if (row.user_version > version)
      throw new Error(`written by a newer magnet (${row.user_version})`);
    database.run(tables);
    database.run(`PRAGMA user_version = ${version}`);
    return database;
  } catch (error) {
    database?.close();
    if (isDiskFull(file, error)) throw toMagnetError({ code: "SQLITE_FULL", path: file });
    const known = toMagnetError(error);
    if (known.code !== "INTERNAL") throw known;
    throw options.unusable(`${file}: ${known.message}`, error);
  }
}

/** Less than SQLite needs for its shared memory and a first write. */
const ROOM_BYTES = 256 << 10;

/** SQLite reports a full disk as an I/O error where its shared-memory file is what does not fit. */
function isDiskFull(file: string, error: unknown): boolean {
  const { code } = error as { code?: string };
  if (code === "SQLITE_FULL") return true;
  if (!code?.startsWith("SQLITE_IOERR")) return false;
  const { bavail, bsize } = fs.statfsSync(path.dirname(file));
  return bavail * bsize < ROOM_BYTES;
}
