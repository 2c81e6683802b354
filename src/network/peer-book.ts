/**
 * What is known of peers across restarts (paper 12): address, tier, last seen, score; the
 * certificate is in the pins beside it. Bounded: at the limit the peers not seen for longest are
 * forgotten.
 */
import type { Database } from "bun:sqlite";
import type { Tier } from "../core/tiers.ts";
import type { PublicKey } from "../core/types.ts";

/** One remembered peer. */
export interface KnownPeer {
  public_key: PublicKey;
  /** Null where it cannot be dialled. */
  address: string | null;
  tier: Tier;
  last_seen_ms: number;
  score: number;
}

/** 4,096 peers are four times the largest network. */
const PEERS_MAX = 4096;
/** At the limit a tenth goes at once, so that not every contact costs a deletion. */
const PRUNED = PEERS_MAX / 10;

/** The peer book in the peer database. */
export class PeerBook {
  readonly #database: Database;
  readonly #capacity: number;

  constructor(database: Database, capacity = PEERS_MAX) {
    this.#database = database;
    this.#capacity = capacity;
  }

  /** Enters or updates a peer; an older sighting never replaces a newer one. */
  remember(peer: KnownPeer): void {
    const { public_key, address, tier, last_seen_ms, score } = peer;
    this.#database
      .query(
        `INSERT INTO peers VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (public_key) DO UPDATE
         SET address = ?2, tier = ?3, last_seen_ms = ?4, score = ?5
         WHERE last_seen_ms <= ?4`,
      )
      .run(public_key, address, tier, last_seen_ms, score);
    const pruned = Math.max(1, Math.floor(Math.min(PRUNED, this.#capacity / 10)));
    if (this.size() > this.#capacity)
      this.#database
        .query(
          `DELETE FROM peers WHERE public_key IN
           (SELECT public_key FROM peers ORDER BY last_seen_ms LIMIT ?)`,
        )
        .run(pruned);
  }

  get(publicKey: PublicKey): KnownPeer | undefined {
    const query = this.#database.query("SELECT * FROM peers WHERE public_key = ?");
    return (query.get(publicKey) as KnownPeer | null) ?? undefined;
  }

  size(): number {
    const row = this.#database.query("SELECT COUNT(*) AS n FROM peers").get();
    return (row as { n: number }).n;
  }

  /** Peers with an address, the best score first, then the latest seen. */
  dialable(limit: number): KnownPeer[] {
    return this.#database
      .query(
        `SELECT * FROM peers WHERE address IS NOT NULL
         ORDER BY score DESC, last_seen_ms DESC, public_key LIMIT ?`,
      )
      .all(limit) as KnownPeer[];
  }

  all(): KnownPeer[] {
    return this.#database.query("SELECT * FROM peers ORDER BY public_key").all() as KnownPeer[];
  }

  forget(publicKey: PublicKey): boolean {
    const query = this.#database.query("DELETE FROM peers WHERE public_key = ?");
    return query.run(publicKey).changes > 0;
  }
}
