/**
 * What goes into the keeper and what comes out of it. The runtime carries out `fetch_manifest`,
 * `fetch_shard`, `rebuild_shard` and `delete_shard` with repair.ts and the blob store, and answers
 * each fetch or rebuild with exactly one event (done or failed). Manifests and shards are blobs: a
 * shard's hash stands in the manifest, a manifest's is `hashOfCid(cid)`.
 */
import type { Cid, Hash, PublicKey } from "../core/types.ts";
import type { BroadcastEffect, LogEffect, SendEffect } from "../network/effects.ts";
import type { Message } from "../network/protocol.ts";
import type { ObjectManifest } from "./manifest.ts";

export interface KeeperParams {
  self: PublicKey;
  /** Between two whole inventories of a node. */
  inventory_ms: number;
  /** How long a shard must be gone before its repair, by live shards left: <= K, K+1, more. */
  critical_ms: number;
  high_ms: number;
  normal_ms: number;
  /** How long the next node in the order waits for the one before it. */
  takeover_ms: number;
  /** A surplus copy is kept this long after the shard's own node has it. */
  surplus_ms: number;
  /** After a failed fetch or rebuild of a shard. */
  retry_ms: number;
  /** Bytes moved by repair and spreading, averaged over time; one shard may go over it. */
  repair_bytes_per_s: number;
  /** Fetches and rebuilds under way at one time. */
  transfers_max: number;
}

/** Paper 11: liveness every 30 s; the demo's network file has smaller ones. */
export const KEEPER_DEFAULTS: Omit<KeeperParams, "self"> = {
  inventory_ms: 30_000,
  critical_ms: 0,
  high_ms: 60_000,
  normal_ms: 600_000,
  takeover_ms: 60_000,
  surplus_ms: 120_000,
  retry_ms: 30_000,
  repair_bytes_per_s: 50e6,
  transfers_max: 4,
};

/** An object with the manifest and the shards that this node has of it. */
export interface HeldObject {
  cid: Cid;
  manifest: ObjectManifest;
  /** Indices of the shards on this disk. */
  shards: readonly number[];
}

export type KeeperEvent =
  /** First event: what is on this disk. */
  | { type: "start"; objects: readonly HeldObject[] }
  /** At least once a second. */
  | { type: "tick" }
  /** An object was put here, or its manifest read from disk. */
  | ({ type: "object_added" } & HeldObject)
  /** No longer wanted (a superseded checkpoint). Every node decides this from the same round. */
  | { type: "object_dropped"; cid: Cid }
  | { type: "member_up" | "member_suspect" | "member_down"; public_key: PublicKey }
  | { type: "message"; from: PublicKey; message: Message }
  | { type: "manifest_fetched"; cid: Cid; manifest: ObjectManifest }
  | { type: "manifest_failed"; cid: Cid; reason: string }
  /** Answer to fetch_shard and rebuild_shard: the shard is durable here. */
  | { type: "shard_stored"; cid: Cid; index: number }
  | { type: "shard_failed"; cid: Cid; index: number; reason: string }
  /** A shard on this disk was found damaged or gone. */
  | { type: "shard_lost"; cid: Cid; index: number };

/** A shard that others hold. */
export interface RemoteShard {
  index: number;
  hash: Hash;
  /** Live holders; this node itself first if it has the shard. */
  sources: readonly PublicKey[];
}

export type KeeperEffect =
  | SendEffect
  | BroadcastEffect
  | LogEffect
  | { type: "fetch_manifest"; cid: Cid; hash: Hash; sources: readonly PublicKey[] }
  /** Copy one live replica. */
  | { type: "fetch_shard"; cid: Cid; size_bytes: number; shard: RemoteShard }
  /** Nobody live has it: decode it from at least K of `from`. */
  | {
      type: "rebuild_shard";
      cid: Cid;
      manifest: ObjectManifest;
      index: number;
      from: RemoteShard[];
    }
  | { type: "delete_shard"; cid: Cid; index: number; hash: Hash }
  /** Remove the manifest blob; its shards were deleted before. */
  | { type: "delete_manifest"; cid: Cid; hash: Hash };

export type Priority = "healthy" | "normal" | "high" | "critical" | "lost";

/** For `magnet storage status`. */
export interface ObjectHealth {
  cid: Cid;
  size_bytes: number;
  /** Distinct shards with a live holder, of `total`; `needed` restore the object. */
  live: number;
  needed: number;
  total: number;
  priority: Priority;
  /** Live holders by shard index. */
  holders: PublicKey[][];
}
