import { expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { sha256Hex } from "../../src/core/bytes.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Hash } from "../../src/core/types.ts";
import { BlobStore } from "../../src/storage/blobs.ts";
import { CID_PATTERN, cidOf, hashOfCid } from "../../src/storage/cid.ts";
import { hostDisk } from "../../src/storage/disk.ts";
import { durabilityReport, lossProbability } from "../../src/storage/durability.ts";
import { manifestBytes, parseManifest, parseShardHeader } from "../../src/storage/manifest.ts";
import {
  bytesSource,
  findObjects,
  getLocalObject,
  getObject,
  putObject,
} from "../../src/storage/objects.ts";
import { rebuildShard, shardReaders } from "../../src/storage/repair.ts";
import { rejection } from "../native/rejection.ts";
import { MemoryDisk } from "./memory-disk.ts";

const random = seededRandom(17);
const code = { data_shards: 4, parity_shards: 2, chunk_bytes: 64 };
const ROOT = "/store";
const fileOf = (hash: Hash) => path.join(ROOT, "blobs", hash.slice(0, 2), hash);
const openStore = async (disk = new MemoryDisk(ROOT), quota_bytes?: number) =>
  BlobStore.open({ folder: ROOT, disk, ...(quota_bytes === undefined ? {} : { quota_bytes }) });

test("CIDv1, raw, sha2-256, base32: answers worked out with Python's hashlib and base64", () => {
  expect(cidOf(new TextEncoder().encode("hello world")) as string).toBe(
    "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
  );
  expect(cidOf(new Uint8Array(0)) as string).toBe(
    "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
  );
  const bytes = random.bytes(50);
  expect(hashOfCid(cidOf(bytes)) as string).toBe(sha256Hex(bytes));
  for (const bad of ["", "bafkrei", `${cidOf(bytes)}a`, cidOf(bytes).toUpperCase()])
    expect(() => hashOfCid(bad)).toThrow(expect.objectContaining({ code: "BAD_CID" }));
});

test("what the messages' pattern lets in is the name of a hash, whatever a peer sends", () => {
  const names = Array.from({ length: 200 }, () => cidOf(random.bytes(8)));
  for (const cid of names) expect(cid).toMatch(CID_PATTERN);
  for (const cid of names)
    for (const at of [7, 30, 58])
      for (const character of "abcdefghijklmnopqrstuvwxyz234567") {
        const changed = cid.slice(0, at) + character + cid.slice(at + 1);
        if (CID_PATTERN.test(changed)) expect(hashOfCid(changed)).toHaveLength(64);
        else expect(() => hashOfCid(changed)).toThrow("CIDv1");
      }
});

test("objects of awkward sizes come back from any four shards", async () => {
  for (const size of [0, 1, 3, 4, 255, 256, 257, 1000, 1024]) {
    const disk = new MemoryDisk(ROOT);
    const store = await openStore(disk);
    const bytes = random.bytes(size);
    const { manifest, cid } = await putObject(store, bytesSource(bytes), code);
    expect(parseManifest(await store.get(hashOfCid(cid)))).toEqual(manifest);
    for (const lost of [
      [0, 1],
      [2, 5],
      [4, 5],
      [0, 3],
    ]) {
      const readers = shardReaders(manifest, store);
      for (const index of lost) readers.delete(index);
      const target = await openStore();
      const { hash } = await getObject(manifest, readers, target);
      expect(Buffer.compare(await target.get(hash), bytes)).toBe(0);
    }
  }
});

test("the same content gives the same manifest on every node; another code does not", async () => {
  const bytes = random.bytes(700);
  const [a, b] = [await openStore(), await openStore()];
  const first = await putObject(a, bytesSource(bytes), code);
  expect(await putObject(b, bytesSource(bytes), code)).toEqual(first);
  const other = await putObject(b, bytesSource(bytes), { ...code, data_shards: 3 });
  expect(other.manifest.generation).not.toBe(first.manifest.generation);
  for (const [index, hash] of first.manifest.shards.entries()) {
    const { schema: _, shards: __, ...shape } = first.manifest;
    expect(parseShardHeader(await a.get(hash))).toEqual({ shape, index });
  }
});

test("a damaged shard is named and left out; a rebuilt one is the same bytes", async () => {
  const disk = new MemoryDisk(ROOT);
  const store = await openStore(disk);
  const bytes = random.bytes(900);
  const { manifest } = await putObject(store, bytesSource(bytes), code);
  const original = await store.get(manifest.shards[1]!);
  disk.damage(fileOf(manifest.shards[1]!), 150);
  disk.truncate(fileOf(manifest.shards[2]!), 100);
  const { hash, corrupt } = await getLocalObject(store, manifest);
  expect(corrupt.sort()).toEqual([1, 2]);
  expect(Buffer.compare(await store.get(hash), bytes)).toBe(0);
  for (const index of [1, 2])
    expect(await rejection(store.verify(manifest.shards[index]!))).toMatchObject({
      code: "BLOB_CORRUPT",
    });
  expect(store.has(manifest.shards[1]!)).toBe(false);
  for (const index of [1, 2]) {
    const built = await rebuildShard(manifest, index, shardReaders(manifest, store), store);
    expect(built.hash).toBe(manifest.shards[index]!);
    await store.verify(built.hash);
  }
  expect(Buffer.compare(await store.get(manifest.shards[1]!), original)).toBe(0);
});

test("rebuilding from peers of whom one lies and one is silent", async () => {
  const store = await openStore();
  const { manifest } = await putObject(store, bytesSource(random.bytes(2000)), {
    ...code,
    parity_shards: 3,
  });
  const readers = shardReaders(manifest, store);
  const honest = readers.get(0)!;
  readers.set(0, async (offset, length) => (await honest(offset, length)).map((b) => b ^ 1));
  readers.set(3, () => Promise.reject(new Error("gone")));
  const target = await openStore();
  const { failed, hash } = await rebuildShard(manifest, 6, readers, target);
  expect(failed.sort()).toEqual([0, 3]);
  expect(Buffer.compare(await target.get(hash), await store.get(hash))).toBe(0);
  readers.delete(1);
  expect(await rejection(rebuildShard(manifest, 6, readers, await openStore()))).toMatchObject({
    code: "TOO_FEW_SHARDS",
  });
});

test("killed at every step of a put: the object is there whole, or not at all", async () => {
  const bytes = random.bytes(300);
  const trial = new MemoryDisk(ROOT);
  const opened = await openStore(trial);
  const start = trial.steps;
  const { cid, manifest } = await putObject(opened, bytesSource(bytes), code);
  const end = trial.steps;
  expect(end - start).toBeGreaterThan(60);
  let survived = 0;
  for (let at = start + 1; at <= end + 1; at++) {
    const disk = new MemoryDisk(ROOT);
    const store = await openStore(disk);
    disk.fail_at = at;
    await putObject(store, bytesSource(bytes), code).catch(() => undefined);
    disk.crash();
    const again = await openStore(disk);
    for (const hash of again.list()) await again.verify(hash); // nothing half-written has a name
    if (again.has(hashOfCid(cid))) {
      survived++;
      const { hash } = await getLocalObject(again, manifest);
      expect(Buffer.compare(await again.get(hash), bytes)).toBe(0);
    } else {
      expect(at).toBeLessThanOrEqual(end);
      expect((await putObject(again, bytesSource(bytes), code)).cid).toBe(cid);
    }
    expect(disk.files().some((f) => f.startsWith(path.join(ROOT, "tmp")))).toBe(false);
  }
  expect(survived).toBeGreaterThanOrEqual(1);
});

const isTidy = (disk: MemoryDisk) =>
  !disk.files().some((file) => file.startsWith(path.join(ROOT, "tmp")));

test("a put beyond the quota: DISK_FULL with a hint, nothing lost, nothing left behind", async () => {
  const disk = new MemoryDisk(ROOT);
  const store = await openStore(disk, 3000);
  const kept = await putObject(store, bytesSource(random.bytes(500)), code);
  const used = store.used_bytes;
  const full = await rejection(putObject(store, bytesSource(random.bytes(3000)), code));
  expect(full).toMatchObject({ code: "DISK_FULL" });
  expect((full as { hint: string }).hint).toContain("nothing was overwritten");
  expect(store.used_bytes).toBe(used);
  expect(isTidy(disk)).toBe(true);
  for (const hash of kept.manifest.shards) await store.verify(hash);
});

test("no space at any step of a put: DISK_FULL, and the next put succeeds", async () => {
  const disk = new MemoryDisk(ROOT);
  const store = await openStore(disk);
  const bytes = random.bytes(400);
  disk.error = Object.assign(new Error("no space"), { code: "ENOSPC" });
  disk.fails_once = true;
  for (let at = 1; at <= 60; at++) {
    disk.fail_at = disk.steps + at;
    expect(await rejection(putObject(store, bytesSource(bytes), code))).toMatchObject({
      code: "DISK_FULL",
    });
    expect(isTidy(disk)).toBe(true);
  }
  disk.fail_at = Number.POSITIVE_INFINITY;
  const { manifest } = await putObject(store, bytesSource(bytes), code);
  for (const hash of manifest.shards) await store.verify(hash);
});

test("after a restart the store knows its objects and which shards are left", async () => {
  const disk = new MemoryDisk(ROOT);
  const store = await openStore(disk);
  const { cid, manifest } = await putObject(store, bytesSource(random.bytes(300)), code);
  const damaged = await putObject(store, bytesSource(random.bytes(200)), code);
  await store.put(new TextEncoder().encode('{"chunk_bytes":"not a manifest"}'));
  await store.delete(manifest.shards[2]!);
  disk.damage(fileOf(hashOfCid(damaged.cid)), 40);
  expect(await findObjects(await openStore(disk))).toEqual([
    { cid, manifest, shards: [0, 1, 3, 4, 5] },
  ]);
});

test("a source that changes during the put is refused", async () => {
  let reads = 0;
  const source = { size_bytes: 100, read: async () => new Uint8Array(100).fill(reads++) };
  const store = await openStore();
  expect(await rejection(putObject(store, source, code))).toMatchObject({ code: "SOURCE_CHANGED" });
  expect(store.list()).toEqual([]);
});

test("manifests and shard headers from outside are checked", async () => {
  const store = await openStore();
  const { manifest } = await putObject(store, bytesSource(random.bytes(100)), code);
  const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  const good = manifestBytes(manifest);
  for (const bad of [
    new Uint8Array(0),
    good.subarray(1),
    Uint8Array.from([...good, 32]),
    text({ ...manifest, matrix: "cauchy" }),
    text({ ...manifest, parity_shards: 3 }),
    text({ ...manifest, size_bytes: -1 }),
    text({ ...manifest, extra: 1 }),
    new Uint8Array(100_000),
  ])
    expect(() => parseManifest(bad)).toThrow(expect.objectContaining({ code: "MANIFEST_CORRUPT" }));
  const shard = await store.get(manifest.shards[3]!);
  for (const at of [0, 8, 11, 20, 31, 35, 36, 90]) {
    const bad = shard.slice();
    bad[at]! ^= 0x80;
    expect(() => parseShardHeader(bad)).toThrow(expect.objectContaining({ code: "SHARD_CORRUPT" }));
  }
});

test("on a real disk: 20 MB in stripes, reopened, quota counted", async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-objects-"));
  try {
    const store = await BlobStore.open({ folder, disk: hostDisk });
    const bytes = new Uint8Array(20_000_003).map((_, i) => (i * 2654435761) >>> 24);
    const { manifest } = await putObject(store, bytesSource(bytes), {
      data_shards: 4,
      parity_shards: 2,
    });
    const again = await BlobStore.open({ folder, disk: hostDisk });
    expect(again.list()).toEqual(store.list());
    expect(again.used_bytes).toBe(store.used_bytes);
    for (const index of [0, 2]) await again.delete(manifest.shards[index]!);
    const { hash } = await getLocalObject(again, manifest);
    expect(sha256Hex(await again.get(hash))).toBe(sha256Hex(bytes));
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});

test("loss probability: by hand, and against counting every case", () => {
  const code42 = { data_shards: 4, parity_shards: 2 };
  // 10 nodes, 3 die: lost only if all three held one of the six shards: C(6,3) / C(10,3).
  expect(lossProbability(code42, 10, 3)).toBeCloseTo(20 / 120, 12);
  expect(lossProbability(code42, 10, 2)).toBe(0);
  // 4 nodes hold 2,2,1,1: two deaths lose more than two shards unless both are light ones.
  expect(lossProbability(code42, 4, 2)).toBeCloseTo(5 / 6, 12);
  expect(lossProbability(code42, 4, 1)).toBe(0);
  expect(durabilityReport(code42, 20).loss_probability.map((r) => r.dead_nodes)).toEqual([2, 4, 6]);
});
