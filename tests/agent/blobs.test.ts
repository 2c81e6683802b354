/** Blobs between nodes: what is served, what is fetched on whose word, and what is swept away. */
import { afterEach, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { blobFetcher, dropOldParts } from "../../src/agent/blob-fetcher.ts";
import { BlobSweeper } from "../../src/agent/blob-sweeper.ts";
import { PublishedBlobs } from "../../src/agent/published-blobs.ts";
import { shardReader } from "../../src/agent/shard-reader.ts";
import { sha256Hex } from "../../src/core/bytes.ts";
import { MagnetError } from "../../src/core/errors.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { Hash, PublicKey } from "../../src/core/types.ts";
import type { Transport } from "../../src/network/transport.ts";
import { BlobStore } from "../../src/storage/blobs.ts";
import { hostDisk } from "../../src/storage/disk.ts";
import { makeFolder, TestNetwork } from "./real-nodes.ts";

let network: TestNetwork | undefined;
afterEach(async () => {
  await network?.stop();
  network = undefined;
});

const codeOf = async (work: Promise<unknown>): Promise<string> => {
  try {
    await work;
  } catch (error) {
    return error instanceof MagnetError ? error.code : String(error);
  }
  return "no error";
};
const openStore = () => BlobStore.open({ folder: makeFolder(), disk: hostDisk });
const text = (content: string) => new TextEncoder().encode(content);

test("a blob is served only while it is published", async () => {
  const store = await openStore();
  const published = new PublishedBlobs(store);
  const { hash } = await store.put(text("pseudo-gradient"));
  expect(published.size(hash)).toBeNull();
  expect(await codeOf(published.read(hash, 0, 3))).toBe("BLOB_NOT_FOUND");
  published.publish(hash);
  expect(published.size(hash)).toBe(15);
  expect(await published.read(hash, 0, 6)).toEqual(text("pseudo"));
  published.withdraw(hash);
  expect(published.size(hash)).toBeNull();
  const absent = sha256Hex("absent") as Hash;
  published.publish(absent);
  expect(published.size(absent)).toBeNull();
});

/** Peers by name, each with the answer that it gives to `blob.get`. */
function peersThat(answers: Record<string, (at: number, length: number) => unknown>): Transport {
  const request = async (to: PublicKey, _type: string, body: unknown) => {
    const { offset, length } = body as { offset: number; length: number };
    const answer = answers[to];
    if (!answer) throw new MagnetError("PEER_NOT_CONNECTED", "nobody", { retryable: true });
    return answer(offset, length);
  };
  return { public_key: "self", request, penalize: () => undefined } as unknown as Transport;
}
const keys = (...names: string[]) => names as unknown as PublicKey[];
const serving = (bytes: Uint8Array) => (at: number, length: number) => ({
  size_bytes: bytes.length,
  data: bytes.slice(at, at + length),
});

test("liars about size or content cost a fetch nothing but the attempt", async () => {
  const bytes = seededRandom(5).bytes(50_000);
  const hash = sha256Hex(bytes) as Hash;
  const store = await openStore();
  const folder = makeFolder();
  const transport = peersThat({
    huge: () => ({ size_bytes: 2 ** 36, data: new Uint8Array(1) }),
    garbled: serving(seededRandom(6).bytes(50_000)),
    shapeless: () => ({ surprise: true }),
    honest: serving(bytes),
  });
  const fetch = blobFetcher(transport, store, folder, 1 << 20);
  const liars = keys("gone", "huge", "garbled", "shapeless");
  expect(await codeOf(fetch(hash, liars))).toBe("BLOB_UNAVAILABLE");
  expect(store.has(hash)).toBe(false);
  await fetch(hash, [...liars, ...keys("honest")]);
  expect(Buffer.compare(await store.get(hash), bytes)).toBe(0);
  expect(fs.readdirSync(folder)).toEqual([]);
});

test("what exceeds the disk limit or its known size is not fetched", async () => {
  const bytes = seededRandom(7).bytes(5000);
  const hash = sha256Hex(bytes) as Hash;
  const store = await openStore();
  const transport = peersThat({ honest: serving(bytes) });
  const small = blobFetcher(transport, store, makeFolder(), 4000);
  expect(await codeOf(small(hash, keys("honest"), { size_bytes: 5000 }))).toBe("DISK_LIMIT");
  expect(await codeOf(small(hash, keys("honest")))).toBe("BLOB_UNAVAILABLE");
  const large = blobFetcher(transport, store, makeFolder(), 1 << 20);
  expect(await codeOf(large(hash, keys("honest"), { size_max: 4999 }))).toBe("BLOB_UNAVAILABLE");
  await large(hash, keys("honest"), { size_max: 5000 });
  expect(store.has(hash)).toBe(true);
});

test("two wants of one blob are one fetch", async () => {
  const bytes = seededRandom(8).bytes(100);
  const hash = sha256Hex(bytes) as Hash;
  let asked = 0;
  const transport = peersThat({
    honest: (at, length) => {
      asked++;
      return serving(bytes)(at, length);
    },
  });
  const fetch = blobFetcher(transport, await openStore(), makeFolder(), 1 << 20);
  const known = { size_bytes: 100 };
  await Promise.all([fetch(hash, keys("honest"), known), fetch(hash, keys("honest"), known)]);
  expect(asked).toBe(1);
});

test("parts of old fetches are dropped, young ones are kept to go on with", async () => {
  const folder = path.join(makeFolder(), "fetch");
  await dropOldParts(folder, 0);
  const now_ms = 1_000_000_000_000;
  for (const [name, age_ms] of [
    ["old.part", 25 * 3_600_000],
    ["young.part", 3_600_000],
  ] as const) {
    const file = path.join(folder, name);
    fs.writeFileSync(file, "x");
    fs.utimesSync(file, (now_ms - age_ms) / 1000, (now_ms - age_ms) / 1000);
  }
  await dropOldParts(folder, now_ms);
  expect(fs.readdirSync(folder)).toEqual(["young.part"]);
});

test("a shard is read from the next holder where the first one fails", async () => {
  const bytes = seededRandom(9).bytes(64);
  const hash = sha256Hex(bytes) as Hash;
  const store = await openStore();
  const transport = peersThat({ honest: serving(bytes) });
  const read = shardReader(store, transport, hash, keys("self", "gone", "honest"));
  expect(await read(10, 5)).toEqual(bytes.slice(10, 15));
  const nobody = shardReader(store, transport, hash, keys("self"));
  expect(await codeOf(nobody(0, 1))).toBe("BLOB_NOT_FOUND");
});

test("states and pseudo-gradients go when two sweeps found them unneeded; all else stays", async () => {
  const store = await openStore();
  const put = async (content: string) => (await store.put(text(content))).hash;
  const state = await put("MGSTATE1 a state that lost");
  const delta = await put("MGD1 a pseudo-gradient");
  const kept = await put("MGSTATE1 the current state");
  const tokens = await put("tokens of a job");
  const tiny = await put("MGD");
  const needed = new Set([kept]);
  const sweeper = new BlobSweeper(store);
  expect(await sweeper.sweep(() => needed)).toEqual([]);
  const late = await put("MGSTATE1 merged just now");
  needed.add(delta);
  expect(await sweeper.sweep(() => needed)).toEqual([state]);
  needed.delete(delta);
  needed.add(late);
  expect(await sweeper.sweep(() => needed)).toEqual([]);
  expect(await sweeper.sweep(() => needed)).toEqual([delta]);
  expect(store.list()).toEqual([kept, tokens, tiny, late].sort());
});

test("peers get an unpublished blob of a real node under no circumstances", async () => {
  network = new TestNetwork(2, 0, 41);
  await network.start();
  const [one, two] = network.members.map(({ running }) => running);
  const { hash } = await one!.blobs.put(text("secret so far"));
  const sources = [one!.options.identity.public_key];
  expect(await codeOf(two!.fetchBlob(hash, sources))).toBe("BLOB_UNAVAILABLE");
  expect(await codeOf(two!.fetchBlob(hash, sources, { size_bytes: 13 }))).toBe("BLOB_UNAVAILABLE");
  one!.published.publish(hash);
  await two!.fetchBlob(hash, sources);
  expect(two!.blobs.size(hash)).toBe(13);
}, 20_000);

test("a file that somebody else writes and hashes becomes a blob, within the quota", async () => {
  const folder = makeFolder();
  const store = await BlobStore.open({ folder, disk: hostDisk, quota_bytes: 100 });
  const bytes = new Uint8Array(60).fill(7);
  const hash = sha256Hex(bytes) as Hash;
  const write = async (file: string) => {
    fs.writeFileSync(file, bytes, { flag: "wx" });
    return hash;
  };
  expect(await store.take(60, write)).toEqual({ hash, size_bytes: 60 });
  expect(await store.get(hash)).toEqual(bytes);
  await expect(store.take(60, write)).rejects.toThrow(/limit of 100 B/);
  const fails = async (file: string): Promise<Hash> => {
    fs.writeFileSync(file, bytes);
    throw new Error("it was given up");
  };
  await expect(store.take(40, fails)).rejects.toThrow("given up");
  expect(store.used_bytes).toBe(60);
  expect(fs.readdirSync(path.join(folder, "tmp"))).toEqual([]);
  expect(
    await store.take(40, async (file) => {
      fs.writeFileSync(file, bytes.subarray(20));
      return sha256Hex(bytes.subarray(20)) as Hash;
    }),
  ).toMatchObject({ size_bytes: 40 });
});
