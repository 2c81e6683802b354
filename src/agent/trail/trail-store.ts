/**
 * The trails of this node's own contributions, with the bytes of their points: content-hashed files of a
 * quota of their own, and one index that is replaced atomically. They are what audits of this node need, and
 * what its optimizer goes on from after a restart or a round that failed. Kept are the round in the making,
 * the last one made and the one that the next goes on from; nothing is served before it is opened.
 *
 * The files are not synced: a power failure may tear one, which its hash shows, and then the moments begin
 * at zeros again and an audit of that round finds nothing. A process that dies loses nothing.
 */
import fs from "node:fs";
import path from "node:path";
import { z } from "zod";
import { MagnetError } from "../../core/errors.ts";
import { roomLog } from "../../core/log.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import { type BlobSource, BlobStore } from "../../storage/blobs.ts";
import { type Disk, hostDisk } from "../../storage/disk.ts";
import { replaceFileSync } from "../durable-state.ts";
import { readArrays, writeArrays } from "./point-bytes.ts";
import { type Trail, trailHash, trailSchema, trailText } from "./trail.ts";

/** Trails remembered, most of them without their files: as contributions that others go on from. */
const TRAILS_MAX = 16;
/** Of the device's free space, so that a round's points do not take the last of the node's. */
const FREE_LEFT_BYTES = 256 << 20;

const indexSchema = z.strictObject({
  trails: z
    .array(
      z.strictObject({
        trail: trailSchema,
        /** The collection with its commitment is certified: whoever is a member may have it. */
        is_open: z.boolean(),
      }),
    )
    .max(TRAILS_MAX),
});
interface Kept {
  hash: Hash;
  trail: Trail;
  is_open: boolean;
}

export interface TrailStoreOptions {
  folder: string;
  /** Most bytes of all points together. */
  quota_bytes: number;
  /** Whose contributions they are. */
  public_key: PublicKey;
  /** Who may have the points of an open trail. */
  isMember(key: PublicKey): boolean;
  disk?: Disk;
}

/** What a trainer's optimizer holds. */
export interface OptimizerArrays {
  m: Float32Array;
  v: Float32Array;
  residual: Float32Array;
}

const log = roomLog("agent");

/** Hashes of the files that a trail names. */
export const filesOf = ({ points, residual_before, residual_after }: Trail): Hash[] => [
  ...points.flatMap(({ params, moments }) => [params, moments]),
  ...(residual_before ? [residual_before] : []),
  residual_after,
];

const filesOfAll = (kept: readonly Kept[]) => kept.flatMap(({ trail }) => filesOf(trail));
/** What the next round goes on from. */
const endOf = ({ points, residual_after }: Trail): [moments: Hash, residual: Hash] => [
  points.at(-1)!.moments,
  residual_after,
];

export class TrailStore implements BlobSource {
  /** Newest last. */
  #trails: Kept[] = [];
  /** Files of the round in the making. */
  readonly #making = new Set<Hash>();
  /** Trails that were drawn for an audit stay a while longer, where there is room. */
  isAudited: (hash: Hash) => boolean = () => false;
  /** What the last round that found no room would have gone on from. */
  #crowded: Hash | null | undefined;

  private constructor(
    readonly options: TrailStoreOptions,
    private readonly blobs: BlobStore,
  ) {}

  static async open(options: TrailStoreOptions): Promise<TrailStore> {
    const { folder, quota_bytes, disk = hostDisk } = options;
    const unsynced: Disk = { ...disk, syncFolder: async () => undefined };
    const points = path.join(folder, "points");
    const blobs = await BlobStore.open({ folder: points, disk: unsynced, quota_bytes });
    const store = new TrailStore(options, blobs);
    store.#trails = store.#readIndex();
    await store.#sweep(filesOfAll(store.#trails));
    return store;
  }

