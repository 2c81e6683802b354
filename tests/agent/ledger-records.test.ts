/** Records on the disk: what anybody names, a liar serves or the disk spoils. */
import { expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { RecordStore } from "../../src/agent/ledger/record-store.ts";
import { PublishedBlobs } from "../../src/agent/published-blobs.ts";
import { RECORD_BYTES_MAX } from "../../src/chain/ledger/epoch-record.ts";
import { sha256Hex } from "../../src/core/bytes.ts";
import { roomLog } from "../../src/core/log.ts";
import type { Hash, PublicKey } from "../../src/core/types.ts";
import { BlobStore } from "../../src/storage/blobs.ts";
import { hostDisk } from "../../src/storage/disk.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text);
const hashOf = (text: string) => sha256Hex(text) as Hash;
const PEER = "02" as PublicKey;

/** A store whose peers serve anything. */
async function open(data_dir: string) {
  const blobs = await BlobStore.open({ folder: path.join(data_dir, "blobs"), disk: hostDisk });
  const published = new PublishedBlobs(blobs);
  const sizes: (number | undefined)[] = [];
  const records = new RecordStore({
    ...{ data_dir, blobs, published, log: roomLog("ledger") },
    fetchBlob: async (_hash, _sources, known) => {
      sizes.push(known?.size_max);
      await blobs.put(bytesOf("garbage"));
    },
  });
  const read = await records.open();
  return { blobs, published, records, read, sizes };
}

async function inFolder(work: (data_dir: string) => Promise<void>): Promise<void> {
  const data_dir = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-records-"));
  try {
    await work(data_dir);
  } finally {
    fs.rmSync(data_dir, { recursive: true, force: true });
  }
}

test("what a peer serves as a record is not served on, and gone once it is found to be none", () =>
  inFolder(async (data_dir) => {
    const { blobs, published, records, sizes } = await open(data_dir);
    const name = hashOf("garbage");
    expect(await records.fetch(name, [PEER])).toEqual(bytesOf("garbage"));
    expect(sizes).toEqual([RECORD_BYTES_MAX]);
    expect(published.size(name)).toBeNull();
    await records.drop([name]);
    expect(blobs.has(name)).toBe(false);
  }));

test("the name of another blob of this node neither fills its memory nor removes it", () =>
  inFolder(async (data_dir) => {
    const { blobs, records } = await open(data_dir);
    const { hash } = await blobs.put(new Uint8Array(RECORD_BYTES_MAX + 1));
    const code = await records.fetch(hash, [PEER]).catch((error) => error.code);
    expect(code).toBe("NO_RECORD");
    await records.drop([hash]);
    expect(blobs.has(hash)).toBe(true);
  }));

test("a damaged record is left out at a start; the others are read, the newest only", () =>
  inFolder(async (data_dir) => {
    const first = await open(data_dir);
    const names = Array.from({ length: 12 }, (_, epoch) => `record ${epoch}`);
    for (const [epoch, name] of names.entries())
      await first.records.storeRecord(epoch, hashOf(name), bytesOf(name));
    fs.writeFileSync(first.blobs.pathOf(hashOf("record 11")), "spoilt 11");
    const { read, records } = await open(data_dir);
    expect(read).toEqual(names.slice(4, 11).map(bytesOf));
    expect(records.hashes()).toHaveLength(12);
  }));
