/** Randomness: the seeded generator is SplitMix64 bit for bit; both kinds stay in their ranges. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { toHex } from "../../src/core/bytes.ts";
import { seededRandom, systemRandom } from "../../src/core/random.ts";

describe("seededRandom", () => {
  test("reference outputs of SplitMix64 for seed 1234567", () => {
    // The widely published test vector of the algorithm (e.g. Rosetta Code, "Pseudo-random
    // numbers/Splitmix64"); next() is the upper 53 bits over 2^53.
    const expected = [
      6457827717110365317n,
      3203168211198807973n,
      9817491932198370423n,
      4593380528125082431n,
      16408922859458223821n,
    ];
    const random = seededRandom(1234567);
    for (const value of expected) expect(random.next()).toBe(Number(value >> 11n) / 2 ** 53);
  });

  test("the same seed gives the same stream, another seed another one", () => {
    const draw = (seed: number) => toHex(seededRandom(seed).bytes(64));
    expect(draw(7)).toBe(draw(7));
    expect(draw(7)).not.toBe(draw(8));
  });

  test("seeds are taken modulo 2^64", () => {
    expect(seededRandom(5n + 2n ** 64n).next()).toBe(seededRandom(5n).next());
    expect(seededRandom(-1n).next()).toBe(seededRandom(2n ** 64n - 1n).next());
  });
});

describe.each([
  ["seeded", seededRandom(42)],
  ["system", systemRandom],
])("%s", (_, random) => {
  test("below() stays below its limit and reaches every value", () => {
    for (const limit of [1, 2, 7, 100]) {
      const seen = new Set(Array.from({ length: limit * 40 }, () => random.below(limit)));
      expect(Math.min(...seen)).toBe(0);
      expect(Math.max(...seen)).toBe(limit - 1);
      expect(seen.size).toBe(limit);
    }
  });

  test("next() stays in [0, 1) with the mean of a uniform variable", () => {
    const draws = Array.from({ length: 4000 }, () => random.next());
    expect(Math.min(...draws)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...draws)).toBeLessThan(1);
    const mean = draws.reduce((a, b) => a + b) / draws.length;
    expect(Math.abs(mean - 0.5)).toBeLessThan(0.04); // eight standard errors
  });

  test("bytes() has the length asked for", () => {
    fc.assert(
      fc.property(fc.nat(300), (length) => random.bytes(length).length === length),
      { seed: 1 },
    );
    expect(new Set(random.bytes(4096)).size).toBeGreaterThan(200);
  });
});
