/**
 * One connection per peer, and what peers have done wrong. Of two connections between the same two
 * nodes both ends keep the one that the node with the smaller public key dialled, so a simultaneous
 * dial ends alike on both; among connections of one dialler the newer stays. A second process with
 * the same key
 * (another boot nonce) is refused, while the standing connection is probed in case it is dead.
 */
import type { PublicKey } from "../core/types.ts";
import type { Connection } from "./connection.ts";
import type { HandshakeRefusal } from "./handshake.ts";
import type { TransportLimits } from "./limits.ts";

/** Taken: `replaced` is the connection that must be closed now. */
export type Admission = { replaced: Connection | undefined } | HandshakeRefusal;

interface Record {
  score: number;
  barred_until_ms: number;
}

export class PeerTable {
  readonly #own: PublicKey;
  readonly #limits: TransportLimits;
  readonly #connections = new Map<PublicKey, Connection>();
  /** In order of the last offence; the first is forgotten at the limit. */
  readonly #records = new Map<PublicKey, Record>();

  constructor(own: PublicKey, limits: TransportLimits) {
    this.#own = own;
    this.#limits = limits;
  }

  get(publicKey: PublicKey): Connection | undefined {
    return this.#connections.get(publicKey);
  }

  all(): Connection[] {
    return [...this.#connections.values()];
  }

  get size(): number {
    return this.#connections.size;
  }

  /** Enters a connection, or says why not. */
  admit(candidate: Connection, now_ms: number): Admission {
    const { public_key, boot_nonce } = candidate.peer;
    if (now_ms < (this.#records.get(public_key)?.barred_until_ms ?? 0))
      return { code: "BARRED", message: "barred for a while after breaking the protocol" };
    const existing = this.#connections.get(public_key);
    if (existing !== undefined && existing.peer.boot_nonce !== boot_nonce) {
      existing.probe();
      existing.warn("IDENTITY_IN_USE", "another process connected with this node's wallet key");
      return {
        code: "IDENTITY_IN_USE",
        message: "another process with this wallet key is connected; stop one of the two",
      };
    }
    if (existing !== undefined && !this.#prefers(candidate, existing)) {
      existing.probe();
      return { code: "DUPLICATE", message: "a connection between the two nodes stands already" };
    }
    this.#connections.set(public_key, candidate);
    return { replaced: existing };
  }

  #prefers(candidate: Connection, existing: Connection): boolean {
    const [one, two] = [candidate.wire.dialer, existing.wire.dialer];
    if (one === two) return true;
    const weDial = this.#own < candidate.peer.public_key;
    return one === weDial;
  }

  /** True if this was the peer's current connection. */
  remove(connection: Connection): boolean {
    const { public_key } = connection.peer;
    if (this.#connections.get(public_key) !== connection) return false;
    return this.#connections.delete(public_key);
  }

  score(publicKey: PublicKey): number {
    return this.#records.get(publicKey)?.score ?? 0;
  }

  /** Takes points off; true if the peer is to be disconnected, and is barred from now on. */
  penalize(publicKey: PublicKey, points: number, now_ms: number): boolean {
    const { score_min, bar_ms, scores } = this.#limits;
    const record = this.#records.get(publicKey) ?? { score: 0, barred_until_ms: 0 };
    record.score = Math.max(score_min, record.score - points);
    const isOver = record.score <= score_min;
    if (isOver) {
      record.barred_until_ms = now_ms + bar_ms;
      record.score = 0; // after the bar it starts afresh
    }
    this.#records.delete(publicKey);
    this.#records.set(publicKey, record);
    const oldest = this.#records.keys().next();
    if (this.#records.size > scores && !oldest.done) this.#records.delete(oldest.value);
    return isOver;
  }
}
