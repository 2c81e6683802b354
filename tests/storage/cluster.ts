/**
 * Some nodes' keepers and blob stores in one process on virtual time: messages arrive at once,
 * effects are carried out with the room's own functions, a dead node neither hears, speaks, nor
 * serves.
 */
import type { Cid, PublicKey } from "../../src/core/types.ts";
import type { Message } from "../../src/network/protocol.ts";
import { BlobStore } from "../../src/storage/blobs.ts";
import { hashOfCid } from "../../src/storage/cid.ts";
import { Keeper } from "../../src/storage/keeper.ts";
import type {
  KeeperEffect,
  KeeperEvent,
  KeeperParams,
  RemoteShard,
} from "../../src/storage/keeper-types.ts";
import { type ObjectManifest, parseManifest } from "../../src/storage/manifest.ts";
import { bytesSource, getObject, putObject } from "../../src/storage/objects.ts";
import { rebuildShard, type ShardReader } from "../../src/storage/repair.ts";
import { MemoryDisk } from "./memory-disk.ts";

export interface TestNode {
  key: PublicKey;
  keeper: Keeper;
  store: BlobStore;
  is_live: boolean;
  moved_bytes: number;
}
const TICK_MS = 500;

export class Cluster {
  nodes: TestNode[] = [];
  now_ms = 0;
  rebuilds = 0;
  messages: Message[] = [];
  /** The node that first wants to rebuild a shard fails at it for ever. */
  refuse_first_repairer = false;
  refused = new Set<TestNode>();
  #manifests = new Map<Cid, ObjectManifest>();

  static async create(count: number, params: Partial<KeeperParams> = {}): Promise<Cluster> {
    const cluster = new Cluster();
    for (let i = 0; i < count; i++) {
      const key = `02${String(i).padStart(64, "0")}` as PublicKey;
      const keeper = new Keeper({
        self: key,
        inventory_ms: 2000,
        critical_ms: 0,
        high_ms: 1000,
        normal_ms: 2000,
        takeover_ms: 3000,
        surplus_ms: 3000,
        retry_ms: 60_000,
        repair_bytes_per_s: 1e6,
        transfers_max: 4,
        ...params,
      });
      const store = await BlobStore.open({ folder: "/s", disk: new MemoryDisk("/s") });
      cluster.nodes.push({ key, keeper, store, is_live: true, moved_bytes: 0 });
    }
    for (const node of cluster.nodes) await cluster.feed(node, { type: "start", objects: [] });
    for (const node of cluster.nodes)
      for (const peer of cluster.nodes)
        if (peer !== node) await cluster.feed(node, { type: "member_up", public_key: peer.key });
    return cluster;
  }

  async put(at: number, bytes: Uint8Array): Promise<Cid> {
    const node = this.nodes[at]!;
    const code = { data_shards: 4, parity_shards: 2, chunk_bytes: 256 };
    const { cid, manifest } = await putObject(node.store, bytesSource(bytes), code);
    this.#manifests.set(cid, manifest);
    const shards = [0, 1, 2, 3, 4, 5];
    await this.feed(node, { type: "object_added", cid, manifest, shards });
    return cid;
  }

  async run(duration_ms: number): Promise<void> {
    for (const end = this.now_ms + duration_ms; this.now_ms < end; this.now_ms += TICK_MS)
      for (const node of this.nodes) if (node.is_live) await this.feed(node, { type: "tick" });
  }

