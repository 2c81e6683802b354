/** Pinned certificates in SQLite: they survive a restart and are replaced by the rule alone. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { sha256Hex } from "../../src/core/bytes.ts";
import type { Hash, PublicKey } from "../../src/core/types.ts";
import { openPeerDatabase } from "../../src/network/peer-database.ts";
import { checkPin, PinStore } from "../../src/network/tls-pins.ts";

let dir = "";
beforeEach(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-peers-"));
});
afterEach(() => fs.rmSync(dir, { recursive: true, force: true }));

const keyOf = (n: number) => `02${sha256Hex(String(n))}` as PublicKey;
test("a pin survives a restart", () => {
  const file = path.join(dir, "sub", "peers.sqlite");
  const database = openPeerDatabase(file);
  const pin = {
    public_key: keyOf(1),
    address: "192.0.2.1:1",
    cert_pem: "a certificate",
    fingerprint: sha256Hex("a certificate") as Hash,
    serial: 5,
    pinned_ms: 1000,
  };
  new PinStore(database).set(pin);
  database.close();
  expect(new PinStore(openPeerDatabase(file)).get(keyOf(1))).toEqual(pin);
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
