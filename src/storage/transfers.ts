/**
 * The keeper's fetches and rebuilds: most urgent first, a few at a time, within an average of bytes
 * a second. One that is under way is never begun again.
 */
import type { Cid, Hash, PublicKey } from "../core/types.ts";
import type { KeeperEffect, KeeperParams, Priority, RemoteShard } from "./keeper-types.ts";
import { shardBytes } from "./manifest.ts";
import type { KnownObject, ShardMap } from "./shard-map.ts";

/** Order of work and of `health`: the smaller the more urgent. */
export const URGENCY: Record<Priority, number> = {
  lost: 0,
  critical: 1,
  high: 2,
  normal: 3,
  healthy: 4,
};

/** A shard that this node should get now. */
export interface Task {
  object: KnownObject;
  index: number;
  priority: Priority;
  /** Live nodes that have it; none: it must be rebuilt. */
  holders: readonly PublicKey[];
}

export class Transfers {
  readonly #params: KeeperParams;
  readonly #map: ShardMap;
  /** Hashes of the shards under way, by "cid index". */
  readonly #active = new Map<string, Hash>();
  /** Bytes that may be moved now; below 0 nothing new begins. */
  #allowance_bytes: number;
  #refilled_ms: number | null = null;

  constructor(params: KeeperParams, map: ShardMap) {
    this.#params = params;
    this.#map = map;
    this.#allowance_bytes = params.repair_bytes_per_s;
  }

  /** Starts what the limits allow; the rest is asked for again at the next tick. */
  begin(tasks: Task[], now_ms: number, out: KeeperEffect[]): void {
    this.#refill(now_ms);
    tasks.sort((a, b) => URGENCY[a.priority] - URGENCY[b.priority]);
    for (const task of tasks) {
      if (this.#active.size >= this.#params.transfers_max || this.#allowance_bytes < 0) return;
      if (!this.#active.has(`${task.object.cid} ${task.index}`)) this.#start(task, out);
    }
  }

  /** The transfer has ended, well or not. Returns the shard's hash if it was under way. */
  end(cid: Cid, index: number): Hash | undefined {
    const key = `${cid} ${index}`;
    const hash = this.#active.get(key);
    this.#active.delete(key);
    return hash;
  }

  #start({ object, index, priority, holders }: Task, out: KeeperEffect[]): void {
    const { cid, manifest } = object;
    const size_bytes = shardBytes(manifest);
    const shardOf = (i: number): RemoteShard => {
      return { index: i, hash: manifest.shards[i]!, sources: this.#map.holders(cid, i) };
    };
    this.#active.set(`${cid} ${index}`, manifest.shards[index]!);
    if (holders.length > 0) {
      this.#allowance_bytes -= size_bytes;
      out.push({ type: "fetch_shard", cid, size_bytes, shard: shardOf(index) });
      return;
    }
    this.#allowance_bytes -= size_bytes * manifest.data_shards;
    const from = manifest.shards.map((_, i) => shardOf(i)).filter((s) => s.sources.length > 0);
    out.push({ type: "rebuild_shard", cid, manifest, index, from });
    const fields = { cid, index, priority };
    out.push({ type: "log", level: "info", event: "repair_started", fields });
  }

  /** At most one second's worth is saved up. */
  #refill(now_ms: number): void {
    const { repair_bytes_per_s } = this.#params;
    const elapsed_s = Math.max(0, now_ms - (this.#refilled_ms ?? now_ms)) / 1000;
    const bytes = this.#allowance_bytes + elapsed_s * repair_bytes_per_s;
    this.#allowance_bytes = Math.min(repair_bytes_per_s, bytes);
    this.#refilled_ms = now_ms;
  }
}
