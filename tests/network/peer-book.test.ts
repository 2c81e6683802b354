/** Peer book and pins in SQLite: bounded, survive a restart, never replaced by something older. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { sha256Hex } from "../../src/core/bytes.ts";
import type { Hash, PublicKey } from "../../src/core/types.ts";
import { PeerBook } from "../../src/network/peer-book.ts";
import { openPeerDatabase } from "../../src/network/peer-database.ts";
import { checkPin, PinStore } from "../../src/network/tls-pins.ts";

let dir = "";
beforeEach(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-peers-"));
});
afterEach(() => fs.rmSync(dir, { recursive: true, force: true }));

const keyOf = (n: number) => `02${sha256Hex(String(n))}` as PublicKey;
const peer = (n: number, last_seen_ms = n, score = 0) => ({
  public_key: keyOf(n),
  address: `192.0.2.1:${n}`,
  tier: "cpu_only" as const,
  last_seen_ms,
  score,
});

test("remembers across a restart; an older sighting changes nothing", () => {
  const file = path.join(dir, "sub", "peers.sqlite");
  const database = openPeerDatabase(file);
  new PeerBook(database).remember(peer(1, 1000));
  database.close();
  const book = new PeerBook(openPeerDatabase(file));
  expect(book.get(keyOf(1))).toEqual(peer(1, 1000));
  book.remember({ ...peer(1, 500), address: "198.51.100.1:1" });
  expect(book.get(keyOf(1))?.address).toBe("192.0.2.1:1");
  book.remember({ ...peer(1, 2000), address: null });
  expect(book.dialable(10)).toEqual([]);
});

test("bounded: those not seen for longest go; the best are dialled first", () => {
  const book = new PeerBook(openPeerDatabase(":memory:"), 20);
  for (let n = 1; n <= 100; n++) book.remember(peer(n));
  expect(book.size()).toBeLessThanOrEqual(20);
  expect(book.get(keyOf(100))).toBeDefined();
  expect(book.get(keyOf(1))).toBeUndefined();
  book.remember(peer(99, 200, -50));
  const order = book.dialable(100).map(({ public_key }) => public_key);
  expect(order[0]).toBe(keyOf(100));
  expect(order.at(-1)).toBe(keyOf(99));
});

test("a file that is no database is named with a hint", () => {
  const file = path.join(dir, "bad.sqlite");
  fs.writeFileSync(file, "not a database, but long enough to be looked at".repeat(50));
  expect(() => openPeerDatabase(file)).toThrow(expect.objectContaining({ code: "PEER_DATABASE" }));
});

test("the pin rule: first use, same, renewed, older, another key", () => {
  const pins = new PinStore(openPeerDatabase(":memory:"));
  const address = "192.0.2.1:1";
  const certificate = (name: string, serial: number) => ({
    fingerprint: sha256Hex(name) as Hash,
    serial,
  });
  const check = (n: number, name: string, serial: number, expected?: PublicKey) =>
    checkPin(pins, {
      address,
      expected,
      public_key: keyOf(n),
      certificate: certificate(name, serial),
    });
  expect(check(1, "a", 5)).toEqual({ pin: true });
  const pin = { public_key: keyOf(1), address, cert_pem: "", pinned_ms: 1 };
  pins.set({ ...pin, ...certificate("a", 5) });
  expect(check(1, "a", 5)).toEqual({ pin: false });
  expect(check(1, "b", 6)).toEqual({ pin: true });
  expect(check(1, "b", 5)).toMatchObject({ code: "CERTIFICATE_CHANGED" });
  expect(check(1, "b", 4)).toMatchObject({ code: "CERTIFICATE_CHANGED" });
  expect(check(2, "c", 9)).toMatchObject({ code: "PEER_CHANGED" });
  expect(check(2, "c", 9, keyOf(1))).toMatchObject({ code: "PEER_IDENTITY" });
  expect(check(2, "c", 9, keyOf(2))).toEqual({ pin: true });
  expect(() => pins.set({ ...pin, ...certificate("b", 4) })).toThrow("invariant");
  expect(pins.reset(keyOf(1))).toBe(true);
  expect(check(1, "b", 4)).toEqual({ pin: true });
});
