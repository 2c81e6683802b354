/** The node's SQLite file for what it knows of its peers: the pinned certificates. */
import { Database } from "bun:sqlite";
import fs from "node:fs";
import path from "node:path";
import { MagnetError, toMagnetError } from "../core/errors.ts";

const VERSION = 1;
const TABLES = `
CREATE TABLE IF NOT EXISTS pins (
  public_key TEXT PRIMARY KEY, address TEXT NOT NULL, cert_pem TEXT NOT NULL,
  fingerprint TEXT NOT NULL, serial INTEGER NOT NULL, pinned_ms INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS pins_by_address ON pins (address);
`;

/** Opens or creates the file (":memory:" for none). Throws PEER_DATABASE where it is unusable. */
export function openPeerDatabase(file: string): Database {
  try {
    if (file !== ":memory:") fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
    const database = new Database(file, { create: true, strict: true });
    database.run("PRAGMA journal_mode = WAL");
    // A pin lost in a power failure is learnt again; a full sync each time costs more.
    database.run("PRAGMA synchronous = NORMAL");
    database.run("PRAGMA busy_timeout = 5000");
    const { user_version } = database.query("PRAGMA user_version").get() as {
      user_version: number;
    };
    if (user_version > VERSION) throw new Error(`written by a newer magnet (${user_version})`);
    database.run(TABLES);
    database.run(`PRAGMA user_version = ${VERSION}`);
    return database;
  } catch (error) {
    if (diskFull(file, error)) throw toMagnetError({ code: "SQLITE_FULL", path: file });
    throw new MagnetError("PEER_DATABASE", `${file}: ${(error as Error).message}`, {
      hint: "move the file away: peers are learnt again, and certificates are pinned anew",
      cause: error,
    });
  }
}

/** Less than SQLite needs for its shared memory and a first write. */
const ROOM_BYTES = 256 << 10;

/** SQLite reports a full disk as an I/O error where its shared-memory file is what does not fit. */
function diskFull(file: string, error: unknown): boolean {
  const { code } = error as { code?: string };
  if (code === "SQLITE_FULL") return true;
  if (!code?.startsWith("SQLITE_IOERR")) return false;
  const { bavail, bsize } = fs.statfsSync(path.dirname(file));
  return bavail * bsize < ROOM_BYTES;
}
