import { describe, expect, test } from "bun:test";
import { seededRandom } from "../../src/core/random.ts";
import type { Cid, PublicKey } from "../../src/core/types.ts";
import { storageMessages } from "../../src/storage/messages.ts";
import { place, shardsPerNode } from "../../src/storage/placement.ts";
import { Cluster } from "./cluster.ts";

const random = seededRandom(4);
const keys = (n: number) =>
  Array.from({ length: n }, (_, i) => `02${String(i).padStart(64, "0")}` as PublicKey);
const CID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e" as Cid;

describe("placement", () => {
  test("even, deterministic, independent of the members' order", () => {
    for (let n = 1; n <= 12; n++) {
      const members = keys(n);
      const placed = place(CID, 6, members);
      expect(place(CID, 6, members.toReversed())).toEqual(placed);
      for (const member of members)
        expect(placed.filter((m) => m === member).length).toBeLessThanOrEqual(shardsPerNode(6, n));
    }
    expect(place(CID, 6, [])).toEqual([]);
  });

  test("when a node dies only its shards move", () => {
    for (let n = 4; n <= 10; n++) {
      const members = keys(n);
      const before = place(CID, 6, members);
      const live = members.slice(1);
      const after = place(CID, 6, live, (i) => new Set([before[i]!]));
      before.forEach((member, i) => {
        if (member !== members[0]) expect(after[i]).toBe(member);
        else expect(live).toContain(after[i]!);
      });
    }
  });
});

describe("keeper", () => {
  test("an object put on one node spreads over six, one shard each, and the rest is trimmed", async () => {
    const cluster = await Cluster.create(6);
    const cid = await cluster.put(0, random.bytes(3000));
    await cluster.run(20_000);
    expect(cluster.shardCounts(cid)).toEqual([1, 1, 1, 1, 1, 1]);
    expect(await cluster.distinctShards(cid)).toBe(6);
  });

  test("one of six dies: its shard is rebuilt elsewhere, the object's bytes are the same", async () => {
    const cluster = await Cluster.create(6);
    const bytes = random.bytes(5000);
    const cid = await cluster.put(2, bytes);
    await cluster.run(20_000);
    cluster.kill(4);
    await cluster.run(20_000);
    expect(cluster.rebuilds).toBe(1); // one deterministic repairer
    expect(cluster.shardCounts(cid)[4]).toBe(1); // what the dead one still has on its disk
    expect(await cluster.distinctShards(cid)).toBe(6);
    expect(await cluster.read(0, cid)).toEqual(bytes);
  });

  test("two of four die one after the other: restored each time", async () => {
    const cluster = await Cluster.create(4);
    const bytes = random.bytes(2000);
    const cid = await cluster.put(0, bytes);
    await cluster.run(20_000);
    for (const victim of [0, 3]) {
      cluster.kill(victim);
      await cluster.run(30_000);
      expect(await cluster.distinctShards(cid)).toBe(6);
    }
    expect(await cluster.read(1, cid)).toEqual(bytes);
  });

  test("a flapping node: no repair within the delay, and no shard is ever gone", async () => {
    const cluster = await Cluster.create(6, { normal_ms: 8000, high_ms: 8000 });
    const cid = await cluster.put(0, random.bytes(1000));
    await cluster.run(20_000);
    for (let i = 0; i < 5; i++) {
      cluster.kill(1);
      await cluster.run(3000);
      cluster.revive(1);
      await cluster.run(3000);
    }
    expect(cluster.rebuilds).toBe(0);
    cluster.kill(1);
    await cluster.run(20_000);
    expect(cluster.rebuilds).toBe(1);
    cluster.revive(1);
    await cluster.run(30_000); // the copy too many goes, the shard stays
    expect(await cluster.distinctShards(cid)).toBe(6);
    expect(cluster.shardCounts(cid).reduce((a, b) => a + b)).toBe(6);
  });

  test("a responsible node that cannot: the next in the order takes over", async () => {
    const cluster = await Cluster.create(6);
    const cid = await cluster.put(0, random.bytes(1000));
    await cluster.run(20_000);
    cluster.kill(3);
    cluster.refuse_first_repairer = true;
    await cluster.run(30_000);
    expect(cluster.refused.size).toBe(1);
    expect(await cluster.distinctShards(cid)).toBe(6);
  });

  test("more losses than parity: nothing is attempted until a holder comes back", async () => {
    const cluster = await Cluster.create(6);
    const bytes = random.bytes(1000);
    const cid = await cluster.put(0, bytes);
    await cluster.run(20_000);
    for (const victim of [1, 2, 3]) cluster.kill(victim);
    await cluster.run(10_000);
    expect(cluster.rebuilds).toBe(0);
    expect(cluster.nodes[0]!.keeper.health()[0]).toMatchObject({ priority: "lost", live: 3 });
    cluster.revive(2);
    await cluster.run(40_000);
    expect(await cluster.distinctShards(cid)).toBe(6);
    expect(await cluster.read(0, cid)).toEqual(bytes);
  });

  test("a shard found damaged is fetched or rebuilt", async () => {
    const cluster = await Cluster.create(6);
    const cid = await cluster.put(0, random.bytes(1000));
    await cluster.run(20_000);
    await cluster.loseShard(5, cid);
    expect(await cluster.distinctShards(cid)).toBe(5);
    await cluster.run(20_000);
    expect(await cluster.distinctShards(cid)).toBe(6);
  });

  test("repairs keep to the rate: many objects, few bytes a second", async () => {
    const cluster = await Cluster.create(6, { repair_bytes_per_s: 300 });
    for (let i = 0; i < 8; i++) await cluster.put(0, random.bytes(4000));
    await cluster.run(10_000);
    // 10 s x 300 bytes and the first second's worth; one shard (about 1.1 kB) more per node at
    // most. Without the limit each would have its eight shards, 8.8 kB, by now.
    for (const node of cluster.nodes.slice(1)) {
      expect(node.moved_bytes).toBeGreaterThan(1000);
      expect(node.moved_bytes).toBeLessThanOrEqual(3300 + 1200);
    }
  });

  test("a dropped object goes from every disk and does not come back", async () => {
    const cluster = await Cluster.create(4);
    const cid = await cluster.put(0, random.bytes(1000));
    await cluster.run(20_000);
    cluster.drop(cid);
    await cluster.run(20_000);
    expect(cluster.nodes.map((n) => n.store.list().length)).toEqual([0, 0, 0, 0]);
  });

  test("every message fits its schema and limit", async () => {
    const cluster = await Cluster.create(4);
    for (let i = 0; i < 3; i++) await cluster.put(i, random.bytes(100));
    await cluster.run(10_000);
    expect(cluster.messages.length).toBeGreaterThan(20);
    for (const { type, body } of cluster.messages) {
      const spec = storageMessages.find((s) => s.type === type)!;
      spec.schema.parse(body);
      expect(JSON.stringify(body).length).toBeLessThan(spec.limit_bytes);
    }
  });
});
