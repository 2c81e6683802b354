/** Eq. 5 in integers: exact sums, order of ties, and that splitting an identity gains nothing. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Address } from "../../src/chain/ledger/ledger-types.ts";
import { qualityPoints, weightedMedian } from "../../src/chain/ledger/quality.ts";
import { AXES, pointsOf, scoreOf } from "../../src/chain/ledger/report.ts";
import { divideRewards, type Share, weightOf } from "../../src/chain/ledger/rewards.ts";
import { TIERS } from "../../src/core/tiers.ts";

const T = [3000, 1000, 300, 300, 100];
const addressOf = (n: number): Address => `0x${n.toString(16).padStart(40, "0")}`;

const scoreArb = fc.oneof(fc.bigInt(0n, 5n), fc.bigInt(0n, 10_000n), fc.bigInt(0n, 2n ** 100n));
const poolArb = fc.oneof(fc.bigInt(0n, 20n), fc.bigInt(0n, 10n ** 21n));
const sharesArb = fc
  .array(fc.record({ tier: fc.constantFrom(...TIERS), score: scoreArb }), {
    minLength: 1,
    maxLength: 40,
  })
  .map((list): Share[] => list.map((entry, i) => ({ ...entry, address: addressOf(1000 + i) })));
const sum = (list: readonly bigint[]) => list.reduce((total, value) => total + value, 0n);

test("the rewards sum to the pool exactly, for any number of nodes", () => {
  const holds = fc.property(poolArb, sharesArb, (pool, shares) => {
    const rewards = divideRewards(pool, shares, T);
    const anybody = shares.some((share) => share.score > 0n);
    expect(rewards).toHaveLength(anybody ? shares.length : 0);
    expect(sum(rewards)).toBe(anybody ? pool : 0n);
  });
  fc.assert(holds, { numRuns: 1000 });
});

test("every reward lies within one base unit of Eq. 5, and who did nothing gets nothing", () => {
  const holds = fc.property(poolArb, sharesArb, (pool, shares) => {
    const rewards = divideRewards(pool, shares, T);
    const all = sum(shares.map((share) => weightOf(share, T)));
    for (const [i, reward] of rewards.entries()) {
      const exact = pool * weightOf(shares[i]!, T);
      // floor(exact / all) <= reward <= ceil(exact / all)
      expect(reward * all >= exact - (all - 1n) && reward * all <= exact + (all - 1n)).toBe(true);
      if (shares[i]!.score === 0n) expect(reward).toBe(0n);
    }
  });
  fc.assert(holds, { numRuns: 1000 });
});

test("k identities of one contributor gain at most k - 1 base units", () => {
  const partsArb = fc.array(scoreArb, { minLength: 2, maxLength: 12 });
  const holds = fc.property(poolArb, sharesArb, partsArb, fc.nat(), (pool, others, parts, at) => {
    const tier = "cpu_only" as const;
    // Addresses below, among and above the others: the order of ties must not matter.
    const own = (i: number) => addressOf((at % 3) * 1000 + 500 + i);
    const whole: Share = { address: own(0), tier, score: sum(parts) };
    const split = parts.map((score, i): Share => ({ address: own(i), tier, score }));
    const before = divideRewards(pool, [...others, whole], T).at(-1) ?? 0n;
    const after = sum(divideRewards(pool, [...others, ...split], T).slice(others.length));
    expect(after - before <= BigInt(parts.length - 1)).toBe(true);
  });
  fc.assert(holds, { numRuns: 2000 });
});

test("splitting the amounts of the axes gains no points", () => {
  const amountArb = fc.bigInt(0n, 10n ** 15n);
  const holds = fc.property(fc.array(amountArb, { minLength: 1, maxLength: 9 }), (parts) => {
    const score = (amount: bigint) =>
      scoreOf(
        pointsOf(Object.fromEntries(AXES.map((axis) => [axis, amount])) as never),
        [1000, 5000, 2000, 1000, 1000],
      );
    expect(sum(parts.map(score)) <= score(sum(parts))).toBe(true);
  });
  fc.assert(holds);
});

test("what is left goes to the largest remainders, ties to the lower address", () => {
  const three = [3, 1, 2].map((n) => ({ address: addressOf(n), tier: TIERS[3]!, score: 1n }));
  expect(divideRewards(4n, three, T)).toEqual([1n, 2n, 1n]);
  expect(divideRewards(5n, three, T)).toEqual([1n, 2n, 2n]);
  // Weights 2 : 1 of 10: 6 + 2/3 and 3 + 1/3.
  const two = [2n, 1n].map((score, i) => ({ address: addressOf(i + 1), tier: TIERS[0]!, score }));
  expect(divideRewards(10n, two, T)).toEqual([7n, 3n]);
  // The paper's factors: a session with the same score earns 3 times a GPU, 30 times a phone.
  const tiers = TIERS.map((tier, i) => ({ address: addressOf(i), tier, score: 7n }));
  expect(divideRewards(4700n, tiers, T)).toEqual([3000n, 1000n, 300n, 300n, 100n]);
});

const evaluation = (n: number, loss: number, bond = 10n, round = 1) => ({
  address: addressOf(n),
  ...{ bond, round, state_hash: "aa".repeat(32) as never, loss_micronats: loss },
});

test("evaluators share a state's points by bond; outside the clip nobody gets any", () => {
  const points = qualityPoints([
    evaluation(1, 2_000_000, 10n),
    evaluation(2, 2_010_000, 30n),
    evaluation(3, 2_500_000, 20n), // 25% off the median
  ]);
  expect(points).toEqual(
    new Map([
      [addressOf(1), 250n],
      [addressOf(2), 750n],
    ]),
  );
});

test("who holds less than half of the bond cannot move the median out of the others' values", () => {
  const holds = fc.property(
    fc.array(fc.integer({ min: 0, max: 10 ** 7 }), { minLength: 1, maxLength: 10 }),
    fc.array(fc.integer({ min: 0, max: 10 ** 9 }), { minLength: 0, maxLength: 9 }),
    (honest, liars) => {
      if (liars.length >= honest.length) return;
      const values = [...honest, ...liars].map((v) => ({ value: BigInt(v), weight: 7n }));
      const median = weightedMedian(values);
      expect(median >= BigInt(Math.min(...honest))).toBe(true);
      expect(median <= BigInt(Math.max(...honest))).toBe(true);
    },
  );
  fc.assert(holds);
});

test("an evaluator that splits its bond into several earns no more", () => {
  const holds = fc.property(
    fc.array(fc.bigInt(1n, 1000n), { minLength: 1, maxLength: 6 }),
    fc.bigInt(1n, 1000n),
    (parts, other) => {
      const whole = qualityPoints([evaluation(1, 5000, sum(parts)), evaluation(99, 5000, other)]);
      const split = qualityPoints([
        ...parts.map((bond, i) => evaluation(1 + i, 5000, bond)),
        evaluation(99, 5000, other),
      ]);
      const gained = sum(parts.map((_, i) => split.get(addressOf(1 + i)) ?? 0n));
      expect(gained <= whole.get(addressOf(1))!).toBe(true);
    },
  );
  fc.assert(holds);
});
