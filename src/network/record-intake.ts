/**
 * Which peer records are worth a signature check, and how many checks one peer may cost: a message
 * of unknown records takes a tenth of a second, and a flood of them must not keep a node from its
 * rounds.
 */
import type { PublicKey } from "../core/types.ts";
import { type PeerRecord, RECORDS_PER_MESSAGE } from "./membership-messages.ts";
import { verifyRecord } from "./peer-record.ts";
import { TokenBucket } from "./rate-limit.ts";
import type { Verifier } from "./signer.ts";

/** A record from further in the future than this has a wrong clock behind it and is refused. */
const RECORD_FUTURE_MS = 300_000;
/** Unknown records of one peer checked at once; a signature takes about a millisecond. */
const CHECKS_BURST = 2 * RECORDS_PER_MESSAGE;

export class RecordIntake {
  readonly #self: PublicKey;
  readonly #verifier: Verifier;
  readonly #checks_per_s: number;
  readonly #buckets = new Map<PublicKey, TokenBucket>();

  /** `exchange_ms`: how often an honest peer sends records; twice that is allowed. */
  constructor(self: PublicKey, verifier: Verifier, exchange_ms: number) {
    this.#self = self;
    this.#verifier = verifier;
    this.#checks_per_s = (CHECKS_BURST * 1000) / exchange_ms;
  }

  /**
   * The records of one message that are new and rightly signed; `known` is what there is of a key.
   * An honest peer passes on only what it has checked, so the first bad one ends the message.
   */
  *of(
    from: PublicKey,
    records: readonly PeerRecord[],
    known: (key: PublicKey) => PeerRecord | null,
    now_ms: number,
  ): Generator<PeerRecord> {
    for (const record of records) {
      if (!this.#isNews(record, known(record.public_key), now_ms)) continue;
      if (!this.#mayCheck(from, now_ms) || !verifyRecord(this.#verifier, record)) return;
      yield record;
    }
  }

  /** The rightly signed records of this node's own disk. */
  *stored(records: readonly PeerRecord[], now_ms: number): Generator<PeerRecord> {
    for (const record of records)
      if (this.#isNews(record, null, now_ms) && verifyRecord(this.#verifier, record)) yield record;
  }

  /** The peer is no longer tracked. */
  forget(peer: PublicKey): void {
    this.#buckets.delete(peer);
  }

  /** The cheap comparisons: a record already known costs no signature check. */
  #isNews(record: PeerRecord, known: PeerRecord | null, now_ms: number): boolean {
    if (record.public_key === this.#self) return false;
    if (record.issued_ms > now_ms + RECORD_FUTURE_MS) return false;
    return known === null || known.issued_ms < record.issued_ms;
  }

  #mayCheck(from: PublicKey, now_ms: number): boolean {
    const bucket =
      this.#buckets.get(from) ?? new TokenBucket(this.#checks_per_s, CHECKS_BURST, now_ms);
    this.#buckets.set(from, bucket);
    return bucket.take(1, now_ms);
  }
}
