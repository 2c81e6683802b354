/**
 * Content-addressed blobs on this disk: SHA-256 -> file. A blob is written to a temporary file,
 * synced, renamed, and its folder synced, so after a crash at any step a name in the store holds
 * exactly its content or is not there. The index of names and sizes lives in memory and is read at
 * `open`.
 *
 * Folder: blobs/<first two hex digits>/<64 hex digits>, tmp/<number>.
 */
import path from "node:path";
import { formatBytes, sha256Hex } from "../core/bytes.ts";
import { invariant, MagnetError, toMagnetError } from "../core/errors.ts";
import type { Hash } from "../core/types.ts";
import type { Disk, DiskWriter } from "./disk.ts";

/** What the network's bulk transfer serves from; `read` throws BLOB_NOT_FOUND. */
export interface BlobSource {
  /** Length in bytes, null if the blob is not here. */
  size(hash: Hash): number | null;
  read(hash: Hash, offset: number, length: number): Promise<Uint8Array>;
}

export interface BlobInfo {
  hash: Hash;
  size_bytes: number;
}

/** A blob being written. After `commit` or `abort` it must not be used. */
export interface BlobWriter {
  write(bytes: Uint8Array): Promise<void>;
  /** Makes the blob durable and visible. With `expected`, another content is BLOB_CORRUPT. */
  commit(expected?: Hash): Promise<BlobInfo>;
  /** Removes what was written; never throws. */
  abort(): Promise<void>;
}

export interface BlobStoreOptions {
  folder: string;
  disk: Disk;
  /** Most bytes of all blobs together; a put beyond it is DISK_FULL. */
  quota_bytes?: number;
}

/** One read while hashing: about 2 ms. */
const CHUNK_BYTES = 1 << 20;
/** System errors leave the store with a clear code and hint. */
const rethrow = (error: unknown): never => {
  throw toMagnetError(error);
};
const HASH_PATTERN = /^[0-9a-f]{64}$/;

export class BlobStore implements BlobSource {
  readonly #disk: Disk;
  readonly #folder: string;
  readonly #quota_bytes: number;
  readonly #sizes = new Map<Hash, number>();
  #used_bytes = 0;
  /** Bytes written to temporary files of blobs that are not committed yet. */
  #pending_bytes = 0;
  #temporary = 0;

  private constructor({ folder, disk, quota_bytes }: BlobStoreOptions) {
    this.#folder = folder;
    this.#disk = disk;
    this.#quota_bytes = quota_bytes ?? Number.POSITIVE_INFINITY;
  }

  /** Opens (and creates) a store; leftovers of a crash are removed. */
  static async open(options: BlobStoreOptions): Promise<BlobStore> {
    const store = new BlobStore(options);
    const { folder, disk } = options;
    try {
      for (const name of ["tmp", "blobs"]) await disk.makeFolder(path.join(folder, name));
      await disk.syncFolder(folder);
      for (const name of await disk.list(path.join(folder, "tmp")))
        await disk.remove(path.join(folder, "tmp", name));
      for (const prefix of await disk.list(path.join(folder, "blobs")))
        for (const name of await disk.list(path.join(folder, "blobs", prefix))) {
          const size = await disk.sizeOf(path.join(folder, "blobs", prefix, name));
          if (HASH_PATTERN.test(name) && size !== null) store.#book(name as Hash, size);
        }
    } catch (error) {
      throw toMagnetError(error);
    }
    return store;
  }

