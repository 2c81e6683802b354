/**
 * Epoch records by hash: those computed here, those read back after a start, and those fetched from
 * peers because the chain names them. A record is believed only as far as its hash: whether it is the
 * settled one, or a true one, is decided elsewhere.
 */
import type { Hash, PublicKey } from "../../core/types.ts";
import type { Sink } from "../../network/effects.ts";
import { parseRecord, type SealedRecord } from "./epoch-record.ts";
import type { LedgerEffect } from "./ledger-types.ts";

export class RecordBook {
  readonly #records = new Map<Hash, SealedRecord>();
  /** Bytes with this hash are no record: whoever settled it settled nothing that could be claimed. */
  readonly #unreadable = new Set<Hash>();
  readonly #asked_ms = new Map<Hash, number>();
  readonly #failures = new Map<Hash, number>();

  constructor(private readonly resend_ms: number) {}

  get(hash: Hash): SealedRecord | undefined {
    return this.#records.get(hash);
  }

  isUnreadable(hash: Hash): boolean {
    return this.#unreadable.has(hash);
  }

  /** A record computed here: kept durably and served, because peers that differ will ask for it. */
  keep(sealed: SealedRecord, out: Sink<LedgerEffect>): void {
    const { data_hash, epoch } = sealed.outcome;
    if (this.#records.has(data_hash)) return;
    this.#records.set(data_hash, sealed);
    out.push({ type: "store_record", epoch, data_hash, bytes: sealed.bytes });
  }

  /** Bytes from this disk. */
  load(bytes: Uint8Array): void {
    const sealed = parseRecord(bytes);
    if (sealed) this.#records.set(sealed.outcome.data_hash, sealed);
  }

  /** Bytes from a peer. */
  fetched(hash: Hash, bytes: Uint8Array, out: Sink<LedgerEffect>): void {
    const sealed = parseRecord(bytes);
    if (sealed?.outcome.data_hash === hash) this.keep(sealed, out);
    else {
      this.#unreadable.add(hash);
      out.push({ type: "drop_records", data_hashes: [hash] });
    }
  }

  failed(hash: Hash): void {
    this.#failures.set(hash, this.failures(hash) + 1);
  }

  /** How often no peer had the record. */
  failures(hash: Hash): number {
    return this.#failures.get(hash) ?? 0;
  }

  /** Asks for a record that is not here, again and again. */
  want(hash: Hash, now_ms: number, out: Sink<LedgerEffect>, sources: PublicKey[] = []): void {
    if (this.#records.has(hash) || this.#unreadable.has(hash)) return;
    const asked_ms = this.#asked_ms.get(hash);
    if (asked_ms !== undefined && now_ms - asked_ms < this.resend_ms) return;
    this.#asked_ms.set(hash, now_ms);
    out.push({ type: "fetch_record", data_hash: hash, sources });
  }

  /** Forgets every record but these. */
  retain(wanted: ReadonlySet<Hash>, out: Sink<LedgerEffect>): void {
    const dropped = [...this.#records.keys()].filter((hash) => !wanted.has(hash));
    for (const hash of dropped) this.#records.delete(hash);
    for (const hash of this.#asked_ms.keys()) if (!wanted.has(hash)) this.#asked_ms.delete(hash);
    for (const hash of this.#failures.keys()) if (!wanted.has(hash)) this.#failures.delete(hash);
    if (dropped.length > 0) out.push({ type: "drop_records", data_hashes: dropped });
  }
}
