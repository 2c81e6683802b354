/**
 * Files of audits on this disk: points of other nodes' training, verified by hash, in a store of
 * their own so that nothing of a round is deleted with them. They are served by hash like other
 * blobs: whoever looks a second time takes them from the auditor, where the author may serve them
 * no more.
 */
import fs from "node:fs/promises";
import path from "node:path";
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import { type BlobSource, fetchBlob } from "../../network/bulk.ts";
import type { Transport } from "../../network/transport.ts";
import { BlobStore } from "../../storage/blobs.ts";
import { hostDisk } from "../../storage/disk.ts";
import { readArrays } from "../trail/point-bytes.ts";
import { TRAIL_BYTES_MAX } from "../trail/trail.ts";

/** Between two attempts to fetch what a peer did not serve at once. */
const RETRY_MS = 500;

export interface AuditFilesOptions {
  folder: string;
  /** Most bytes of audits under way and of evidence together. */
  quota_bytes: number;
  transport: Transport;
  /** Who may have them. */
  isMember(key: PublicKey): boolean;
}

export class AuditFiles implements BlobSource {
  readonly store: BlobStore;
  readonly #options: AuditFilesOptions;
  #fetches = 0;

  private constructor(store: BlobStore, options: AuditFilesOptions) {
    this.store = store;
    this.#options = options;
  }

  /** Parts of fetches that were under way are dropped: the peers may be others now. */
  static async open(options: AuditFilesOptions): Promise<AuditFiles> {
    const { folder, quota_bytes } = options;
    const store = await BlobStore.open({ folder, disk: hostDisk, quota_bytes });
    const files = new AuditFiles(store, options);
    await fs.rm(files.#fetchFolder, { recursive: true, force: true });
    return files;
  }

  get #fetchFolder(): string {
    return path.join(this.#options.folder, "fetch");
  }

  get quota_bytes(): number {
    return this.#options.quota_bytes;
  }

  /** As peers see it: members only. */
  size(hash: Hash, to?: PublicKey): number | null {
    return to === undefined || this.#options.isMember(to) ? this.store.size(hash) : null;
  }

  read(hash: Hash, offset: number, length: number): Promise<Uint8Array> {
    return this.store.read(hash, offset, length);
  }

  /** True if so many bytes more are within the quota. */
  hasRoom(bytes: number): boolean {
    return this.store.used_bytes + bytes <= this.quota_bytes;
  }

  /**
   * Brings a file of exactly this length here, from the first source that serves it; asks again
   * until the signal says that it took too long. Throws REQUEST_ABORTED, errors of this disk.
   */
  async fetch(
    hash: Hash,
    size_bytes: number,
    sources: readonly PublicKey[],
    signal: AbortSignal,
  ): Promise<void> {
    while (!this.store.has(hash)) {
      signal.throwIfAborted();
      try {
        await this.#fetchOnce(hash, size_bytes, sources, signal);
      } catch (error) {
        if (toMagnetError(error).code !== "BLOB_UNAVAILABLE") throw error;
        await pause(signal);
      }
    }
    if (this.store.size(hash) !== size_bytes)
      throw new MagnetError("AUDIT_FILE_LENGTH", `file ${hash.slice(0, 12)} has another length`);
  }

  async #fetchOnce(
    hash: Hash,
    size_bytes: number,
    sources: readonly PublicKey[],
    signal: AbortSignal,
  ): Promise<void> {
    // Points of two authors may be the same: neither waits for the other, who may be slow on purpose.
    const file = path.join(this.#fetchFolder, String(this.#fetches++));
    try {
      const { transport } = this.#options;
      await fetchBlob(transport, { hash, size_bytes, sources, file, signal });
      await this.store.put(Bun.file(file).stream(), hash);
    } finally {
      await fs.rm(file, { force: true });
      await fs.rm(`${file}.part`, { force: true });
    }
  }

  /** Fills the arrays from a file that is here. Throws BLOB_CORRUPT, BLOB_NOT_FOUND. */
  async load(hash: Hash, ...arrays: Float32Array[]): Promise<void> {
    if ((await readArrays(this.store.pathOf(hash), ...arrays)) === hash) return;
    await this.store.delete(hash);
    throw new MagnetError("BLOB_CORRUPT", `file ${hash.slice(0, 12)} of an audit was damaged here`);
  }

  async addTrail(trail_hash: Hash, text: string): Promise<void> {
    if (!this.store.has(trail_hash))
      await this.store.put(new TextEncoder().encode(text), trail_hash);
  }

  /** The text of a trail that is kept here, else null. */
  async trail(trail_hash: Hash): Promise<string | null> {
    const size = this.store.size(trail_hash);
    if (size === null || size > TRAIL_BYTES_MAX) return null;
    return new TextDecoder().decode(await this.store.get(trail_hash));
  }

  /** Deletes all other files. */
  async keepOnly(needed: ReadonlySet<Hash>): Promise<void> {
    for (const hash of this.store.list()) if (!needed.has(hash)) await this.store.delete(hash);
  }
}

/** A moment's rest, ended by the signal with an error. */
export function pause(signal: AbortSignal, ms = RETRY_MS): Promise<void> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const stop = () => reject(signal.reason);
  const timer = setTimeout(resolve, ms);
  signal.addEventListener("abort", stop, { once: true });
  return promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  });
}
