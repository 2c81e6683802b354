/**
 * Keeps every object's shards alive (paper 11): tells peers what is here, watches what they hold,
 * copies a shard to the node that should have it, and rebuilds one that no live node holds. A state
 * machine without I/O; every node runs it on its own view, and nothing depends on the views being
 * equal: a shard held twice is harmless, and the surplus copy goes later.
 *
 * Each shard has one responsible node, the one that `place` names; it fetches or rebuilds after the
 * delay of the priority. The n-th node in the shard's ranking steps in n takeover times later.
 */
import type { Cid, PublicKey } from "../core/types.ts";
import type { Message } from "../network/protocol.ts";
import { hashOfCid } from "./cid.ts";
import type {
  HeldObject,
  KeeperEffect,
  KeeperEvent,
  KeeperParams,
  ObjectHealth,
  Priority,
} from "./keeper-types.ts";
import { type Inventory, OBJECTS_PER_MESSAGE } from "./messages.ts";
import { place, ranking } from "./placement.ts";
import { type KnownObject, ShardMap } from "./shard-map.ts";
import { type Task, Transfers, URGENCY } from "./transfers.ts";

/** Dropped objects remembered, so that a late inventory does not bring them back. */
const DROPPED_MAX = 4096;

export class Keeper {
  readonly #params: KeeperParams;
  readonly #map: ShardMap;
  readonly #dropped = new Set<Cid>();
  readonly #transfers: Transfers;
  /** Manifests asked for, with the time of the next try. */
  readonly #manifests = new Map<Cid, number>();
  #sequence = 0;
  /** One inventory period after the start: nothing counts as missing before. */
  #settled_ms = Number.POSITIVE_INFINITY;
  #inventory_at = Number.NEGATIVE_INFINITY;

  constructor(params: KeeperParams) {
    this.#params = params;
    this.#map = new ShardMap(params.self);
    this.#transfers = new Transfers(params, this.#map);
  }

