/**
 * Planted failures: on a data set with one flaw the real loop finds the flaw and picks a strategy
 * that mends it within two versions; on the clean twin the flaw is not reported, and a strategy
 * that is aimed at nothing else is then not even eligible. `many.ts` beside this file does the same
 * over many seeds and prints the rates.
 */
import { describe, expect, test } from "bun:test";
import { STRENGTH_MIN } from "../../../src/research/analysis/limits.ts";
import type { FailureKind } from "../../../src/research/types.ts";
import { researched, started, trialOf, withDomain } from "./lab.ts";
import { pickOf } from "./matching.ts";
import { PLANTED, thinned } from "./planted.ts";

const SEED = 1;
const TRIALS = 8;
/** Part of the rows that CI takes; all of them where the flaw is too faint in fewer. */
const SHARE = 0.6;
const WHOLE: readonly FailureKind[] = ["overfit", "disagreement", "label_noise"];

const kinds = Object.keys(PLANTED) as FailureKind[];
const tableOf = (kind: FailureKind, flawed: boolean) =>
  thinned(PLANTED[kind]!(SEED, flawed), WHOLE.includes(kind) ? 1 : SHARE);

describe("the loop picks the matching strategy within two versions", () => {
  test.each(kinds)("%s", async (kind) => {
    await withDomain(tableOf(kind, true), async (domain) => {
      const result = await researched(await started(domain, kind), TRIALS);
      expect(pickOf(result, kind), `${kind}, seed ${SEED}`).not.toBeNull();
    });
  });
});

describe("on the clean twin the flaw is not reported", () => {
  test.each(kinds)("%s", async (kind) => {
    await withDomain(tableOf(kind, false), async (given) => {
      const domain = await started(given, kind);
      const baseline = await trialOf(domain, domain.baseline());
      const found = await domain.analyse(baseline, [baseline]);
      expect(found.map((f) => f.kind)).not.toContain(kind);
      for (const failure of found) expect(failure.strength).toBeGreaterThanOrEqual(STRENGTH_MIN);
    });
  });
});
