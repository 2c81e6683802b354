/**
 * The search inside a sweep: spaces and back, the optimiser against random draws on functions with
 * known optima, successive halving, merging, the bandit.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { seededRandom } from "../../src/core/random.ts";
import {
  chooseStrategies,
  type Experience,
  rankStrategies,
  roughNormal,
} from "../../src/research/search/bandit.ts";
import { Halving } from "../../src/research/search/halving.ts";
import { mergeConfigurations } from "../../src/research/search/merge.ts";
import {
  applySettings,
  axesOf,
  pointOf,
  readPath,
  samplePoint,
  settingsOf,
} from "../../src/research/search/space.ts";
import { SweepSearch, type SweepSearchOptions } from "../../src/research/search/sweep-search.ts";
import { type Observation, proposePoint } from "../../src/research/search/tpe.ts";
import type {
  Configuration,
  Dimension,
  Failure,
  Space,
  Strategy,
} from "../../src/research/types.ts";

const dimension: fc.Arbitrary<Dimension> = fc.oneof(
  fc
    .tuple(
      fc.double({ min: 1e-6, max: 1, noNaN: true }),
      fc.double({ min: 1, max: 1e3, noNaN: true }),
      fc.boolean(),
    )
    .map(([min, max, log]) => ({ kind: "real" as const, min, max, log })),
  fc
    .tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 5, max: 5000 }), fc.boolean())
    .map(([min, max, log]) => ({ kind: "integer" as const, min, max, log })),
  fc
    .uniqueArray(fc.string(), { minLength: 1, maxLength: 5 })
    .map((options) => ({ kind: "choice" as const, options })),
);
const space = fc.dictionary(fc.constantFrom("a", "b", "c.d", "c.e.f"), dimension, { minKeys: 1 });

describe("spaces", () => {
  test("every draw lies within its bounds, and a configuration's point is its own again", () => {
    fc.assert(
      fc.property(space, fc.integer(), (axesSpace, seed) => {
        const axes = axesOf(axesSpace);
        const random = seededRandom(seed);
        for (let i = 0; i < 8; i++) {
          const settings = settingsOf(axes, samplePoint(axes, random));
          for (const [path, value] of Object.entries(settings)) {
            const d = axesSpace[path]!;
            if (d.kind === "choice") expect(d.options).toContain(value);
            else {
              expect(value as number).toBeGreaterThanOrEqual(d.min);
              expect(value as number).toBeLessThanOrEqual(d.max);
              if (d.kind === "integer") expect(Number.isInteger(value)).toBe(true);
            }
          }
          const configuration = applySettings({ kept: 1 }, settings);
          expect(configuration.kept).toBe(1);
          const point = pointOf(
            axes,
            (path) => readPath(configuration, path),
            () => -1,
          )!;
          expect(settingsOf(axes, point)).toEqual(settings);
        }
      }),
      { numRuns: 200 },
    );
  });

  test("integers are as likely at the ends as in the middle", () => {
    const axes = axesOf({ n: { kind: "integer", min: 1, max: 4 } });
    const random = seededRandom(3);
    const counts = [0, 0, 0, 0];
    for (let i = 0; i < 4000; i++)
      counts[Number(settingsOf(axes, samplePoint(axes, random)).n) - 1]!++;
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(120);
  });

  test("a list entry that the base lacks, and bounds that are no range, are refused", () => {
    expect(() => applySettings({ members: [{}] }, { "members.1.x": 1 })).toThrow("members.1");
    expect(() => axesOf({ x: { kind: "real", min: 0, max: 1, log: true } })).toThrow("logarithmic");
    expect(() => axesOf({ x: { kind: "real", min: 2, max: 1 } })).toThrow("no range");
  });
});

/** Best score after n evaluations with the optimiser or with uniform draws. */
function climb(
  space: Space,
  f: (p: readonly number[]) => number,
  n: number,
  seed: number,
  tpe: boolean,
) {
  const axes = axesOf(space);
  const random = seededRandom(seed);
  const seen: Observation[] = [];
  for (let i = 0; i < n; i++) {
    const uniform = !tpe || i < 3 || i % 6 === 5;
    const point = uniform ? samplePoint(axes, random) : proposePoint(axes, seen, [], [], random);
    seen.push({ point, score: f(point) });
  }
  return Math.max(...seen.map((o) => o.score));
}
const unit = { kind: "real", min: 0, max: 1 } as const;
const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1]!;

