/**
 * Planted failures: on a data set with one flaw the real loop finds the flaw and picks a strategy
 * that mends it within two versions; on the clean twin the flaw is not reported, and a strategy
 * that is aimed at nothing else is then not even eligible. `many.ts` beside this file does the same
 * over many seeds and prints the rates.
 */
import { describe, expect, test } from "bun:test";
import { STRENGTH_MIN } from "../../../src/research/analysis/limits.ts";
import type { FailureKind } from "../../../src/research/types.ts";
import { researched, trialOf, withDomain } from "./lab.ts";
import { pickOf } from "./matching.ts";
import { PLANTED } from "./planted.ts";

const SEED = 1;
const TRIALS = 24;

/** Found only once other learners have been tried. */
const WITHOUT_LOOP: readonly FailureKind[] = ["disagreement"];

const kinds = Object.keys(PLANTED) as FailureKind[];

describe("the loop picks the matching strategy within two versions", () => {
  test.each(kinds.filter((kind) => !WITHOUT_LOOP.includes(kind)))("%s", async (kind) => {
    await withDomain(PLANTED[kind]!(SEED, true), async (domain) => {
      const result = await researched(domain, TRIALS);
      expect(pickOf(result, kind), `${kind}, seed ${SEED}`).not.toBeNull();
    });
  });
});

describe("on the clean twin the flaw is not reported", () => {
  test.each(kinds)("%s", async (kind) => {
    await withDomain(PLANTED[kind]!(SEED, false), async (domain) => {
      const baseline = await trialOf(domain, domain.baseline());
      const found = await domain.analyse(baseline, [baseline]);
      expect(found.map((f) => f.kind)).not.toContain(kind);
      for (const failure of found) expect(failure.strength).toBeGreaterThanOrEqual(STRENGTH_MIN);
    });
  });
});

describe("what needs more than a baseline", () => {
  test("disagreement: a plane and a ring; the blend is better than both", async () => {
    await withDomain(PLANTED.disagreement!(SEED, true), async (domain) => {
      const boosting = await trialOf(domain, domain.baseline());
      const logistic = await trialOf(domain, { members: [{ learner: "logistic" }] }, 1);
      const found = await domain.analyse(boosting, [boosting, logistic]);
      expect(found.map((f) => f.kind)).toContain("disagreement");
      const state = { best: boosting, trials: [boosting, logistic], failures: found };
      const sweep = domain.strategies.find((s) => s.id === "blend")!.sweep(state)!;
      const blend = await trialOf(domain, sweep.first[0]!, 2);
      expect(blend.outcome!.score).toBeGreaterThan(boosting.outcome!.score + 0.01);
      expect(blend.outcome!.score).toBeGreaterThan(logistic.outcome!.score + 0.01);
    });
  });
});
