/**
 * Brings blobs from peers into the store: size asked for, chunks pulled, hash checked, then
 * durable.
 */
import fs from "node:fs/promises";
import path from "node:path";
import { formatBytes } from "../core/bytes.ts";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import type { Hash, PublicKey } from "../core/types.ts";
import { fetchBlob } from "../network/bulk.ts";
import { blobGet } from "../network/bulk-messages.ts";
import type { Transport } from "../network/transport.ts";
import type { BlobStore } from "../storage/blobs.ts";

const SIZE_TIMEOUT_MS = 10_000;

/** What is known of a blob's length before it is here. */
export interface KnownSize {
  size_bytes?: number;
  /** A source that names a larger size is not asked for it. */
  size_max?: number;
}

/** Throws BLOB_UNAVAILABLE (retryable) where no source has it, DISK_LIMIT, or a disk error. */
export type FetchBlob = (
  hash: Hash,
  sources: readonly PublicKey[],
  known?: KnownSize,
) => Promise<void>;

/** A source's word for the size; a wrong one only costs that source its chance. */
async function askSize(transport: Transport, hash: Hash, source: PublicKey): Promise<number> {
  const body = { hash, offset: 0, length: 1 };
  const answer = await transport.request(source, blobGet.request.type, body, {
    timeout_ms: SIZE_TIMEOUT_MS,
  });
  return blobGet.response.schema.parse(answer).size_bytes;
}

/** Parts of blobs that nobody could deliver are not kept longer; younger ones are gone on with. */
const PART_KEPT_MS = 24 * 3_600_000;

/** Removes what fetches of earlier runs have left behind. */
export async function dropOldParts(folder: string, now_ms: number): Promise<void> {
  await fs.mkdir(folder, { recursive: true, mode: 0o700 });
  for (const name of await fs.readdir(folder)) {
    const file = path.join(folder, name);
    if ((await fs.stat(file)).mtimeMs < now_ms - PART_KEPT_MS) await fs.rm(file, { force: true });
  }
}

/**
 * One fetch per blob at a time: a second caller waits for the first. A size that this disk may not
 * hold
 * (`max_disk_bytes` of all blobs) is refused before the first byte: it is only a peer's word.
 */
export function blobFetcher(
  transport: Transport,
  blobs: BlobStore,
  folder: string,
  max_disk_bytes: number,
): FetchBlob {
  const running = new Map<Hash, Promise<void>>();

  const fromSource = async (
    hash: Hash,
    sources: readonly PublicKey[],
    size_bytes: number,
    size_max = Number.POSITIVE_INFINITY,
  ) => {
    if (size_bytes > size_max)
      throw new MagnetError("BLOB_TOO_LARGE", `a source names ${size_bytes} bytes`);
    if (blobs.used_bytes + size_bytes > max_disk_bytes)
      throw new MagnetError(
        "DISK_LIMIT",
        `blob ${hash.slice(0, 12)} of ${formatBytes(size_bytes)} exceeds the disk limit`,
        { hint: "raise --max-disk" },
      );
    const file = path.join(folder, hash);
    await fetchBlob(transport, { hash, size_bytes, sources, file });
    try {
      await blobs.put(Bun.file(file).stream(), hash);
    } finally {
      await fs.rm(file, { force: true });
    }
  };

  const fetchOnce = async (hash: Hash, sources: readonly PublicKey[], known: KnownSize) => {
    if (blobs.has(hash)) return;
    const { size_bytes, size_max } = known;
    if (size_bytes !== undefined) return fromSource(hash, sources, size_bytes, size_max);
    let reason = "no source is connected";
    for (const source of sources) {
      try {
        const asked = await askSize(transport, hash, source);
        return await fromSource(hash, [source], asked, size_max);
      } catch (error) {
        const failure = toMagnetError(error);
        if (failure.code === "DISK_FULL") throw failure;
        reason = failure.message;
      }
    }
    throw new MagnetError("BLOB_UNAVAILABLE", `blob ${hash.slice(0, 12)}: ${reason}`, {
      hint: "it is fetched again once a peer that has it is connected",
      retryable: true,
      exit: "unreachable",
    });
  };

  return (hash, sources, known = {}) => {
    const first = running.get(hash);
    if (first) return first;
    const fetching = fetchOnce(hash, sources, known).finally(() => running.delete(hash));
    running.set(hash, fetching);
    return fetching;
  };
}
