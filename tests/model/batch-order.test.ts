import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { BatchOrder, permutation } from "../../src/model/batch-order.ts";

const SEED = { seed: 20_260_302 };

describe("permutation", () => {
  test("maps [0, n) one to one, for small and large n", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 3000 }),
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        (n, s) => {
          const place = permutation(n, s);
          const seen = new Set(Array.from({ length: n }, (_, i) => place(i)));
          expect(seen.size).toBe(n);
          expect(Math.max(...seen)).toBe(n - 1);
        },
      ),
      { ...SEED, numRuns: 200 },
    );
    const place = permutation(2 ** 50, 1n);
    expect(place(2 ** 50 - 1)).toBeLessThan(2 ** 50);
  });

  test("looks random: neighbours are far apart and few elements stay in place", () => {
    const n = 10_000;
    const place = permutation(n, 42n);
    let fixed = 0;
    let distance = 0;
    for (let i = 1; i < n; i++) {
      if (place(i) === i) fixed++;
      distance += Math.abs(place(i) - place(i - 1));
    }
    expect(fixed).toBeLessThan(10); // 1 expected
    expect(distance / n / (n / 3)).toBeGreaterThan(0.95); // n/3 expected
    expect(distance / n / (n / 3)).toBeLessThan(1.05);
  });
});

describe("BatchOrder", () => {
  test("slices of a data pass are disjoint and cover every window, in every pass", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 40, max: 5000 }),
        fc.integer({ min: 1, max: 7 }),
        fc.integer({ min: 1, max: 5 }),
        fc.nat(3),
        fc.nat(),
        (token_count, context, slice_count, pass, seed) => {
          const seen: number[] = [];
          let windows = 0;
          for (let slice_index = 0; slice_index < slice_count; slice_index++) {
            const order = new BatchOrder({ token_count, context, seed, slice_index, slice_count });
            windows = order.windows;
            const start = pass * order.windows_in_slice;
            for (let i = 0; i < order.windows_in_slice; i++) seen.push(order.windowAt(start + i));
          }
          seen.sort((a, b) => a - b);
          expect(seen).toEqual(Array.from({ length: windows }, (_, i) => i));
          expect((windows - 1) * context + context).toBeLessThan(token_count);
        },
      ),
      { ...SEED, numRuns: 100 },
    );
  });

  test("any position can be asked for in any order with the same answer", () => {
    const make = () => new BatchOrder({ token_count: 10_001, context: 10, seed: 7 });
    const forward = make();
    const expected = Array.from({ length: 2500 }, (_, i) => forward.windowAt(i));
    const backward = make();
    for (let i = 2499; i >= 0; i--) expect(backward.windowAt(i)).toBe(expected[i]!);
    expect(expected.slice(0, 1000)).not.toEqual(expected.slice(1000, 2000));
  });

  test("the order is part of the format: it may never change for a seed", () => {
    const order = new BatchOrder({ token_count: 1001, context: 10, seed: 1 });
    expect(Array.from({ length: 8 }, (_, i) => order.windowAt(i))).toEqual(KNOWN_ORDER);
    const big = new BatchOrder({ token_count: 1001, context: 10, seed: 2n ** 64n - 1n });
    expect(big.windowAt(0)).not.toBe(order.windowAt(0));
  });

  test("a file without a whole window per slice is refused with the numbers", () => {
    expect(() => new BatchOrder({ token_count: 10, context: 10, seed: 1 })).toThrow(
      expect.objectContaining({ code: "DATA_TOO_SMALL" }),
    );
    expect(
      () =>
        new BatchOrder({ token_count: 31, context: 10, seed: 1, slice_index: 3, slice_count: 4 }),
    ).toThrow(expect.objectContaining({ code: "DATA_TOO_SMALL" }));
  });
});

/** Computed by a second implementation (Python, from the published SplitMix64 and MurmurHash3). */
const KNOWN_ORDER = [0, 56, 22, 65, 61, 32, 33, 29];