  get used_bytes(): number {
    return this.#used_bytes;
  }
  size(hash: Hash): number | null {
    return this.#sizes.get(hash) ?? null;
  }
  has(hash: Hash): boolean {
    return this.#sizes.has(hash);
  }
  /** Names of all blobs, sorted. */
  list(): Hash[] {
    return [...this.#sizes.keys()].sort();
  }

  /**
   * Where a blob that is here lies, to be opened read-only; not verified by itself (see `verify`).
   */
  pathOf(hash: Hash): string {
    if (!this.#sizes.has(hash))
      throw new MagnetError("BLOB_NOT_FOUND", `blob ${hash} is not here`, { retryable: true });
    return this.#fileOf(hash);
  }

  /** A range of a blob, not verified by itself (see `verify`). Throws BLOB_NOT_FOUND, BAD_RANGE. */
  async read(hash: Hash, offset: number, length: number): Promise<Uint8Array> {
    const size = this.#sizes.get(hash);
    if (size === undefined)
      throw new MagnetError("BLOB_NOT_FOUND", `blob ${hash} is not here`, { retryable: true });
    const isInside = offset >= 0 && length >= 0 && offset + length <= size;
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || !isInside)
      throw new MagnetError("BAD_RANGE", `blob ${hash} has ${size} bytes`);
    try {
      return await this.#disk.read(this.#fileOf(hash), offset, length);
    } catch (error) {
      throw toMagnetError(error);
    }
  }

  /** The whole blob, verified. A damaged one is removed and reported as BLOB_CORRUPT. */
  async get(hash: Hash): Promise<Uint8Array> {
    const size = this.#sizes.get(hash) ?? 0;
    const bytes = await this.#readOrDrop(hash, 0, size);
    if (sha256Hex(bytes) !== hash) throw await this.#dropCorrupt(hash);
    return bytes;
  }

  /** Reads and hashes a blob; a damaged one is removed and reported as BLOB_CORRUPT. */
  async verify(hash: Hash): Promise<void> {
    const size = this.#sizes.get(hash) ?? 0;
    const hasher = new Bun.CryptoHasher("sha256");
    for (let at = 0; at === 0 || at < size; at += CHUNK_BYTES)
      hasher.update(await this.#readOrDrop(hash, at, Math.min(CHUNK_BYTES, size - at)));
    if (hasher.digest("hex") !== hash) throw await this.#dropCorrupt(hash);
  }

  /** Stores bytes or a stream. With `expected`, another content is refused as BLOB_CORRUPT. */
  async put(content: Uint8Array | AsyncIterable<Uint8Array>, expected?: Hash): Promise<BlobInfo> {
    const writer = await this.writer();
    try {
      if (content instanceof Uint8Array) await writer.write(content);
      else for await (const bytes of content) await writer.write(bytes);
      return await writer.commit(expected);
    } catch (error) {
      await writer.abort();
      throw toMagnetError(error);
    }
  }

  /** Begins a blob. Every method throws DISK_FULL at the quota or when the device is full. */
  async writer(): Promise<BlobWriter> {
    const file = path.join(this.#folder, "tmp", String(this.#temporary++));
    const hasher = new Bun.CryptoHasher("sha256");
    let output: DiskWriter | null = await this.#disk.create(file).catch(rethrow);
    let size_bytes = 0;
    const end = async () => {
      this.#pending_bytes -= size_bytes;
      const open = output;
      output = null;
      await open?.close();
    };
    return {
      write: async (bytes) => {
        invariant(output, "a blob was written to after its end");
        this.#reserve(bytes.length);
        size_bytes += bytes.length;
        hasher.update(bytes);
        await output.write(bytes).catch(rethrow);
      },
      commit: async (expected) => {
        invariant(output, "a blob was committed twice");
        const hash = hasher.digest("hex") as Hash;
        if (expected !== undefined && hash !== expected)
          throw new MagnetError("BLOB_CORRUPT", `the content is not that of blob ${expected}`, {
            hint: "it is fetched again from another node",
            exit: "verification",
          });
        await output.sync().catch(rethrow);
        await end().catch(rethrow);
        await this.#publish(file, hash, size_bytes).catch(rethrow);
        return { hash, size_bytes };
      },
      abort: async () => {
        if (output) await end().catch(() => undefined); // what matters was reported before
        await this.#disk.remove(file).catch(() => undefined); // else removed at the next open
      },
    };
  }

  /**
   * Takes the file that `make` writes (it is given the path, which does not exist yet) and hashes itself.
   * Throws what it throws, and DISK_FULL before where `size_bytes` are more than the quota leaves.
   */
  async take(size_bytes: number, make: (file: string) => Promise<Hash>): Promise<BlobInfo> {
    const file = path.join(this.#folder, "tmp", String(this.#temporary++));
    this.#reserve(size_bytes);
    try {
      const hash = await make(file);
      await this.#publish(file, hash, size_bytes).catch(rethrow);
      return { hash, size_bytes };
    } catch (error) {
      await this.#disk.remove(file).catch(() => undefined); // else removed at the next open
      throw error;
    } finally {
      this.#pending_bytes -= size_bytes;
    }
  }

  /** Removes a blob; one that is not here is fine. */
  async delete(hash: Hash): Promise<void> {
    const size = this.#sizes.get(hash);
    if (size === undefined) return;
    this.#sizes.delete(hash);
    this.#used_bytes -= size;
    await this.#disk.remove(this.#fileOf(hash));
    await this.#disk.syncFolder(path.dirname(this.#fileOf(hash)));
  }

  #fileOf(hash: Hash): string {
    invariant(HASH_PATTERN.test(hash), `${hash} is not a hash`);
    return path.join(this.#folder, "blobs", hash.slice(0, 2), hash);
  }

  #book(hash: Hash, size: number): void {
    this.#used_bytes += size - (this.#sizes.get(hash) ?? 0);
    this.#sizes.set(hash, size);
  }

  #reserve(bytes: number): void {
    const total = this.#used_bytes + this.#pending_bytes + bytes;
    if (total > this.#quota_bytes)
      throw new MagnetError(
        "DISK_FULL",
        `the store's limit of ${formatBytes(this.#quota_bytes)} is reached`,
        { hint: "raise --max-disk or remove objects; nothing was overwritten" },
      );
    this.#pending_bytes += bytes;
  }

  async #publish(file: string, hash: Hash, size_bytes: number): Promise<void> {
    const target = this.#fileOf(hash);
    const folder = path.dirname(target);
    await this.#disk.makeFolder(folder);
    await this.#disk.syncFolder(path.dirname(folder));
    await this.#disk.rename(file, target);
    await this.#disk.syncFolder(folder);
    this.#book(hash, size_bytes);
  }

  async #readOrDrop(hash: Hash, offset: number, length: number): Promise<Uint8Array> {
    try {
      return await this.read(hash, offset, length);
    } catch (error) {
      if (!(error instanceof MagnetError && error.code === "FILE_CUT_OFF")) throw error;
      throw await this.#dropCorrupt(hash);
    }
  }

  async #dropCorrupt(hash: Hash): Promise<MagnetError> {
    await this.delete(hash);
    return new MagnetError("BLOB_CORRUPT", `blob ${hash} was damaged on this disk; removed`, {
      hint: "it is repaired from other nodes; check the disk if this happens again",
      exit: "verification",
    });
  }
}
