/** Reads ranges of a shard wherever it is, for rebuilding and restoring. */
import { MagnetError } from "../core/errors.ts";
import type { Hash, PublicKey } from "../core/types.ts";
import { blobGet } from "../network/bulk-messages.ts";
import type { Transport } from "../network/transport.ts";
import type { BlobStore } from "../storage/blobs.ts";
import type { ShardReader } from "../storage/repair.ts";

const RANGE_TIMEOUT_MS = 30_000;

/**
 * From this disk, else from the first holder that answers. Throws BLOB_NOT_FOUND, or a peer's
 * error.
 */
export function shardReader(
  blobs: BlobStore,
  transport: Transport,
  hash: Hash,
  sources: readonly PublicKey[],
): ShardReader {
  return async (offset, length) => {
    if (blobs.has(hash)) return blobs.read(hash, offset, length);
    const body = { hash, offset, length };
    let failure: unknown = new MagnetError("BLOB_NOT_FOUND", `blob ${hash} is not here`);
    for (const source of sources) {
      if (source === transport.public_key) continue;
      try {
        const answer = await transport.request(source, blobGet.request.type, body, {
          timeout_ms: RANGE_TIMEOUT_MS,
        });
        return blobGet.response.schema.parse(answer).data;
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  };
}