describe("the optimiser", () => {
  test("needs at most half of random's trials on smooth functions of four axes", () => {
    const axes: Space = {
      a: unit,
      b: unit,
      c: unit,
      k: { kind: "choice", options: ["x", "y", "z"] },
    };
    const f = (p: readonly number[]) =>
      -((p[0]! - 0.7) ** 2) -
      (p[1]! - 0.2) ** 2 -
      0.5 * (p[2]! - 0.9) ** 2 -
      (p[3] === 1 ? 0 : 0.2);
    const gaps: number[] = [];
    for (let seed = 1; seed <= 21; seed++)
      gaps.push(climb(axes, f, 30, seed, true) - climb(axes, f, 60, seed + 100, false));
    expect(median(gaps)).toBeGreaterThan(0);
  });

  test("knowledge of a good region is used at once and fades when it is wrong", () => {
    const axes = axesOf({ a: unit, b: unit });
    const priors = [{ point: [0.8, 0.3], weight: 1.5 }];
    const mean = (seen: Observation[]) => {
      const drawn = Array.from({ length: 60 }, (_, seed) =>
        proposePoint(axes, seen, [], priors, seededRandom(seed)),
      );
      return median(drawn.map((p) => p[0]!));
    };
    expect(Math.abs(mean([]) - 0.8)).toBeLessThan(0.1);
    const against = Array.from({ length: 24 }, (_, i) => {
      const a = (i + 0.5) / 24;
      return { point: [a, ((i * 7 + 0.5) % 24) / 24], score: -Math.abs(a - 0.15) };
    });
    expect(Math.abs(mean(against) - 0.15)).toBeLessThan(0.15);
  });

  test("pending trials push the next ones of a batch away", () => {
    const axes = axesOf({ a: unit });
    const seen = [0.1, 0.3, 0.5, 0.7, 0.9].map((a) => ({ point: [a], score: -Math.abs(a - 0.5) }));
    const near = (pending: number[][]) => {
      let count = 0;
      for (let seed = 0; seed < 200; seed++)
        if (Math.abs(proposePoint(axes, seen, pending, [], seededRandom(seed))[0]! - 0.5) < 0.05)
          count++;
      return count;
    };
    expect(near([[0.5], [0.5], [0.5]])).toBeLessThan(near([]) * 0.8);
  });
});

describe("a sweep", () => {
  const options = (extra: Partial<SweepSearchOptions> = {}): SweepSearchOptions => ({
    sweep: {
      base: { x: 0.5, y: 1 },
      space: { x: unit },
      first: [{ x: 0.25, y: 1 }],
      trials_max: 12,
    },
    fidelities: [1],
    remembered: [],
    earlier: [],
    taught: [],
    taught_share: 0.3,
    parse: (c) => ((c as { x: number }).x > 0.95 ? null : (c as Configuration)),
    tried: (c) => c.x === 0.5,
    trials: () => [],
    random: seededRandom(1),
    ...extra,
  });

  test("first guesses, then remembered settings, then the optimiser; no more than allowed", () => {
    // The first was found on other axes: of another learner, say.
    const remembered = [{ x: 0.7, unknown: 3 }, { x: 0.75 }];
    const search = new SweepSearch(options({ remembered }));
    const proposals = Array.from({ length: 20 }, () => search.next()).filter((p) => p !== null);
    expect(proposals).toHaveLength(12);
    expect(proposals[0]!.configuration).toEqual({ x: 0.25, y: 1 });
    expect(proposals[1]).toMatchObject({ configuration: { x: 0.75, y: 1 }, proposer: "knowledge" });
    expect(new Set(proposals.map((p) => p.configuration.x)).size).toBe(12);
    for (const p of proposals) expect(p.configuration.x as number).toBeLessThanOrEqual(0.95);
  });

  test("a space of one choice is exhausted after it", () => {
    const space: Space = { x: { kind: "choice", options: [0.25] } };
    const sweep = { base: { x: 0.5, y: 1 }, space, first: [], trials_max: 9 };
    const search = new SweepSearch(options({ sweep }));
    expect(search.next()?.configuration).toEqual({ x: 0.25, y: 1 });
    expect(search.next()).toBeNull();
  });

  test("the same outcomes give the same proposals", () => {
    const trail = () => {
      const search = new SweepSearch(options({ random: seededRandom(9) }));
      return Array.from({ length: 10 }, () => {
        const next = search.next()!;
        search.tell(next.configuration, 1, -Math.abs((next.configuration.x as number) - 0.6));
        return next.configuration.x as number;
      });
    };
    expect(trail()).toEqual(trail());
    expect(Math.abs(trail().at(-1)! - 0.6)).toBeLessThan(0.3);
  });
});