  get #index(): string {
    return path.join(this.options.folder, "trails.json");
  }

  #readIndex(): Kept[] {
    if (!fs.existsSync(this.#index)) return [];
    try {
      const { trails } = indexSchema.parse(JSON.parse(fs.readFileSync(this.#index, "utf8")));
      return trails.map((kept) => ({ ...kept, hash: trailHash(kept.trail) }));
    } catch {
      log.warn("trails_unreadable", { file: this.#index });
      return []; // the moments begin at zeros
    }
  }

  #writeIndex(): void {
    const trails = this.#trails.map(({ trail, is_open }) => ({ trail, is_open }));
    replaceFileSync(this.#index, JSON.stringify({ trails }));
  }

  get used_bytes(): number {
    return this.blobs.used_bytes;
  }

  /** A trail that was made here, by its hash. */
  trail(hash: Hash): Trail | null {
    return this.#trails.find((kept) => kept.hash === hash)?.trail ?? null;
  }

  /** Text of an open trail, for members; null where there is none. */
  textFor(hash: Hash, to: PublicKey): string | null {
    const kept = this.#trails.find((known) => known.hash === hash);
    return kept?.is_open && this.options.isMember(to) ? trailText(kept.trail) : null;
  }

  /**
   * Whether the points of a round find room, after what is no longer needed has gone. `previous`: the
   * trail that it goes on from.
   */
  async makeRoom(bytes: number, previous: Hash | null): Promise<boolean> {
    this.#making.clear();
    const needed = this.#trails.filter(({ hash }) => hash === previous);
    const last = this.#trails.slice(-1);
    const audited = this.#trails.filter(({ hash }) => this.isAudited(hash));
    const choices = [[...needed, ...last, ...audited], [...needed, ...last], needed].map(
      filesOfAll,
    );
    // Its audits are over when a round without a trail has passed: then only its end is still needed.
    if (this.#crowded === previous) choices.push(needed.flatMap(({ trail }) => endOf(trail)));
    for (const kept of choices) {
      await this.#sweep(kept);
      if (this.#fits(bytes)) return true;
    }
    this.#crowded = previous;
    return false;
  }

  #fits(bytes: number): boolean {
    if (this.blobs.used_bytes + bytes > this.options.quota_bytes) return false;
    const { bavail, bsize } = fs.statfsSync(this.options.folder);
    return bavail * bsize >= bytes + FREE_LEFT_BYTES;
  }

  /** Deletes all files but these and those of the round in the making. */
  async #sweep(kept: readonly Hash[]): Promise<void> {
    const needed = new Set([...kept, ...this.#making]);
    for (const hash of this.blobs.list()) if (!needed.has(hash)) await this.blobs.delete(hash);
  }

  /** Whether what the optimizer held at the end of a trail is on this disk, as far as names tell. */
  hasEnd(trail: Trail): boolean {
    return endOf(trail).every((hash) => this.blobs.has(hash));
  }

  /** Writes arrays as one file of the round in the making. Throws DISK_FULL and other disk errors. */
  async put(...arrays: Float32Array[]): Promise<Hash> {
    const bytes = arrays.reduce((sum, { byteLength }) => sum + byteLength, 0);
    const { hash } = await this.blobs.take(bytes, (file) => writeArrays(file, ...arrays));
    this.#making.add(hash);
    return hash;
  }

  /** The round's contribution is made: its trail is durable when this returns. */
  add(trail: Trail): Hash {
    const hash = trailHash(trail);
    this.#making.clear();
    const others = this.#trails.filter((kept) => kept.hash !== hash);
    this.#trails = [...others, { hash, trail, is_open: false }].slice(-TRAILS_MAX);
    this.#writeIndex();
    return hash;
  }

  /** The round in the making came to nothing. */
  async abandon(): Promise<void> {
    this.#making.clear();
    await this.#sweep(filesOfAll(this.#trails));
  }

  /** The commitment to this pseudo-gradient is certified: from now on its trail may be seen. */
  openFor(delta_hash: Hash): void {
    const kept = this.#trails.findLast(({ trail }) => trail.delta_hash === delta_hash);
    if (!kept || kept.is_open) return;
    kept.is_open = true;
    this.#writeIndex();
  }

  /**
   * Fills the arrays with what the optimizer held at the end of a trail; false where that is not here
   * whole, and the arrays are then anything.
   */
  async loadEnd(trail: Trail, { m, v, residual }: OptimizerArrays): Promise<boolean> {
    const [moments, residual_after] = endOf(trail);
    return (await this.#load(moments, m, v)) && this.#load(residual_after, residual);
  }

  async #load(hash: Hash, ...arrays: Float32Array[]): Promise<boolean> {
    if (!this.blobs.has(hash)) return false;
    try {
      if ((await readArrays(this.blobs.pathOf(hash), ...arrays)) === hash) return true;
      log.warn("point_damaged", { hash });
    } catch (error) {
      log.warn("point_unreadable", { hash, reason: String(error) });
    }
    await this.blobs.delete(hash);
    return false;
  }

  #isOpen(hash: Hash): boolean {
    return this.#trails.some(({ trail, is_open }) => is_open && filesOf(trail).includes(hash));
  }

  /** As peers see it: only what is named by an open trail, and only to members. */
  size(hash: Hash, to: PublicKey = this.options.public_key): number | null {
    return this.options.isMember(to) && this.#isOpen(hash) ? this.blobs.size(hash) : null;
  }

  async read(hash: Hash, offset: number, length: number): Promise<Uint8Array> {
    if (!this.#isOpen(hash))
      throw new MagnetError("BLOB_NOT_FOUND", `blob ${hash} is not here`, { retryable: true });
    return this.blobs.read(hash, offset, length);
  }
}