  kill(index: number): void {
    this.#setLive(index, false);
  }
  revive(index: number): void {
    this.#setLive(index, true);
  }
  /** Liveness events are fed at the next run, in order. */
  #pending: [TestNode, KeeperEvent][] = [];
  #setLive(index: number, is_live: boolean): void {
    const node = this.nodes[index]!;
    node.is_live = is_live;
    const type = is_live ? "member_up" : "member_down";
    for (const peer of this.nodes) {
      if (peer === node) continue;
      this.#pending.push([peer, { type, public_key: node.key }]);
      this.#pending.push([node, { type, public_key: peer.key }]);
    }
  }

  drop(cid: Cid): void {
    for (const node of this.nodes) this.#pending.push([node, { type: "object_dropped", cid }]);
  }

  async loseShard(index: number, cid: Cid): Promise<void> {
    const node = this.nodes[index]!;
    const manifest = this.#manifests.get(cid)!;
    const shard = manifest.shards.findIndex((hash) => node.store.has(hash));
    await node.store.delete(manifest.shards[shard]!);
    await this.feed(node, { type: "shard_lost", cid, index: shard });
  }

  shardCounts(cid: Cid): number[] {
    const { shards } = this.#manifests.get(cid)!;
    return this.nodes.map(({ store }) => shards.filter((hash) => store.has(hash)).length);
  }

  /** Different shards on live nodes, each verified. */
  async distinctShards(cid: Cid): Promise<number> {
    const found = new Set<string>();
    for (const { store, is_live } of this.nodes)
      for (const hash of this.#manifests.get(cid)!.shards)
        if (is_live && store.has(hash)) {
          await store.verify(hash);
          found.add(hash);
        }
    return found.size;
  }

  /** The object, read by a node from the live nodes' shards. */
  async read(at: number, cid: Cid): Promise<Uint8Array> {
    const manifest = this.#manifests.get(cid)!;
    const readers = new Map<number, ShardReader>();
    for (const { store, is_live } of this.nodes)
      for (const [i, hash] of manifest.shards.entries())
        if (is_live && store.has(hash)) readers.set(i, (o, n) => store.read(hash, o, n));
    const { store } = this.nodes[at]!;
    return store.get((await getObject(manifest, readers, store)).hash);
  }

  async feed(node: TestNode, event: KeeperEvent): Promise<void> {
    for (let next = this.#pending.shift(); next; next = this.#pending.shift())
      await this.feed(...next);
    for (const effect of node.keeper.step(event, this.now_ms)) await this.#perform(node, effect);
  }

  async #perform(node: TestNode, effect: KeeperEffect): Promise<void> {
    switch (effect.type) {
      case "send":
      case "broadcast":
        return this.#deliver(node, effect);
      case "fetch_manifest": {
        const source = this.#holder(effect.sources);
        const { cid } = effect;
        if (!source.store.has(effect.hash))
          return this.feed(node, { type: "manifest_failed", cid, reason: "not here" });
        const bytes = await source.store.get(effect.hash);
        await node.store.put(bytes, effect.hash);
        return this.feed(node, { type: "manifest_fetched", cid, manifest: parseManifest(bytes) });
      }
      case "fetch_shard": {
        const { cid, shard } = effect;
        const bytes = await this.#holder(shard.sources).store.get(shard.hash);
        await node.store.put(bytes, shard.hash);
        node.moved_bytes += bytes.length;
        return this.feed(node, { type: "shard_stored", cid, index: shard.index });
      }
      case "rebuild_shard":
        return this.#rebuild(node, effect);
      case "delete_shard":
        return node.store.delete(effect.hash);
      case "delete_manifest":
        return node.store.delete(hashOfCid(effect.cid));
      case "log":
        return;
    }
  }

  async #rebuild(
    node: TestNode,
    { cid, manifest, index, from }: Extract<KeeperEffect, { type: "rebuild_shard" }>,
  ): Promise<void> {
    if (this.refuse_first_repairer && this.refused.size === 0) this.refused.add(node);
    if (this.refused.has(node))
      return this.feed(node, { type: "shard_failed", cid, index, reason: "DISK_FULL" });
    this.rebuilds++;
    const reader = ({ hash, sources }: RemoteShard): ShardReader => {
      const { store } = this.#holder(sources);
      return (offset, length) => store.read(hash, offset, length);
    };
    const readers = new Map(from.map((shard) => [shard.index, reader(shard)]));
    await rebuildShard(manifest, index, readers, node.store);
    return this.feed(node, { type: "shard_stored", cid, index });
  }

  #holder(sources: readonly PublicKey[]): TestNode {
    return this.nodes.find((n) => sources.includes(n.key) && n.is_live)!;
  }

  async #deliver(
    node: TestNode,
    effect: Extract<KeeperEffect, { type: "send" | "broadcast" }>,
  ): Promise<void> {
    const { message } = effect;
    this.messages.push(message);
    for (const peer of this.nodes) {
      const isMeant = effect.type === "broadcast" || effect.to === peer.key;
      if (peer === node || !isMeant || !peer.is_live || !node.is_live) continue;
      await this.feed(peer, { type: "message", from: node.key, message });
    }
  }
}
