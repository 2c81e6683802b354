/** Blobs: verified, resumed from another source, never named before their hash is right. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { sha256Hex } from "../../src/core/bytes.ts";
import { systemRandom } from "../../src/core/random.ts";
import type { Hash } from "../../src/core/types.ts";
import { type BlobSource, fetchBlob, serveBlobs } from "../../src/network/bulk.ts";
import { blobGet } from "../../src/network/bulk-messages.ts";
import { codeOf, startNode } from "./network-fixture.ts";

let dir = "";
beforeAll(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-bulk-"));
});
afterAll(() => fs.rmSync(dir, { recursive: true, force: true }));

const blob = systemRandom.bytes((5 << 20) + 12_345);
const hash = sha256Hex(blob) as Hash;
const requests = [blobGet];
type Node = ReturnType<typeof startNode>;

/** A node that serves `bytes` under the hash of `blob`; `onRead` may throw or end the node. */
function server(
  seed: number,
  bytes = blob,
  onRead: (node: Node, offset: number) => void = () => undefined,
) {
  const node = startNode(seed, { requests });
  const served: number[] = [];
  const source: BlobSource = {
    size: (wanted) => (wanted === hash ? bytes.length : null),
    read: async (_hash, offset, length) => {
      served.push(offset);
      onRead(node, offset);
      return bytes.subarray(offset, offset + length);
    },
  };
  serveBlobs(node.transport, source);
  return { ...node, served };
}

async function puller(...sources: { transport: { address: string } }[]) {
  const node = startNode(50, { requests });
  for (const source of sources) await node.transport.connect(source.transport.address);
  return node;
}
const optionsOf = (name: string, ...sources: Node[]) => ({
  hash,
  size_bytes: blob.length,
  sources: sources.map((source) => source.key),
  file: path.join(dir, name),
  chunk_bytes: 256 << 10,
});
const contentOf = (name: string) => sha256Hex(fs.readFileSync(path.join(dir, name)));

test("a blob arrives whole, and the part file is gone", async () => {
  const a = server(1);
  const b = await puller(a);
  await fetchBlob(b.transport, optionsOf("whole", a));
  expect(contentOf("whole")).toBe(hash);
  expect(fs.existsSync(path.join(dir, "whole.part"))).toBe(false);
});

test("a source that dies midway: another continues where it ended", async () => {
  const dying = server(1, blob, (node, offset) => {
    if (offset >= 3 << 20) void node.transport.close();
  });
  const other = server(2);
  const b = await puller(dying, other);
  await fetchBlob(b.transport, optionsOf("resumed", dying, other));
  expect(contentOf("resumed")).toBe(hash);
  expect(Math.min(...other.served)).toBeGreaterThan(1 << 20);
});

test("all sources lost: the part stays, and the next call resumes it", async () => {
  const dying = server(1, blob, (node, offset) => {
    if (offset >= 3 << 20) void node.transport.close();
  });
  const b = await puller(dying);
  const failed = fetchBlob(b.transport, optionsOf("later", dying));
  expect(await codeOf(failed)).toBe("BLOB_UNAVAILABLE");
  expect(fs.existsSync(path.join(dir, "later"))).toBe(false);
  const kept = fs.statSync(path.join(dir, "later.part")).size;
  expect(kept).toBeGreaterThan(1 << 20);
  const again = server(2);
  await b.transport.connect(again.transport.address);
  await fetchBlob(b.transport, optionsOf("later", again));
  expect(contentOf("later")).toBe(hash);
  expect(Math.min(...again.served)).toBe(kept);
});

test("a corrupt source is scored, and the honest one used; a corrupt mixture is untangled", async () => {
  const wrong = blob.slice();
  wrong[4 << 20]! ^= 1;
  const liar = server(1, wrong);
  const honest = server(2);
  const b = await puller(liar, honest);
  expect(await codeOf(fetchBlob(b.transport, optionsOf("bad", liar)))).toBe("BLOB_UNAVAILABLE");
  expect(fs.readdirSync(dir).filter((name) => name.startsWith("bad"))).toEqual([]);
  expect(b.transport.peers().find((peer) => peer.public_key === liar.key)?.score).toBe(-50);
  // A part with a wrong byte from an unknown earlier source.
  fs.writeFileSync(path.join(dir, "mixed.part"), wrong.subarray(0, (4 << 20) + 100));
  await fetchBlob(b.transport, optionsOf("mixed", honest, liar));
  expect(contentOf("mixed")).toBe(hash);
});

test("not served, wrong size, cancelled", async () => {
  const a = server(1);
  const b = await puller(a);
  const unknown = { ...optionsOf("none", a), hash: sha256Hex("none") as Hash };
  expect(await codeOf(fetchBlob(b.transport, unknown))).toBe("BLOB_UNAVAILABLE");
  const short = { ...optionsOf("short", a), size_bytes: blob.length - 1 };
  expect(await codeOf(fetchBlob(b.transport, short))).toBe("BLOB_UNAVAILABLE");
  const cancel = new AbortController();
  const slow = server(3, blob, (_node, offset) => {
    if (offset > 1 << 20) cancel.abort();
  });
  await b.transport.connect(slow.transport.address);
  const cancelled = fetchBlob(b.transport, { ...optionsOf("c", slow), signal: cancel.signal });
  expect(await codeOf(cancelled)).toBe("REQUEST_ABORTED");
  expect(fs.existsSync(path.join(dir, "c"))).toBe(false);
});

test("throughput on loopback, both ends in one process", async () => {
  const big = systemRandom.bytes(64 << 20);
  const bigHash = sha256Hex(big) as Hash;
  const node = startNode(1, { requests });
  serveBlobs(node.transport, {
    size: () => big.length,
    read: async (_hash, offset, length) => big.subarray(offset, offset + length),
  });
  const b = await puller(node);
  const began = performance.now();
  const options = { ...optionsOf("big", node), hash: bigHash, size_bytes: big.length };
  await fetchBlob(b.transport, { ...options, chunk_bytes: 1 << 20 });
  const mib_per_s = 64 / ((performance.now() - began) / 1000);
  process.stdout.write(`bulk: ${mib_per_s.toFixed(0)} MiB/s over wss on loopback\n`);
  expect(contentOf("big")).toBe(bigHash);
  expect(b.transport.stats().bytes_in).toBeGreaterThan(64 << 20);
}, 20_000);