describe("halving, merging, the bandit", () => {
  test("a third of each rung goes on, the best first, and something reaches the top", () => {
    const halving = new Halving<number>([0.25, 0.5, 1]);
    for (let i = 0; i < 9; i++) halving.tell(i, 0.25, i);
    const lifted = [halving.promote(), halving.promote(), halving.promote()];
    expect(lifted.map((l) => l?.item)).toEqual([8, 7, 6]);
    expect(halving.promote()).toBeNull();
    for (const l of lifted) halving.tell(l!.item, l!.fidelity, -l!.item);
    expect(halving.promote()).toEqual({ item: 6, fidelity: 1 });
    expect(halving.finish()).toEqual({ item: 7, fidelity: 1 });
    halving.tell(6, 1, 0);
    expect(halving.finish()).toBeNull();
  });

  test("a merge takes what only the other changed and keeps what both did", () => {
    const base = { m: [{ lr: 1, trees: 5 }], rule: "argmax", cal: "none" };
    const ours = { m: [{ lr: 2, trees: 5 }], rule: "argmax", cal: "platt" };
    const theirs = { m: [{ lr: 3, trees: 9 }], rule: "tuned", cal: "isotonic" };
    expect(mergeConfigurations(base, ours, theirs)).toEqual({
      m: [{ lr: 2, trees: 9 }],
      rule: "tuned",
      cal: "platt",
    });
    const longer = { ...theirs, m: [{ lr: 3 }, { lr: 4 }] };
    expect(mergeConfigurations(base, ours, longer).m).toEqual(ours.m);
    expect(mergeConfigurations(base, base, theirs)).toEqual(theirs);
  });

  const strategy = (id: string, family: string, targets: Strategy["targets"]): Strategy => ({
    id,
    family,
    targets,
    summary: id,
    sweep: () => null,
  });
  const failure = (kind: Failure["kind"], strength: number, potential: number): Failure => ({
    kind,
    strength,
    potential,
    text: kind,
    evidence: {},
  });
  const catalogue = [
    strategy("weights", "weights", ["class_imbalance"]),
    strategy("threshold", "decision", ["class_imbalance"]),
    strategy("offsets", "decision", ["context_gap"]),
    strategy("regularise", "capacity", ["overfit"]),
    strategy("any", "any", []),
  ];
  const rank = (experience: Experience[], failures: Failure[], seed = 1) =>
    rankStrategies({
      strategies: catalogue,
      failures,
      experience,
      priors: {},
      unit: 0.005,
      random: seededRandom(seed),
    });

  test("each failure has its strategy, families differ, what was not found is not treated", () => {
    const failures = [failure("context_gap", 3, 0.02), failure("class_imbalance", 9, 0.1)];
    for (let seed = 0; seed < 30; seed++) {
      const chosen = chooseStrategies(rank([], failures, seed), failures, 3);
      const ids = chosen.map((c) => c.strategy.id);
      expect(ids).not.toContain("regularise");
      expect(new Set(chosen.map((c) => c.strategy.family)).size).toBe(chosen.length);
      expect(ids.some((id) => id === "weights" || id === "threshold")).toBe(true);
    }
  });

  test("what brought nothing against a failure gives way to its rival", () => {
    const failures = [failure("class_imbalance", 9, 0.02)];
    const first = (experience: Experience[]) => {
      const ids = Array.from(
        { length: 40 },
        (_, seed) =>
          chooseStrategies(rank(experience, failures, seed), failures, 1)[0]!.strategy.id,
      );
      return ids.filter((id) => id === "weights").length;
    };
    const lived = (gain: number): Experience => ({
      strategy: "weights",
      family: "weights",
      failures: ["class_imbalance"],
      gain,
    });
    expect(first([lived(0), lived(0)])).toBeLessThan(first([]));
    expect(first([lived(0.03), lived(0.03)])).toBeGreaterThan(first([]));
  });

  test("the draw is about normal", () => {
    const random = seededRandom(2);
    const draws = Array.from({ length: 4000 }, () => roughNormal(random));
    const mean = draws.reduce((a, b) => a + b, 0) / draws.length;
    const variance = draws.reduce((a, b) => a + (b - mean) ** 2, 0) / draws.length;
    expect(Math.abs(mean)).toBeLessThan(0.06);
    expect(Math.abs(variance - 1)).toBeLessThan(0.1);
  });
});
