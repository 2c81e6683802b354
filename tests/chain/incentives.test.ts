/** The incentive inequality: by hand for one case, and every way in which it can fail. */
import { expect, test } from "bun:test";
import { DEFAULT_VALUES } from "../../src/chain/default-values.ts";
import { DEFAULT_ASSUMPTIONS, incentives, weakest } from "../../src/chain/ledger/incentives.ts";
import { OFFENCES } from "../../src/chain/ledger/ledger-types.ts";
import { TIERS } from "../../src/core/tiers.ts";

const holds = (values = DEFAULT_VALUES, assumptions = DEFAULT_ASSUMPTIONS) =>
  incentives(values, assumptions).every((one) => one.holds);

test("with the default values cheating pays nowhere, for 4 to 31 notaries", () => {
  const list = incentives(DEFAULT_VALUES, DEFAULT_ASSUMPTIONS);
  expect(list).toHaveLength(OFFENCES.length * TIERS.length);
  expect(weakest(list).map((one) => one.offence)).toEqual([...OFFENCES]);
  for (const nodes of [16, 31, 100]) {
    const notaries = Math.min(31, nodes);
    expect(holds(DEFAULT_VALUES, { ...DEFAULT_ASSUMPTIONS, nodes, notaries })).toBe(true);
  }
});

test("a bad root by a notary on a CPU, by hand", () => {
  const list = incentives(DEFAULT_VALUES, DEFAULT_ASSUMPTIONS);
  const one = list.find((i) => i.offence === "bad_root" && i.tier === "cpu_only")!;
  // Mean of 3, 1, 0.3, 0.3, 0.1 is 0.94: 1000 MAG x 0.3 / (16 x 0.94).
  expect(one.reward).toBeCloseTo(19.9468, 3);
  expect(one.slashed).toBe(130);
  expect(one.future).toBeCloseTo(19.9468 * 99, 1);
  expect(one.gain).toBeCloseTo(1000 / 6, 6);
  expect(one.margin).toBeCloseTo(130 + 19.9468 * 99 - 1000 / 6, 1);
});

test("it fails without slashes, with small bonds, with few notaries, with much unclaimed", () => {
  const free = { ...DEFAULT_VALUES, slashBps: [0, 0, 0, 0, 0, 0] as const };
  expect(holds(free)).toBe(false);
  expect(holds({ ...DEFAULT_VALUES, tierBonds: [0n, 0n, 0n, 0n, 0n] })).toBe(false);
  const large = { ...DEFAULT_ASSUMPTIONS, nodes: 10_000 };
  expect(holds(DEFAULT_VALUES, { ...large, notaries: 31 })).toBe(true);
  expect(holds(DEFAULT_VALUES, { ...large, notaries: 4 })).toBe(false);
  expect(holds(DEFAULT_VALUES, { ...DEFAULT_ASSUMPTIONS, unclaimed_epochs: 100 })).toBe(false);
  expect(holds(DEFAULT_VALUES, { ...DEFAULT_ASSUMPTIONS, detected: 0.3 })).toBe(false);
});
