/** Which source a sequence comes from: shares, exactness, and that positions need no history. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { MixtureOrder, WEIGHT_STEPS, weightParts } from "../../src/model/mixture-order.ts";

const weights = fc.array(fc.double({ min: 1e-6, max: 1e6, noNaN: true }), {
  minLength: 1,
  maxLength: 12,
});
const SEED = { seed: 20_261_121 };

describe("weights as whole parts", () => {
  test("sum to the whole, none vanishes, a common factor changes nothing", () => {
    fc.assert(
      fc.property(weights, (w) => {
        const parts = weightParts(w);
        expect(parts.reduce((sum, n) => sum + n, 0)).toBe(WEIGHT_STEPS);
        expect(Math.min(...parts)).toBeGreaterThanOrEqual(1);
        expect(weightParts(w.map((x) => x * 4))).toEqual(parts);
      }),
      { ...SEED, numRuns: 300 },
    );
    expect(weightParts([0.5, 0.25, 0.25])).toEqual([1 << 19, 1 << 18, 1 << 18]);
    expect(weightParts([1e12, 1, 1]).slice(1)).toEqual([1, 1]);
  });
});

describe("the order of sources", () => {
  test("every prefix has the shares to within half a sequence a source", () => {
    fc.assert(
      fc.property(weights, fc.nat(2 ** 40), (w, start) => {
        const order = new MixtureOrder(w);
        const { shares } = order;
        const near = (position: number) => {
          for (const [i, count] of order.counts(position).entries())
            expect(Math.abs(count - position * shares[i]!)).toBeLessThanOrEqual(w.length / 2);
        };
        near(start);
        for (let p = 0; p < 50; p++) near(p);
      }),
      { ...SEED, numRuns: 200 },
    );
  });

  test("asking for one position agrees with counting up to it, for any position", () => {
    fc.assert(
      fc.property(weights, fc.nat(2 ** 40), (w, start) => {
        const order = new MixtureOrder(w);
        const counts = order.counts(start);
        for (let p = start; p < start + 40; p++) {
          const { source, position } = order.at(p);
          expect(position).toBe(counts[source]!);
          counts[source]!++;
          expect(order.counts(p + 1)).toEqual(counts);
        }
      }),
      { ...SEED, numRuns: 200 },
    );
  });

  test("the order is part of the format: it may never change for a list of weights", () => {
    const order = new MixtureOrder([0.5, 0.3, 0.2]);
    const first = Array.from({ length: 20 }, (_, p) => order.at(p).source);
    expect(first.join("")).toBe(KNOWN_ORDER);
    expect(order.counts(1_000_003)).toEqual([500002, 300001, 200000]);
  });
});

/** Computed by a second implementation (Python, exact fractions). */
const KNOWN_ORDER = "01020102010102010201";
