/**
 * What this node lets peers read: only blobs that were published. A pseudo-gradient lies in the
 * store before it may be seen (commit before reveal), so having a blob and serving it are two
 * things.
 */
import { MagnetError } from "../core/errors.ts";
import type { Hash, PublicKey } from "../core/types.ts";
import type { BlobSource, BlobStore } from "../storage/blobs.ts";

export class PublishedBlobs implements BlobSource {
  readonly #store: BlobStore;
  readonly #hashes = new Set<Hash>();

  constructor(store: BlobStore) {
    this.#store = store;
  }

  publish(hash: Hash): void {
    this.#hashes.add(hash);
  }
  withdraw(hash: Hash): void {
    this.#hashes.delete(hash);
  }

  /** Length in bytes, null where the blob is not here or not published. */
  size(hash: Hash): number | null {
    return this.#hashes.has(hash) ? this.#store.size(hash) : null;
  }

  async read(hash: Hash, offset: number, length: number): Promise<Uint8Array> {
    if (!this.#hashes.has(hash))
      throw new MagnetError("BLOB_NOT_FOUND", `blob ${hash} is not here`, { retryable: true });
    return this.#store.read(hash, offset, length);
  }
}

/** What peers are served from; without `to` this node itself asks. */
interface Served extends BlobSource {
  size(hash: Hash, to?: PublicKey): number | null;
}

/** Stores as one: peers name a blob by its hash alone. */
export const firstOf = (...sources: [Served, ...Served[]]): Served => ({
  size(hash, to) {
    for (const source of sources) {
      const size = source.size(hash, to);
      if (size !== null) return size;
    }
    return null;
  },
  read(hash, offset, length) {
    const source = sources.find((one) => one.size(hash) !== null) ?? sources[0];
    return source.read(hash, offset, length);
  },
});
