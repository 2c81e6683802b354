/** Bytes: hex, hashes with known answers, canonical JSON, sizes. */
import { describe, expect, test } from "bun:test";
import crypto from "node:crypto";
import fc from "fast-check";
import {
  canonicalJson,
  equalBytes,
  formatBytes,
  fromHex,
  parseSize,
  sha256,
  sha256Hex,
  toHex,
} from "../../src/core/bytes.ts";

const seed = 20_261_121;
const property = (p: fc.IRawProperty<unknown>) => fc.assert(p, { seed, numRuns: 300 });

describe("hex", () => {
  test("round trip of any bytes, also of a view into a larger buffer", () =>
    property(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(10), (bytes, offset) => {
        const larger = new Uint8Array(bytes.length + offset + 7).fill(255);
        larger.set(bytes, offset);
        const view = larger.subarray(offset, offset + bytes.length);
        expect(fromHex(toHex(view))).toEqual(bytes);
      }),
    ));

  test.each(["a", "AB", "zz", "0x00", " 00", "0g"])("refuses %j", (text) => {
    expect(() => fromHex(text)).toThrow("not a lower-case hexadecimal");
  });
});

describe("sha256", () => {
  test("FIPS 180-2 vectors", () => {
    expect(sha256Hex("abc")).toBe(
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    );
    expect(sha256Hex()).toBe("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  });

  test("parts are hashed as their concatenation", () =>
    property(
      fc.property(fc.uint8Array(), fc.string(), (bytes, text) => {
        const expected = crypto.createHash("sha256").update(bytes).update(text).digest("hex");
        expect(toHex(sha256(bytes, text))).toBe(expected);
      }),
    ));
});

describe("canonicalJson", () => {
  test("sorts keys at every depth, drops undefined, has no spaces", () => {
    const value = { b: 1, a: { d: [1, { z: null, y: "ü" }], c: undefined } };
    expect(canonicalJson(value)).toBe('{"a":{"d":[1,{"y":"ü","z":null}]},"b":1}');
  });

  test("the order of keys does not matter, and JSON.parse gives the value back", () =>
    property(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (value) => {
        const reversed = Object.fromEntries(Object.entries(value).reverse());
        expect(canonicalJson(reversed)).toBe(canonicalJson(value));
        // -0 becomes 0 in JSON: compared through it.
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    ));

  test("refuses numbers that JSON cannot hold", () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, { a: [-Infinity] }])
      expect(() => canonicalJson(bad)).toThrow("NaN or infinity");
  });
});

test("equalBytes compares content and length", () =>
  property(
    fc.property(fc.uint8Array(), fc.uint8Array(), (a, b) => {
      expect(equalBytes(a, b)).toBe(toHex(a) === toHex(b));
      expect(equalBytes(a, a.slice())).toBe(true);
    }),
  ));

describe("sizes", () => {
  test.each([
    ["0", 0],
    ["4096", 4096],
    ["1.5 KiB", 1536],
    ["20GiB", 20 * 2 ** 30],
    ["1tb", 1e12],
    ["7 B", 7],
  ])("%s", (text, bytes) => expect(parseSize(text)).toBe(bytes));

  test.each(["", "x", "-1", "1 XB", "1e9", "999999999999999TiB", "1..5"])("refuses %j", (text) =>
    expect(parseSize(text)).toBeUndefined(),
  );

  test("formatBytes", () => {
    expect([0, 1023, 1536, 2 ** 30, 2 ** 50].map(formatBytes)).toEqual([
      "0 B",
      "1023 B",
      "1.5 KiB",
      "1.0 GiB",
      "1024.0 TiB",
    ]);
  });

  test("what is shown can be typed", () =>
    property(
      fc.property(fc.nat(2 ** 31 - 1), (bytes) => {
        const again = parseSize(formatBytes(bytes))!;
        expect(Math.abs(again - bytes)).toBeLessThanOrEqual(bytes * 0.05 + 1);
      }),
    ));
});
