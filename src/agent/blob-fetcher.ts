/** Brings blobs from peers into the store: size asked for, chunks pulled, hash checked, then durable. */
import fs from "node:fs/promises";
import path from "node:path";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import type { Hash, PublicKey } from "../core/types.ts";
import { fetchBlob } from "../network/bulk.ts";
import { blobGet } from "../network/bulk-messages.ts";
import type { Transport } from "../network/transport.ts";
import type { BlobStore } from "../storage/blobs.ts";

const SIZE_TIMEOUT_MS = 10_000;

/** Throws BLOB_UNAVAILABLE (retryable) where no source has it, or a disk error. */
export type FetchBlob = (
  hash: Hash,
  sources: readonly PublicKey[],
  size_bytes?: number,
) => Promise<void>;

/** A source's word for the size; a wrong one only costs that source its chance. */
async function askSize(transport: Transport, hash: Hash, source: PublicKey): Promise<number> {
  const body = { hash, offset: 0, length: 1 };
  const answer = await transport.request(source, blobGet.request.type, body, {
    timeout_ms: SIZE_TIMEOUT_MS,
  });
  return blobGet.response.schema.parse(answer).size_bytes;
}

/** One fetch per blob at a time: a second caller waits for the first. */
export function blobFetcher(transport: Transport, blobs: BlobStore, folder: string): FetchBlob {
  const running = new Map<Hash, Promise<void>>();

  const fromSource = async (hash: Hash, sources: readonly PublicKey[], size_bytes: number) => {
    const file = path.join(folder, hash);
    await fetchBlob(transport, { hash, size_bytes, sources, file });
    try {
      await blobs.put(Bun.file(file).stream(), hash);
    } finally {
      await fs.rm(file, { force: true });
    }
  };

  const fetchOnce = async (hash: Hash, sources: readonly PublicKey[], size_bytes?: number) => {
    if (blobs.has(hash)) return;
    if (size_bytes !== undefined) return fromSource(hash, sources, size_bytes);
    let reason = "no source is connected";
    for (const source of sources) {
      try {
        return await fromSource(hash, [source], await askSize(transport, hash, source));
      } catch (error) {
        const known = toMagnetError(error);
        if (known.code === "DISK_FULL") throw known;
        reason = known.message;
      }
    }
    throw new MagnetError("BLOB_UNAVAILABLE", `blob ${hash.slice(0, 12)}: ${reason}`, {
      hint: "it is fetched again once a peer that has it is connected",
      retryable: true,
      exit: "unreachable",
    });
  };

  return (hash, sources, size_bytes) => {
    const known = running.get(hash);
    if (known) return known;
    const fetching = fetchOnce(hash, sources, size_bytes).finally(() => running.delete(hash));
    running.set(hash, fetching);
    return fetching;
  };
}
