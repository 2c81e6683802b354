/**
 * Objects of any size in constant memory (paper 11): put cuts a source into stripes and writes K +
 * M shard files, get puts the object together from any K of them. Shards are hashed while they are
 * read, and the object's own hash is checked before it becomes visible; a damaged shard is named
 * and another one used.
 */
import { MagnetError, toMagnetError } from "../core/errors.ts";
import type { Cid, Hash } from "../core/types.ts";
import { type ErasureCode, rsEncode } from "../native/codec.ts";
import type { BlobSource, BlobStore, BlobWriter } from "./blobs.ts";
import type { HeldObject } from "./keeper-types.ts";
import {
  cidOfManifest,
  MANIFEST_BYTES_MAX,
  manifestBytes,
  type ObjectManifest,
  type ObjectShape,
  parseManifest,
  shapeOf,
  shardHeader,
  stripesOf,
} from "./manifest.ts";
import { decodeStripes, type ShardReader, shardReaders } from "./repair.ts";

/** Bytes to be stored; read twice, so it must not change meanwhile (SOURCE_CHANGED if it does). */
export interface ObjectSource {
  size_bytes: number;
  read(offset: number, length: number): Promise<Uint8Array>;
}

export interface PutOptions extends ErasureCode {
  /** Bytes of one shard in one stripe; the default needs K + M quarters of a MiB of memory. */
  chunk_bytes?: number;
  threads?: number;
  signal?: AbortSignal;
}
export interface StoredObject {
  cid: Cid;
  manifest: ObjectManifest;
}

export const bytesSource = (bytes: Uint8Array): ObjectSource => ({
  size_bytes: bytes.length,
  read: async (offset, length) => bytes.subarray(offset, offset + length),
});
/** A blob of the store as a source, for example a checkpoint that is already there. */
export const blobSource = (blobs: BlobSource, hash: Hash): ObjectSource => {
  const size_bytes = blobs.size(hash);
  if (size_bytes === null) throw new MagnetError("BLOB_NOT_FOUND", `blob ${hash} is not here`);
  return { size_bytes, read: (offset, length) => blobs.read(hash, offset, length) };
};

const HASH_CHUNK_BYTES = 1 << 20;

async function hashSource(source: ObjectSource): Promise<Hash> {
  const hasher = new Bun.CryptoHasher("sha256");
  for (let at = 0; at < source.size_bytes; at += HASH_CHUNK_BYTES)
    hasher.update(await source.read(at, Math.min(HASH_CHUNK_BYTES, source.size_bytes - at)));
  return hasher.digest("hex") as Hash;
}

/** Writes the stripes of `source` to the K + M writers; returns the hash of what was read. */
async function encodeStripes(
  source: ObjectSource,
  shape: ObjectShape,
  writers: readonly BlobWriter[],
  options: PutOptions,
): Promise<Hash> {
  const { data_shards: k, parity_shards: m, chunk_bytes } = shape;
  const hasher = new Bun.CryptoHasher("sha256");
  const buffer = new Uint8Array((k + m) * chunk_bytes);
  for (const { chunk, data_offset, data_bytes } of stripesOf(shape)) {
    options.signal?.throwIfAborted();
    const data = await source.read(data_offset, data_bytes);
    hasher.update(data);
    buffer.set(data);
    buffer.fill(0, data_bytes, k * chunk);
    const shards = writers.map((_, i) => buffer.subarray(i * chunk, (i + 1) * chunk));
    await rsEncode(shards.slice(0, k), shape, { ...options, into: shards.slice(k) });
    for (const [i, writer] of writers.entries()) await writer.write(shards[i]!);
  }
  return hasher.digest("hex") as Hash;
}

/**
 * Stores an object: all K + M shards and, last, the manifest as blobs of `store`. Until the
 * manifest is there the object is not; a crash leaves at most shards that nothing names. Throws
 * DISK_FULL, BAD_CODE, SOURCE_CHANGED.
 */
