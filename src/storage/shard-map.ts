/**
 * Who holds which shard, as far as this node knows: from peers' inventories and from its own disk.
 * A peer that was away is believed only after it spoke again.
 */
import type { Cid, PublicKey } from "../core/types.ts";
import type { ObjectManifest } from "./manifest.ts";
import { type Inventory, OBJECTS_MAX } from "./messages.ts";

type Liveness = "up" | "suspect" | "down";
interface Holding {
  shards: ReadonlySet<number>;
  /** Of the inventory that said so last. */
  sequence: number;
}

/** An object that this node knows the manifest of. */
export interface KnownObject {
  cid: Cid;
  manifest: ObjectManifest;
  /** Since when a shard has no live holder; only those. */
  missing_since: Map<number, number>;
  /** Since when this node's copy is surplus; only those. */
  surplus_since: Map<number, number>;
  /** Not before this time again, after a failure. */
  retry_at: Map<number, number>;
}

export class ShardMap {
  readonly self: PublicKey;
  readonly objects = new Map<Cid, KnownObject>();
  readonly own = new Map<Cid, Set<number>>();
  readonly #members = new Map<PublicKey, Liveness>();
  readonly #held = new Map<PublicKey, Map<Cid, Holding>>();

  constructor(self: PublicKey) {
    this.self = self;
    this.#members.set(self, "up");
  }

  /** Live members, this node included, sorted. */
  live(): PublicKey[] {
    return [...this.#members]
      .filter(([, l]) => l === "up")
      .map(([m]) => m)
      .sort();
  }

  setLiveness(member: PublicKey, liveness: Liveness): void {
    if (member === this.self) return;
    // Back from the dead it may have lost its disk: it says what it has, and until then it has
    // nothing.
    if (liveness === "up" && this.#members.get(member) === "down") this.#held.delete(member);
    this.#members.set(member, liveness);
  }

  addObject(cid: Cid, manifest: ObjectManifest): KnownObject {
    const known = this.objects.get(cid);
    if (known) return known;
    const maps = { missing_since: new Map(), surplus_since: new Map(), retry_at: new Map() };
    const object: KnownObject = { cid, manifest, ...maps };
    this.objects.set(cid, object);
    return object;
  }

  /**
   * Takes in what a peer says it holds of one object; null sequence: a change since its inventory.
   */
  note(from: PublicKey, cid: Cid, shards: readonly number[], sequence: number | null): void {
    const held = this.#held.get(from) ?? new Map<Cid, Holding>();
    this.#held.set(from, held);
    if (!held.has(cid) && held.size >= OBJECTS_MAX) return;
    const kept = sequence ?? held.get(cid)?.sequence ?? 0;
    held.set(cid, { shards: new Set(shards), sequence: kept });
  }

  /** One part of an inventory; after the last part, what it did not name is gone. */
  noteInventory(from: PublicKey, { sequence, part, parts, objects }: Inventory): void {
    for (const { cid, shards } of objects) this.note(from, cid, shards, sequence);
    const held = this.#held.get(from);
    if (part !== parts - 1 || !held) return;
    for (const [cid, holding] of held) if (holding.sequence !== sequence) held.delete(cid);
  }

  /** Live holders of a shard, this node first. */
  holders(cid: Cid, index: number): PublicKey[] {
    const out = this.own.get(cid)?.has(index) ? [this.self] : [];
    for (const [member, liveness] of this.#members)
      if (liveness === "up" && this.#held.get(member)?.get(cid)?.shards.has(index))
        out.push(member);
    return out;
  }

  /** Objects that live peers hold something of and whose manifest is not known here. */
  unknownObjects(): Map<Cid, PublicKey[]> {
    const out = new Map<Cid, PublicKey[]>();
    for (const [member, held] of this.#held) {
      if (this.#members.get(member) !== "up") continue;
      for (const [cid, { shards }] of held)
        if (shards.size > 0 && !this.objects.has(cid))
          out.set(cid, [...(out.get(cid) ?? []), member]);
    }
    return out;
  }
}
