/**
 * Erasure-coded checkpoints (paper 11): the round's leader cuts the promoted state into shards, the
 * keeper machine spreads and repairs them, and this file does what it asks for: fetch, rebuild,
 * delete. Which checkpoints are wanted follows from the promoted states alone, so every node drops
 * the same ones.
 */
import fs from "node:fs";
import path from "node:path";
import { z } from "zod";
import { toMagnetError } from "../core/errors.ts";
import type { Log } from "../core/log.ts";
import type { Cid, Hash, PublicKey } from "../core/types.ts";
import type { Transport } from "../network/transport.ts";
import type { BlobStore } from "../storage/blobs.ts";
import { CID_PATTERN, hashOfCid } from "../storage/cid.ts";
import type { HeldObject, KeeperEffect, KeeperEvent } from "../storage/keeper-types.ts";
import {
  MANIFEST_BYTES_MAX,
  type ObjectManifest,
  parseManifest,
  shardBytes,
} from "../storage/manifest.ts";
import { blobSource, getObject, putObject } from "../storage/objects.ts";
import { rebuildShard, type ShardReader } from "../storage/repair.ts";
import type { FetchBlob } from "./blob-fetcher.ts";
import { replaceFileSync } from "./durable-state.ts";
import type { NodeEffect, NodeEvent } from "./node-types.ts";
import type { PublishedBlobs } from "./published-blobs.ts";
import { shardReader } from "./shard-reader.ts";

/**
 * Checkpoints kept in the network: the last promoted states, so that a repair ends before its
 * object is old.
 */
const CHECKPOINTS_KEPT = 3;

export interface CheckpointKeeperOptions {
  data_dir: string;
  blobs: BlobStore;
  published: PublishedBlobs;
  fetchBlob: FetchBlob;
  transport: Transport;
  code: { data_shards: number; parity_shards: number };
  log: Log;
  feed(event: NodeEvent): void;
  /** True for a blob that something else than an object needs: a manifest may name any hash. */
  isNeeded(hash: Hash): boolean;
  /** Objects besides checkpoints that the network keeps, by the hash of their content. */
  isKept(content_hash: Hash): boolean;
}

type PromotedEffect = Extract<NodeEffect, { type: "store_checkpoint" }>;

export class CheckpointKeeper {
  readonly #options: CheckpointKeeperOptions;
  readonly #manifests = new Map<Cid, ObjectManifest>();
  /** Hashes of the last promoted states, newest first. */
  #wanted: Hash[] = [];

  constructor(options: CheckpointKeeperOptions) {
    this.#options = options;
  }

  get #file(): string {
    return path.join(this.#options.data_dir, "state", "objects.json");
  }

  /** Of an object that this node knows. */
  manifestOf(cid: Cid): ObjectManifest | undefined {
    return this.#manifests.get(cid);
  }

