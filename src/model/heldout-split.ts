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

/** SHA-256 of a part. */
export const digestOf = (bytes: Uint8Array): string =>
  new Bun.CryptoHasher("sha256").update(bytes).digest("hex");

/** How the parts of one source are divided. */
export interface SourceSplit {
  /** The first bucket that is trained on. */
  boundary: number;
  /** Digests of parts that another source holds out: not trained on here. */
  excluded?: ReadonlySet<string>;
}

/** Where a part belongs; null: nowhere. */
export function sideOf(split: SourceSplit, bytes: Uint8Array): "train" | "heldout" | null {
  if (bucketOf(bytes) < split.boundary) return "heldout";
  const { excluded } = split;
  return excluded !== undefined && excluded.size > 0 && excluded.has(digestOf(bytes))
    ? null
    : "train";
}

/** Gathers sizes by bucket, then decides. */
export class HeldoutSplit {
  private readonly sizes = new Float64Array(BUCKETS);
  total_bytes = 0;

  add(bytes: Uint8Array): void {
    this.sizes[bucketOf(bytes)]! += bytes.length;
    this.total_bytes += bytes.length;
  }

  /** Adds what another has gathered. */
  absorb(other: HeldoutSplit): void {
    for (const [bucket, bytes] of other.sizes.entries()) this.sizes[bucket]! += bytes;
    this.total_bytes += other.total_bytes;
  }

  /** True where some boundary leaves parts on both sides. */
  get canBeCut(): boolean {
    let used = 0;
    for (const bytes of this.sizes) if (bytes > 0 && ++used === 2) return true;
    return false;
  }

  /** True where a boundary leaves parts on both sides, or holds nothing out. */
  isCutBy(boundary: number): boolean {
    const has = (from: number, to: number) => this.sizes.subarray(from, to).some((n) => n > 0);
    return boundary === 0 || (has(0, boundary) && has(boundary, BUCKETS));
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