export async function putObject(
  store: BlobStore,
  source: ObjectSource,
  options: PutOptions,
): Promise<StoredObject> {
  const content_hash = await hashSource(source);
  const shape = shapeOf(content_hash, source.size_bytes, options, options.chunk_bytes);
  const writers: BlobWriter[] = [];
  try {
    for (let i = 0; i < shape.data_shards + shape.parity_shards; i++) {
      writers.push(await store.writer());
      await writers[i]!.write(shardHeader(shape, i));
    }
    if ((await encodeStripes(source, shape, writers, options)) !== content_hash)
      throw new MagnetError("SOURCE_CHANGED", "the source changed while it was being stored", {
        hint: "store it again when nothing writes to it",
        retryable: true,
      });
    const shards: Hash[] = [];
    for (const writer of writers) shards.push((await writer.commit()).hash);
    const manifest: ObjectManifest = { schema: "magnet.object/1", ...shape, shards };
    await store.put(manifestBytes(manifest));
    return { cid: cidOfManifest(manifest), manifest };
  } catch (error) {
    for (const writer of writers) await writer.abort();
    throw error;
  }
}

export interface GetResult {
  /** The object is now the blob `content_hash` of the target store. */
  hash: Hash;
  /** Shards whose bytes were wrong, each to be repaired. */
  corrupt: number[];
}

/**
 * Puts an object together from any K shards into `target`, as the blob named by its content hash.
 * `readers` may read from this disk or from peers. A shard that fails or is damaged is left out and
 * another one taken. Throws TOO_FEW_SHARDS when fewer than K are left.
 */
export async function getObject(
  manifest: ObjectManifest,
  readers: ReadonlyMap<number, ShardReader>,
  target: BlobStore,
  options: { signal?: AbortSignal } = {},
): Promise<GetResult> {
  const left = new Map(readers);
  const corrupt: number[] = [];
  if (target.has(manifest.content_hash)) return { hash: manifest.content_hash, corrupt };
  for (;;) {
    const writer = await target.writer();
    try {
      const write = (data: Uint8Array) => writer.write(data);
      const bad = await decodeStripes(manifest, left, { data: write, shards: new Map() }, options);
      if (bad.length === 0) {
        const { hash } = await writer.commit(manifest.content_hash);
        return { hash, corrupt };
      }
      for (const index of bad) left.delete(index);
      corrupt.push(...bad);
      await writer.abort();
    } catch (error) {
      await writer.abort();
      throw error;
    }
  }
}

/** As getObject, from the shards in `store` alone. */
export const getLocalObject = (store: BlobStore, manifest: ObjectManifest): Promise<GetResult> =>
  getObject(manifest, shardReaders(manifest, store), store);

/** Canonical JSON has its keys sorted: every manifest begins like this. */
const MANIFEST_START = new TextEncoder().encode('{"chunk_bytes":');

/**
 * The objects whose manifests are among the blobs of a store, with the shards that are there: what
 * the keeper's `start` event needs after a restart. Damaged manifests are dropped from the store.
 */
export async function findObjects(store: BlobStore): Promise<HeldObject[]> {
  const found: HeldObject[] = [];
  for (const hash of store.list()) {
    const size_bytes = store.size(hash) ?? 0;
    if (size_bytes < MANIFEST_START.length || size_bytes > MANIFEST_BYTES_MAX) continue;
    const start = await store.read(hash, 0, MANIFEST_START.length);
    if (Buffer.compare(start, MANIFEST_START) !== 0) continue;
    try {
      const manifest = parseManifest(await store.get(hash));
      const shards = [...shardReaders(manifest, store).keys()];
      found.push({ cid: cidOfManifest(manifest), manifest, shards });
    } catch (error) {
      const { code } = toMagnetError(error);
      if (code !== "MANIFEST_CORRUPT" && code !== "BLOB_CORRUPT") throw error; // else: no manifest
    }
  }
  return found;
}
