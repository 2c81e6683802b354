/**
 * Pinned TLS certificates, one per peer key (trust on first use, paper 12). A pin is replaced only
 * by a certificate that the same wallet signed with a higher serial, or after `reset`. An address
 * is bound to the key that first answered there, for dials that name no key.
 */
import type { Database } from "bun:sqlite";
import { invariant } from "../core/errors.ts";
import type { Hash, PublicKey } from "../core/types.ts";

/** What is remembered of one peer's certificate. */
export interface Pin {
  public_key: PublicKey;
  /** "host:port" where it was last seen. */
  address: string;
  cert_pem: string;
  fingerprint: Hash;
  serial: number;
  pinned_ms: number;
}

/** Most pins kept; the oldest is forgotten and would be trusted on first use again. */
const PINS_MAX = 16_384;

/** The pins in the peer database. */
export class PinStore {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  get(publicKey: PublicKey): Pin | undefined {
    const query = this.#database.query("SELECT * FROM pins WHERE public_key = ?");
    return (query.get(publicKey) as Pin | null) ?? undefined;
  }

  /** The latest pin of an address. */
  at(address: string): Pin | undefined {
    const query = this.#database.query(
      "SELECT * FROM pins WHERE address = ? ORDER BY pinned_ms DESC LIMIT 1",
    );
    return (query.get(address) as Pin | null) ?? undefined;
  }

  all(): Pin[] {
    return this.#database.query("SELECT * FROM pins ORDER BY public_key").all() as Pin[];
  }

  /**
   * Pins a certificate that was checked; never one with a lower serial, nor another with the same.
   */
  set(pin: Pin): void {
    const before = this.get(pin.public_key);
    const renewed = before === undefined || pin.serial > before.serial;
    invariant(
      renewed || pin.fingerprint === before?.fingerprint,
      "a pin is replaced by a higher serial only",
    );
    this.#database
      .query("INSERT OR REPLACE INTO pins VALUES (?, ?, ?, ?, ?, ?)")
      .run(pin.public_key, pin.address, pin.cert_pem, pin.fingerprint, pin.serial, pin.pinned_ms);
    this.#database
      .query(
        `DELETE FROM pins WHERE public_key IN
         (SELECT public_key FROM pins ORDER BY pinned_ms DESC LIMIT -1 OFFSET ?)`,
      )
      .run(PINS_MAX);
  }

  /** Forgets the pin of a key (`magnet peers trust reset`); false where there was none. */
  reset(publicKey: PublicKey): boolean {
    const query = this.#database.query("DELETE FROM pins WHERE public_key = ?");
    return query.run(publicKey).changes > 0;
  }
}

/** Whether the certificate becomes (or stays) the pin, or why the peer is refused. */
export type PinDecision = { pin: boolean } | { code: string; message: string };

/**
 * The rule of trust on first use, for a peer whose wallet signature over `certificate` was checked.
 * The key must be the expected one, or for a dial without one the key that this address is bound
 * to.
 */
export function checkPin(
  pins: PinStore,
  peer: {
    address: string;
    expected: PublicKey | undefined;
    public_key: PublicKey;
    certificate: { fingerprint: Hash; serial: number };
  },
): PinDecision {
  const { address, expected, public_key, certificate } = peer;
  if (expected !== undefined && public_key !== expected)
    return { code: "PEER_IDENTITY", message: "another wallet key answers there than expected" };
  const bound = expected === undefined ? pins.at(address) : undefined;
  if (bound !== undefined && bound.public_key !== public_key)
    return { code: "PEER_CHANGED", message: "another wallet key answers there than last time" };
  const known = pins.get(public_key);
  if (known === undefined || certificate.serial > known.serial) return { pin: true };
  if (certificate.fingerprint === known.fingerprint) return { pin: known.address !== address };
  return {
    code: "CERTIFICATE_CHANGED",
    message: "the certificate changed, and the wallet signed no higher serial for it",
  };
}
