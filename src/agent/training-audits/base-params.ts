/**
 * The weights of a state on this disk, without the memory for them: gigabytes go through in pieces.
 * The state's own hash is not looked at here; whoever compares with a hash of the weights sees
 * damage as well.
 */
import type { Hash } from "../../core/types.ts";
import type { BlobStore } from "../../storage/blobs.ts";
import { paramsRange } from "../model-state.ts";

const PIECE_BYTES = 1 << 20;

export interface BaseParams {
  /** SHA-256 of a state's weights; null where it is not on this disk whole. */
  paramsHash(state_hash: Hash): Promise<Hash | null>;
  /** Their bytes; null where the state is not on this disk. */
  params(state_hash: Hash): Promise<AsyncIterable<Uint8Array> | null>;
}

async function* pieces(blobs: BlobStore, hash: Hash, from: number, to: number) {
  for (let at = from; at < to; at += PIECE_BYTES)
    yield await blobs.read(hash, at, Math.min(PIECE_BYTES, to - at));
}

export function baseParams(blobs: BlobStore): BaseParams {
  const params = async (state_hash: Hash) => {
    const size = blobs.size(state_hash);
    if (size === null) return null;
    const { from, to } = await paramsRange(
      (at, length) => blobs.read(state_hash, at, length),
      size,
    );
    return pieces(blobs, state_hash, from, to);
  };
  return {
    params,
    async paramsHash(state_hash) {
      const found = await params(state_hash);
      if (!found) return null;
      await blobs.verify(state_hash); // nothing here says what its weights are
      const hasher = new Bun.CryptoHasher("sha256");
      for await (const piece of found) hasher.update(piece);
      return hasher.digest("hex") as Hash;
    },
  };
}
