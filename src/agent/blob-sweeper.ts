/**
 * Removes states and pseudo-gradients that no round needs any more: merges of views that lost,
 * initial states of ended jobs, contributions that were not collected, leftovers of a crash.
 * Without it every round could leave something behind. Only these two kinds are touched: job files
 * and shards have owners.
 */
import type { Hash } from "../core/types.ts";
import type { BlobStore } from "../storage/blobs.ts";

/** First bytes of a model state, and of an encoded pseudo-gradient. */
const ROUND_MAGICS = ["MGSTATE1", "MGD1"];
const MAGIC_BYTES = 8;

export class BlobSweeper {
  readonly #blobs: BlobStore;
  /** Whether a blob is of one of the two kinds; content never changes, so it is read once. */
  readonly #of_round = new Map<Hash, boolean>();
  /** Not needed at the last sweep. */
  #suspects = new Set<Hash>();

  constructor(blobs: BlobStore) {
    this.#blobs = blobs;
  }

  async #isOfRound(hash: Hash): Promise<boolean> {
    const known = this.#of_round.get(hash);
    if (known !== undefined) return known;
    if ((this.#blobs.size(hash) ?? 0) < MAGIC_BYTES) return false;
    const head = new TextDecoder("latin1").decode(await this.#blobs.read(hash, 0, MAGIC_BYTES));
    const answer = ROUND_MAGICS.some((magic) => head.startsWith(magic));
    this.#of_round.set(hash, answer);
    return answer;
  }

  /**
   * Deletes what two sweeps in a row found unneeded, so that a blob which is just being made or
   * announced is never taken. Returns what was deleted. Called once per promoted round.
   */
  async sweep(needed: () => ReadonlySet<Hash>): Promise<Hash[]> {
    const candidates: Hash[] = [];
    for (const hash of this.#blobs.list()) if (await this.#isOfRound(hash)) candidates.push(hash);
    const kept = needed();
    const unneeded = candidates.filter((hash) => !kept.has(hash));
    const gone = unneeded.filter((hash) => this.#suspects.has(hash));
    this.#suspects = new Set(unneeded.filter((hash) => !gone.includes(hash)));
    for (const hash of gone) {
      this.#of_round.delete(hash);
      await this.#blobs.delete(hash);
    }
    for (const hash of this.#of_round.keys())
      if (!this.#blobs.has(hash)) this.#of_round.delete(hash);
    return gone;
  }
}
