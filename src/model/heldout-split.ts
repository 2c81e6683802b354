/**
 * Which parts are held out: those whose content hash is lowest, up to the wanted share of the
 * bytes. The choice depends on the set of texts only, not on their order or names, and equal texts
 * always fall on the same side, so that nothing held out is trained on.
 */
import { invariant, MagnetError } from "../core/errors.ts";

const BUCKETS = 65_536;

/** Bucket of a part: 16 bits of its SHA-256. */
export function bucketOf(bytes: Uint8Array): number {
  const digest = new Bun.CryptoHasher("sha256").update(bytes).digest();
  return (digest[0]! << 8) | digest[1]!;
}

/** Gathers sizes by bucket, then decides. */
export class HeldoutSplit {
  private readonly sizes = new Float64Array(BUCKETS);
  total_bytes = 0;

  add(bytes: Uint8Array): void {
    this.sizes[bucketOf(bytes)]! += bytes.length;
    this.total_bytes += bytes.length;
  }

  /**
   * The first bucket that is trained on: parts of lower ones are held out. `fraction` in [0, 0.5];
   * above 0 both sides get at least one part, or DATA_TOO_SMALL is thrown.
   */
  boundary(fraction: number): number {
    invariant(fraction >= 0 && fraction <= 0.5, "heldout_fraction lies in [0, 0.5]");
    if (fraction === 0) return 0;
    const used = [...this.sizes.keys()].filter((bucket) => this.sizes[bucket]! > 0);
    if (used.length < 2)
      throw new MagnetError(
        "DATA_TOO_SMALL",
        `${this.total_bytes} bytes of text make too few documents to hold one out`,
        { hint: "give more text, or hold nothing out: --heldout 0" },
      );
    const wanted = fraction * this.total_bytes;
    let held = this.sizes[used[0]!]!;
    let count = 1;
    for (; count < used.length - 1; count++) {
      const next = held + this.sizes[used[count]!]!;
      if (Math.abs(next - wanted) >= Math.abs(held - wanted)) break;
      held = next;
    }
    return used[count]!;
  }
}