  #say(event: KeeperEvent): void {
    this.#options.feed({ type: "keeper", event });
  }

  /** Tells the machine what is on this disk; what is named but not whole is left out. */
  async start(): Promise<void> {
    const objects: HeldObject[] = [];
    for (const cid of this.#readIndex()) {
      const hash = hashOfCid(cid);
      if (!this.#options.blobs.has(hash)) continue;
      try {
        const manifest = parseManifest(await this.#options.blobs.get(hash));
        this.#manifests.set(cid, manifest);
        const shards = this.#held(manifest);
        this.#publish(cid, shards);
        objects.push({ cid, manifest, shards });
      } catch (error) {
        this.#options.log.warn("object_left_out", { cid, reason: toMagnetError(error).message });
      }
    }
    this.#say({ type: "start", objects });
  }

  #readIndex(): Cid[] {
    if (!fs.existsSync(this.#file)) return [];
    const schema = z.array(z.string().regex(CID_PATTERN));
    try {
      return schema.parse(JSON.parse(fs.readFileSync(this.#file, "utf8"))) as Cid[];
    } catch (error) {
      // Shards without an index are found again by fetching the manifests from peers.
      this.#options.log.warn("object_index_unreadable", { reason: toMagnetError(error).message });
      return [];
    }
  }

  #writeIndex(): void {
    replaceFileSync(this.#file, JSON.stringify([...this.#manifests.keys()]));
  }

  #held(manifest: ObjectManifest): number[] {
    const size = shardBytes(manifest);
    return [...manifest.shards.keys()].filter(
      (index) => this.#options.blobs.size(manifest.shards[index]!) === size,
    );
  }

  #publish(cid: Cid, shards: readonly number[]): void {
    const manifest = this.#manifests.get(cid)!;
    this.#options.published.publish(hashOfCid(cid));
    for (const index of shards) this.#options.published.publish(manifest.shards[index]!);
  }

  /** The state of a round is current: its leader stores it, everyone forgets superseded ones. */
  promoted({ state_hash, is_leader }: PromotedEffect): void {
    const others = this.#wanted.filter((hash) => hash !== state_hash);
    this.#wanted = [state_hash, ...others].slice(0, CHECKPOINTS_KEPT);
    this.#dropSuperseded();
    if (is_leader) this.spread(state_hash);
  }

  #dropSuperseded(): void {
    if (this.#wanted.length < CHECKPOINTS_KEPT) return; // after a start: nothing is known yet
    for (const [cid, manifest] of this.#manifests)
      if (!this.#isWanted(manifest.content_hash)) this.#say({ type: "object_dropped", cid });
  }

  #isWanted(content_hash: Hash): boolean {
    return this.#wanted.includes(content_hash) || this.#options.isKept(content_hash);
  }

  /** Cuts a blob of this disk into shards and lets the keepers spread them. */
  spread(hash: Hash): void {
    this.#store(hash).catch((error) => this.#failed("store", error));
  }

  async #store(content_hash: Hash): Promise<void> {
    const { blobs, code, log } = this.#options;
    const { cid, manifest } = await putObject(blobs, blobSource(blobs, content_hash), code);
    const shards = this.#held(manifest);
    this.#manifests.set(cid, manifest);
    this.#writeIndex();
    this.#publish(cid, shards);
    log.info("object_encoded", { cid, content_hash, shards: shards.length });
    this.#say({ type: "object_added", cid, manifest, shards });
  }

  #failed(task: string, error: unknown): void {
    this.#options.log.warn("storage_task_failed", { task, reason: toMagnetError(error).message });
  }

  /** Carries out one effect of the keeper machine. */
  perform(effect: KeeperEffect): void {
    const { transport, log } = this.#options;
    switch (effect.type) {
      case "send":
        transport.send(effect.to, effect.message);
        return;
      case "broadcast":
        transport.broadcast(effect.message);
        return;
      case "log":
        log[effect.level](effect.event, effect.fields);
        return;
      case "fetch_manifest":
        this.#fetchManifest(effect);
        return;
      case "fetch_shard":
        this.#fetchShard(effect);
        return;
      case "rebuild_shard":
        this.#rebuild(effect);
        return;
      case "delete_shard":
      case "delete_manifest":
        this.#delete(effect);
        return;
    }
  }

  #fetchManifest(effect: Extract<KeeperEffect, { type: "fetch_manifest" }>): void {
    const { cid, hash, sources } = effect;
    const { blobs, fetchBlob } = this.#options;
    const run = async () => {
      await fetchBlob(hash, sources, { size_max: MANIFEST_BYTES_MAX });
      const manifest = parseManifest(await blobs.get(hash));
      this.#manifests.set(cid, manifest);
      this.#writeIndex();
      this.#publish(cid, []);
      this.#say({ type: "manifest_fetched", cid, manifest });
      this.#dropSuperseded();
    };
    run().catch((error) => {
      // What is no manifest is of no use under this name.
      if (toMagnetError(error).code === "MANIFEST_CORRUPT") this.#remove(hash);
      this.#say({ type: "manifest_failed", cid, reason: toMagnetError(error).message });
    });
  }

  #shardStored(cid: Cid, index: number): void {
    if (this.#manifests.has(cid)) this.#publish(cid, [index]);
    this.#say({ type: "shard_stored", cid, index });
  }

  #shardFailed(cid: Cid, index: number, error: unknown): void {
    this.#say({ type: "shard_failed", cid, index, reason: toMagnetError(error).message });
  }

  #fetchShard(effect: Extract<KeeperEffect, { type: "fetch_shard" }>): void {
    const { cid, size_bytes, shard } = effect;
    this.#options.fetchBlob(shard.hash, shard.sources, { size_bytes }).then(
      () => this.#shardStored(cid, shard.index),
      (error) => this.#shardFailed(cid, shard.index, error),
    );
  }

  #reader(hash: Hash, sources: readonly PublicKey[]): ShardReader {
    const { blobs, transport } = this.#options;
    return shardReader(blobs, transport, hash, sources);
  }

  #rebuild(effect: Extract<KeeperEffect, { type: "rebuild_shard" }>): void {
    const { cid, manifest, index, from } = effect;
    const readers = new Map(from.map((s) => [s.index, this.#reader(s.hash, s.sources)] as const));
    rebuildShard(manifest, index, readers, this.#options.blobs).then(
      () => {
        this.#options.log.info("shard_rebuilt", { cid, index });
        this.#shardStored(cid, index);
      },
      (error) => this.#shardFailed(cid, index, error),
    );
  }

  #delete(effect: Extract<KeeperEffect, { type: "delete_shard" | "delete_manifest" }>): void {
    if (effect.type === "delete_manifest" && this.#manifests.delete(effect.cid)) this.#writeIndex();
    this.#remove(effect.hash, effect.cid);
  }

  /** Deletes a blob unless it serves something else, too. */
  #remove(hash: Hash, of?: Cid): void {
    const { blobs, published, isNeeded } = this.#options;
    for (const [cid, { shards }] of this.#manifests)
      if (cid !== of && (hashOfCid(cid) === hash || shards.includes(hash))) return;
    if (isNeeded(hash)) return;
    published.withdraw(hash);
    blobs.delete(hash).catch((error) => this.#failed("delete", error));
  }

  /**
   * Puts an object together again from shards in the network, as the blob of its content hash.
   * Throws NOT_FOUND for an unknown object, TOO_FEW_SHARDS.
   */
  async restore(cid: Cid, holders: readonly (readonly PublicKey[])[], target: BlobStore) {
    const manifest = this.#manifests.get(cid);
    if (!manifest) return undefined;
    const readers = new Map(
      manifest.shards.flatMap((hash, index) => {
        const sources = holders[index] ?? [];
        return sources.length === 0 ? [] : [[index, this.#reader(hash, sources)] as const];
      }),
    );
    return getObject(manifest, readers, target);
  }
}
