/** Which pseudo-gradients are here, under way, or to be asked for again; each is fetched once. */
import type { Hash, PublicKey } from "../core/types.ts";
import type { Sink } from "../network/effects.ts";
import type { RoundEffect } from "./round-types.ts";

/** A fetch that failed from all sources is tried again after so long. */
const RETRY_MS = 2000;

export class BlobWants {
  readonly #have = new Set<Hash>();
  readonly #fetching = new Set<Hash>();
  readonly #failed = new Map<Hash, number>();

  has(hash: Hash): boolean {
    return this.#have.has(hash);
  }
  /** True if the last attempt failed and no other runs. */
  isStuck(hash: Hash): boolean {
    return this.#failed.has(hash);
  }

  /** Starts the fetch unless the blob is here, under way, or failed a moment ago. */
  want(
    blob: { delta_hash: Hash; size_bytes: number },
    sources: () => readonly PublicKey[],
    now_ms: number,
    out: Sink<RoundEffect>,
  ): void {
    const { delta_hash: hash, size_bytes } = blob;
    if (this.#have.has(hash) || this.#fetching.has(hash)) return;
    if (now_ms < (this.#failed.get(hash) ?? 0)) return;
    this.#failed.delete(hash);
    this.#fetching.add(hash);
    out.push({ type: "fetch_blob", hash, size_bytes, sources: sources() });
  }

  arrived(hash: Hash): void {
    this.#fetching.delete(hash);
    this.#failed.delete(hash);
    this.#have.add(hash);
  }

  failed(hash: Hash, now_ms: number): void {
    if (this.#fetching.delete(hash)) this.#failed.set(hash, now_ms + RETRY_MS);
  }

  /** Forgets blobs that no open round needs and lets the runtime delete them. */
  drop(hashes: readonly Hash[], out: Sink<RoundEffect>): void {
    for (const hash of hashes) {
      this.#have.delete(hash);
      this.#fetching.delete(hash);
      this.#failed.delete(hash);
    }
    if (hashes.length > 0) out.push({ type: "drop_blobs", hashes });
  }
}
