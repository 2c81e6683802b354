/**
 * The work of a repair: shards of an object made again from any K others, stripe by stripe in
 * constant memory, from this disk or straight from peers. Every shard read is hashed on the way, so
 * that a wrong result names the shard that caused it, and a rebuilt one counts only if its hash is
 * the manifest's.
 */
import { MagnetError } from "../core/errors.ts";
import { rsReconstruct } from "../native/codec.ts";
import type { BlobInfo, BlobSource, BlobStore } from "./blobs.ts";
import {
  type ObjectManifest,
  SHARD_HEADER_BYTES,
  shardBytes,
  shardHeader,
  stripesOf,
} from "./manifest.ts";

/** Reads a range of one shard file, header included; rejects if its holder cannot serve it. */
export type ShardReader = (offset: number, length: number) => Promise<Uint8Array>;

/** Readers of the shards that are in a store. */
export function shardReaders(
  manifest: ObjectManifest,
  blobs: BlobSource,
): Map<number, ShardReader> {
  const size = shardBytes(manifest);
  const here = [...manifest.shards.entries()].filter(([, hash]) => blobs.size(hash) === size);
  return new Map(
    here.map(([index, hash]) => [index, (offset, length) => blobs.read(hash, offset, length)]),
  );
}

/** Where decoded bytes go: the object's own, and the payload of lost shards by index. */
export interface DecodeSinks {
  data: ((bytes: Uint8Array) => Promise<void>) | null;
  shards: ReadonlyMap<number, (bytes: Uint8Array) => Promise<void>>;
}

/** One of the K shards in use, hashed as it is read. */
class HashedShard {
  readonly #hasher = new Bun.CryptoHasher("sha256");
  readonly index: number;
  readonly #read: ShardReader;
  constructor(index: number, read: ShardReader) {
    this.index = index;
    this.#read = read;
  }
  /** Null where the holder fails or sends another length. */
  async next(offset: number, length: number): Promise<Uint8Array | null> {
    const bytes = await this.#read(offset, length).catch(() => null);
    if (bytes?.length !== length) return null;
    this.#hasher.update(bytes);
    return bytes;
  }
  digest(): string {
    return this.#hasher.digest("hex");
  }
}

/**
 * Decodes every stripe from the first K readers (data shards before parity). Returns the shards
 * that failed or whose bytes are not the manifest's: unless it is empty, what the sinks got is
 * worthless and the caller tries again without those. Throws TOO_FEW_SHARDS.
 */
export async function decodeStripes(
  manifest: ObjectManifest,
  readers: ReadonlyMap<number, ShardReader>,
  sinks: DecodeSinks,
  options: { signal?: AbortSignal } = {},
): Promise<number[]> {
  const { data_shards: k, shards } = manifest;
  const usable = [...readers.entries()].sort(([a], [b]) => a - b).slice(0, k);
  if (usable.length < k)
    throw new MagnetError("TOO_FEW_SHARDS", `${usable.length} shards are left, ${k} are needed`, {
      hint: "bring back a node that held a shard of this object",
      retryable: true,
      exit: "retry",
    });
  const chosen = usable.map(([index, read]) => new HashedShard(index, read));
  const failed = (parts: (Uint8Array | null)[]) =>
    chosen.filter((_, i) => parts[i] === null).map(({ index }) => index);
  const headers = await Promise.all(chosen.map((s) => s.next(0, SHARD_HEADER_BYTES)));
  if (failed(headers).length > 0) return failed(headers);
  const needed = new Set(sinks.shards.keys());
  if (sinks.data) for (let i = 0; i < k; i++) needed.add(i);
  const wanted = [...needed].filter((i) => !chosen.some((s) => s.index === i));
  for (const { offset, chunk, data_bytes } of stripesOf(manifest)) {
    options.signal?.throwIfAborted();
    const at = SHARD_HEADER_BYTES + offset;
    const parts = await Promise.all(chosen.map((s) => s.next(at, chunk)));
    if (failed(parts).length > 0) return failed(parts);
    const stripe: (Uint8Array | null)[] = shards.map(() => null);
    chosen.forEach(({ index }, i) => {
      stripe[index] = parts[i]!;
    });
    const rebuilt = await rsReconstruct(stripe, wanted, manifest, options);
    wanted.forEach((index, i) => {
      stripe[index] = rebuilt[i]!;
    });
    for (const [index, write] of sinks.shards) await write(stripe[index]!);
    for (let i = 0, rest = data_bytes; sinks.data && i < k && rest > 0; i++, rest -= chunk)
      await sinks.data(stripe[i]!.subarray(0, Math.min(chunk, rest)));
  }
  return chosen.filter((s) => s.digest() !== shards[s.index]).map(({ index }) => index);
}

export interface RebuildResult extends BlobInfo {
  /** Shards whose bytes were wrong or could not be read, left out of the result. */
  failed: number[];
}

/**
 * Makes shard `index` again from any K readers and stores it. The result is the manifest's shard or
 * an error: TOO_FEW_SHARDS, DISK_FULL. Doing it twice, or on two nodes, does no harm.
 */
export async function rebuildShard(
  manifest: ObjectManifest,
  index: number,
  readers: ReadonlyMap<number, ShardReader>,
  target: BlobStore,
  options: { signal?: AbortSignal } = {},
): Promise<RebuildResult> {
  const left = new Map(readers);
  left.delete(index);
  const failed: number[] = [];
  const expected = manifest.shards[index]!;
  for (;;) {
    const writer = await target.writer();
    try {
      await writer.write(shardHeader(manifest, index));
      const shards = new Map([[index, (bytes: Uint8Array) => writer.write(bytes)]]);
      const bad = await decodeStripes(manifest, left, { data: null, shards }, options);
      if (bad.length === 0) return { ...(await writer.commit(expected)), failed };
      for (const i of bad) left.delete(i);
      failed.push(...bad);
      await writer.abort();
    } catch (error) {
      await writer.abort();
      throw error;
    }
  }
}