  /** Handles one event; the effects are to be carried out in order. */
  step(event: KeeperEvent, now_ms: number): KeeperEffect[] {
    const out: KeeperEffect[] = [];
    switch (event.type) {
      case "start":
        for (const object of event.objects) this.#add(object);
        this.#settled_ms = now_ms + this.#params.inventory_ms;
        break;
      case "tick":
        this.#tick(now_ms, out);
        break;
      case "object_added":
        this.#dropped.delete(event.cid);
        this.#add(event);
        this.#announce(event.cid, out);
        break;
      case "object_dropped":
        this.#drop(event.cid, out);
        break;
      case "member_up":
        this.#map.setLiveness(event.public_key, "up");
        for (const message of this.#inventory())
          out.push({ type: "send", to: event.public_key, message });
        break;
      case "member_suspect":
        this.#map.setLiveness(event.public_key, "suspect");
        break;
      case "member_down":
        this.#map.setLiveness(event.public_key, "down");
        break;
      case "message":
        this.#message(event.from, event.message);
        break;
      case "manifest_fetched":
        this.#manifests.delete(event.cid);
        if (!this.#dropped.has(event.cid)) this.#map.addObject(event.cid, event.manifest);
        break;
      case "manifest_failed":
        this.#manifests.set(event.cid, now_ms + this.#params.retry_ms);
        break;
      default:
        this.#shard(event, now_ms, out);
    }
    return out;
  }

  /** State of every known object, worst first. */
  health(): ObjectHealth[] {
    const all = [...this.#map.objects.values()].map((object) => {
      const { cid, manifest } = object;
      const holders = manifest.shards.map((_, index) => this.#map.holders(cid, index));
      const live = holders.filter((h) => h.length > 0).length;
      const priority = this.#priority(object, live);
      const { size_bytes, data_shards: needed } = manifest;
      return { cid, size_bytes, live, needed, total: holders.length, priority, holders };
    });
    return all.sort(
      (a, b) => URGENCY[a.priority] - URGENCY[b.priority] || (a.cid < b.cid ? -1 : 1),
    );
  }

  #add({ cid, manifest, shards }: HeldObject): void {
    this.#map.addObject(cid, manifest);
    const own = this.#map.own.get(cid) ?? new Set();
    for (const index of shards) own.add(index);
    this.#map.own.set(cid, own);
  }

  #drop(cid: Cid, out: KeeperEffect[]): void {
    this.#dropped.add(cid);
    if (this.#dropped.size > DROPPED_MAX) this.#dropped.delete([...this.#dropped][0]!);
    const object = this.#map.objects.get(cid);
    if (!object) return;
    for (const index of this.#map.own.get(cid) ?? [])
      out.push({ type: "delete_shard", cid, index, hash: object.manifest.shards[index]! });
    this.#map.own.delete(cid);
    this.#map.objects.delete(cid);
    this.#announce(cid, out);
    out.push({ type: "delete_manifest", cid, hash: hashOfCid(cid) });
  }

  #message(from: PublicKey, { type, body }: Message): void {
    if (type === "storage.inventory") this.#map.noteInventory(from, body as Inventory);
    if (type !== "storage.shards") return;
    const { cid, shards } = body as { cid: Cid; shards: number[] };
    this.#map.note(from, cid, shards, null);
  }

  /** A shard came, failed to come, or was lost. */
  #shard(
    event: Extract<KeeperEvent, { type: "shard_stored" | "shard_failed" | "shard_lost" }>,
    now_ms: number,
    out: KeeperEffect[],
  ): void {
    const { cid, index } = event;
    const object = this.#map.objects.get(cid);
    const hash = event.type === "shard_lost" ? undefined : this.#transfers.end(cid, index);
    // Dropped while its shard was under way.
    if (event.type === "shard_stored" && !object && hash)
      out.push({ type: "delete_shard", cid, index, hash });
    if (event.type === "shard_failed") {
      object?.retry_at.set(index, now_ms + this.#params.retry_ms);
      this.#log("warn", "shard_failed", { cid, index, reason: event.reason }, out);
      return;
    }
    if (!object) return;
    const own = this.#map.own.get(cid) ?? new Set<number>();
    if (event.type === "shard_lost") own.delete(index);
    else own.add(index);
    this.#map.own.set(cid, own);
    this.#log("info", event.type, { cid, index }, out);
    this.#announce(cid, out);
  }

  #tick(now_ms: number, out: KeeperEffect[]): void {
    if (now_ms - this.#inventory_at >= this.#params.inventory_ms) {
      this.#inventory_at = now_ms;
      for (const message of this.#inventory()) out.push({ type: "broadcast", message });
    }
    for (const [cid, sources] of this.#map.unknownObjects()) {
      if (this.#dropped.has(cid) || now_ms < (this.#manifests.get(cid) ?? 0)) continue;
      this.#manifests.set(cid, Number.POSITIVE_INFINITY); // until the answer
      out.push({ type: "fetch_manifest", cid, hash: hashOfCid(cid), sources });
    }
    const tasks: Task[] = [];
    for (const object of this.#map.objects.values()) this.#inspect(object, now_ms, tasks, out);
    this.#transfers.begin(tasks, now_ms, out);
  }

  /** Notes what is missing or surplus, and collects what this node should do about it now. */
  #inspect(object: KnownObject, now_ms: number, tasks: Task[], out: KeeperEffect[]): void {
    const { cid, manifest, missing_since } = object;
    const live_nodes = this.#map.live();
    const holders = manifest.shards.map((_, index) => this.#map.holders(cid, index));
    const live = holders.filter((h) => h.length > 0).length;
    for (const [index, of] of holders.entries()) {
      if (of.length > 0) missing_since.delete(index);
      else if (!missing_since.has(index)) missing_since.set(index, now_ms);
    }
    const priority = this.#priority(object, live);
    const plan = place(cid, manifest.shards.length, live_nodes, (i) => new Set(holders[i]));
    for (const [index, target] of plan.entries()) {
      const is_mine = holders[index]!.includes(this.#params.self);
      if (is_mine) this.#trim(object, index, target, holders[index]!, now_ms, out);
      else if (this.#isDue(object, index, target, priority, now_ms))
        tasks.push({ object, index, priority, holders: holders[index]! });
    }
  }

  #isDue(
    { cid, missing_since, retry_at }: KnownObject,
    index: number,
    target: PublicKey,
    priority: Priority,
    now_ms: number,
  ): boolean {
    const { self, takeover_ms } = this.#params;
    if (now_ms < (retry_at.get(index) ?? 0) || priority === "lost") return false;
    const since = missing_since.get(index);
    if (since === undefined) return target === self; // a live node has it: only its place is wrong
    if (now_ms < this.#settled_ms) return false; // not every peer has said yet what it holds
    const others = ranking(cid, index, this.#map.live()).filter((m) => m !== target);
    const rank = [target, ...others].indexOf(self);
    return now_ms >= since + this.#delay(priority) + rank * takeover_ms;
  }

  /** Deletes this node's copy once the responsible node has had one for a while. */
  #trim(
    { cid, manifest, surplus_since }: KnownObject,
    index: number,
    target: PublicKey,
    holders: PublicKey[],
    now_ms: number,
    out: KeeperEffect[],
  ): void {
    const is_surplus = target !== this.#params.self && holders.includes(target);
    if (!is_surplus) {
      surplus_since.delete(index);
      return;
    }
    if (!surplus_since.has(index)) surplus_since.set(index, now_ms);
    if (now_ms - surplus_since.get(index)! < this.#params.surplus_ms) return;
    surplus_since.delete(index);
    this.#map.own.get(cid)!.delete(index);
    out.push({ type: "delete_shard", cid, index, hash: manifest.shards[index]! });
    this.#announce(cid, out);
  }

  #priority({ manifest }: KnownObject, live: number): Priority {
    const { data_shards: k, shards } = manifest;
    if (live < k) return "lost";
    if (live === shards.length) return "healthy";
    if (live <= k) return "critical";
    return live === k + 1 ? "high" : "normal";
  }

  #delay(priority: Priority): number {
    const { critical_ms, high_ms, normal_ms } = this.#params;
    return priority === "critical" ? critical_ms : priority === "high" ? high_ms : normal_ms;
  }

  #shardsOf(cid: Cid): number[] {
    return [...(this.#map.own.get(cid) ?? [])].sort((a, b) => a - b);
  }

  #announce(cid: Cid, out: KeeperEffect[]): void {
    const body = { cid, shards: this.#shardsOf(cid) };
    out.push({ type: "broadcast", message: { type: "storage.shards", body } });
  }

  /** All that is here, in parts; at least one, so that peers learn of an empty disk too. */
  #inventory(): Message[] {
    const sequence = ++this.#sequence;
    const held = [...this.#map.own.keys()]
      .sort()
      .map((cid) => ({ cid, shards: this.#shardsOf(cid) }));
    const parts = Math.max(1, Math.ceil(held.length / OBJECTS_PER_MESSAGE));
    return Array.from({ length: parts }, (_, part) => {
      const objects = held.slice(part * OBJECTS_PER_MESSAGE, (part + 1) * OBJECTS_PER_MESSAGE);
      return { type: "storage.inventory", body: { sequence, part, parts, objects } };
    });
  }

  #log(
    level: "info" | "warn",
    event: string,
    fields: Record<string, string | number>,
    out: KeeperEffect[],
  ): void {
    out.push({ type: "log", level, event, fields });
  }
}
