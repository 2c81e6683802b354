/** The node's SQLite file for what it knows of its peers: the pinned certificates. */
import type { Database } from "bun:sqlite";
import { openDatabase } from "../core/database.ts";
import { MagnetError } from "../core/errors.ts";

const VERSION = 1;
const TABLES = `
CREATE TABLE IF NOT EXISTS pins (
  public_key TEXT PRIMARY KEY, address TEXT NOT NULL, cert_pem TEXT NOT NULL,
  fingerprint TEXT NOT NULL, serial INTEGER NOT NULL, pinned_ms INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS pins_by_address ON pins (address);
`;

/** Opens or creates the file (":memory:" for none). Throws PEER_DATABASE where it is unusable. */
export const openPeerDatabase = (file: string): Database =>
  openDatabase({
    ...{ file, version: VERSION, tables: TABLES },
    // A pin lost in a power failure is learnt again; a full sync each time costs more.
    durable: false,
    unusable: (message, cause) =>
      new MagnetError("PEER_DATABASE", message, {
        hint: "move the file away: peers are learnt again, and certificates are pinned anew",
        cause,
      }),
  });
