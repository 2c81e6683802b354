/**
 * Which node should hold which shard: rendezvous hashing over the live members, evenly spread, so
 * that no node has more than ceil((K+M)/N) shards of one object. Pure: nodes with the same view
 * agree without a word. A shard that a live node already holds stays there unless that node has too
 * many.
 */
import { sha256 } from "../core/bytes.ts";
import type { Cid, PublicKey } from "../core/types.ts";

/** Rank of a member for a shard; the larger the better (ties, practically impossible: by key). */
function score(cid: Cid, index: number, member: PublicKey): bigint {
  const digest = sha256(`magnet-placement/1 ${cid} ${index} ${member}`);
  return new DataView(digest.buffer, digest.byteOffset).getBigUint64(0);
}

/** Members for a shard, best first. */
export function ranking(cid: Cid, index: number, members: readonly PublicKey[]): PublicKey[] {
  const scored = members.map((member) => ({ member, value: score(cid, index, member) }));
  scored.sort((a, b) =>
    a.value !== b.value ? (a.value > b.value ? -1 : 1) : a.member < b.member ? -1 : 1,
  );
  return scored.map(({ member }) => member);
}

/** Most shards of one object on one of `nodes` nodes. */
export const shardsPerNode = (shards: number, nodes: number): number =>
  Math.ceil(shards / Math.max(1, nodes));

/**
 * The node for each of `shards` shards, given who holds what now (`holders(index)`, live or not).
 * Empty when nobody is live.
 */
export function place(
  cid: Cid,
  shards: number,
  live: readonly PublicKey[],
  holders: (index: number) => ReadonlySet<PublicKey> = () => new Set(),
): PublicKey[] {
  if (live.length === 0) return [];
  const limit = shardsPerNode(shards, live.length);
  const load = new Map(live.map((member) => [member, 0]));
  const placed: (PublicKey | null)[] = Array.from({ length: shards }, () => null);
  const rankings = placed.map((_, index) => ranking(cid, index, live));
  const assign = (index: number, member: PublicKey) => {
    placed[index] = member;
    load.set(member, load.get(member)! + 1);
  };
  // Shards with the fewest holders first: they have the least choice where to stay.
  const held = rankings.map((order, index) => order.filter((m) => holders(index).has(m)));
  const order = [...held.keys()].sort((a, b) => held[a]!.length - held[b]!.length || a - b);
  for (const index of order) {
    const stays = held[index]!.find((member) => load.get(member)! < limit);
    if (stays !== undefined) assign(index, stays);
  }
  for (const [index, member] of placed.entries()) {
    if (member !== null) continue;
    const least = Math.min(...load.values());
    assign(index, rankings[index]!.find((candidate) => load.get(candidate) === least)!);
  }
  return placed as PublicKey[];
}
