/**
 * Epoch records and evidence on this node's disk: blobs of the node's store, served to peers under
 * their SHA-256, and an index of which they are. The newest records are also spread over the network
 * as erasure-coded objects, by whoever proposed them.
 */
import fs from "node:fs";
import path from "node:path";
import { z } from "zod";
import { RECORD_BYTES_MAX } from "../../chain/ledger/epoch-record.ts";
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import type { BlobStore } from "../../storage/blobs.ts";
import type { FetchBlob } from "../blob-fetcher.ts";
import { replaceFileSync } from "../durable-state.ts";
import type { PublishedBlobs } from "../published-blobs.ts";

/** With 10,000 accounts 64 records take some 130 MB. */
const RECORDS_KEPT = 64;
/** Records in memory after a start; others are read when they are asked for. */
const RECORDS_READ = 8;
/** Evidence is a dispute's whole case; older ones are decided. */
const EVIDENCE_KEPT = 64;

const hash = z.string().regex(/^[0-9a-f]{64}$/);
const indexSchema = z.strictObject({
  records: z.array(z.strictObject({ epoch: z.int().min(0), data_hash: hash })),
  evidence: z.array(hash),
});
type Index = {
  records: { epoch: number; data_hash: Hash }[];
  evidence: Hash[];
};

export interface RecordStoreOptions {
  data_dir: string;
  blobs: BlobStore;
  published: PublishedBlobs;
  fetchBlob: FetchBlob;
  log: Log;
}

async function* once(bytes: Uint8Array) {
  yield bytes;
}

export class RecordStore {
  readonly #options: RecordStoreOptions;
  readonly #file: string;
  #index: Index = { records: [], evidence: [] };
  /** Brought here by `fetch` and not stored as records so far. */
  readonly #fetched = new Set<Hash>();

  constructor(options: RecordStoreOptions) {
    this.#options = options;
    this.#file = path.join(options.data_dir, "ledger", "records.json");
  }

  /** Reads the newest of what is here and whole, oldest first, and serves all of it. */
  async open(): Promise<Uint8Array[]> {
    const { blobs, published, log } = this.#options;
    if (fs.existsSync(this.#file)) {
      try {
        const text = fs.readFileSync(this.#file, "utf8");
        this.#index = indexSchema.parse(JSON.parse(text)) as Index;
      } catch (error) {
        // Records are fetched again from peers by the hashes on the chain.
        log.warn("record_index_unreadable", { reason: toMagnetError(error).message });
      }
    }
    const { records, evidence } = this.#index;
    this.#index = {
      records: records.filter(({ data_hash }) => blobs.has(data_hash)),
      evidence: evidence.filter((one) => blobs.has(one)),
    };
    for (const found of this.hashes()) published.publish(found);
    const sorted = [...this.#index.records].sort((a, b) => a.epoch - b.epoch);
    const newest = sorted.slice(-RECORDS_READ).map(({ data_hash }) => this.#readBack(data_hash));
    return (await Promise.all(newest)).filter((bytes) => bytes !== null);
  }

  /** Null for a damaged one: it is gone now, and fetched from a peer like any other. */
  async #readBack(data_hash: Hash): Promise<Uint8Array | null> {
    try {
      return await this.#options.blobs.get(data_hash);
    } catch (error) {
      const { code, message: reason } = toMagnetError(error);
      this.#options.log.warn("record_unreadable", { data_hash, code, reason });
      return null;
    }
  }

  hashes(): Hash[] {
    return [...this.#index.records.map(({ data_hash }) => data_hash), ...this.#index.evidence];
  }

  #write(): void {
    fs.mkdirSync(path.dirname(this.#file), { recursive: true, mode: 0o700 });
    replaceFileSync(this.#file, JSON.stringify(this.#index));
  }

  /** Durable and served when it returns. */
  async storeRecord(epoch: number, data_hash: Hash, bytes: Uint8Array): Promise<void> {
    await this.#put(data_hash, bytes);
    this.#fetched.delete(data_hash);
    const others = this.#index.records.filter((record) => record.data_hash !== data_hash);
    this.#index.records = [...others, { epoch, data_hash }];
    this.#write();
  }

  async storeEvidence(evidence_hash: Hash, bytes: Uint8Array): Promise<void> {
    await this.#put(evidence_hash, bytes);
    const others = this.#index.evidence.filter((one) => one !== evidence_hash);
    const all = [...others, evidence_hash];
    this.#index.evidence = all.slice(-EVIDENCE_KEPT);
    this.#write();
    for (const old of all.slice(0, -EVIDENCE_KEPT)) await this.#remove(old);
  }

  async #put(name: Hash, bytes: Uint8Array): Promise<void> {
    await this.#options.blobs.put(once(bytes), name);
    this.#options.published.publish(name);
  }

  /**
   * The ledger needs them no more; the newest stay, for whoever asks what an epoch has paid. What was
   * fetched and is no record goes at once: anybody can name a hash.
   */
  async drop(data_hashes: readonly Hash[]): Promise<void> {
    const dropped = new Set(data_hashes);
    for (const hash of data_hashes) if (this.#fetched.delete(hash)) await this.#remove(hash);
    const candidates = this.#index.records
      .filter(({ data_hash }) => dropped.has(data_hash))
      .sort((a, b) => b.epoch - a.epoch);
    const room = RECORDS_KEPT - (this.#index.records.length - candidates.length);
    const gone = new Set(candidates.slice(Math.max(0, room)).map(({ data_hash }) => data_hash));
    if (gone.size === 0) return;
    this.#index.records = this.#index.records.filter(({ data_hash }) => !gone.has(data_hash));
    this.#write();
    for (const data_hash of gone) await this.#remove(data_hash);
  }

  async #remove(name: Hash): Promise<void> {
    this.#options.published.withdraw(name);
    if (this.#options.blobs.has(name)) await this.#options.blobs.delete(name);
  }

  /** From this disk, else from a peer; the hash is checked. Throws BLOB_UNAVAILABLE, NO_RECORD. */
  async fetch(name: Hash, sources: readonly PublicKey[]): Promise<Uint8Array> {
    const { blobs, fetchBlob } = this.#options;
    if (!blobs.has(name)) {
      if (sources.length === 0)
        throw new MagnetError("BLOB_UNAVAILABLE", "no peer is connected", { retryable: true });
      await fetchBlob(name, sources, { size_max: RECORD_BYTES_MAX });
      this.#fetched.add(name);
    }
    // The name may be that of a checkpoint, which does not fit the memory.
    if ((blobs.size(name) ?? 0) > RECORD_BYTES_MAX)
      throw new MagnetError("NO_RECORD", `blob ${name} is longer than any record`);
    return blobs.get(name);
  }
}
