/**
 * The catalogue: every sweep of every strategy, from every kind of best model, is made of
 * configurations that the schema accepts and of axes that exist in them; strategies stay away where
 * a column is missing or where they have nothing left to offer.
 */
import { describe, expect, test } from "bun:test";
import { seededRandom } from "../../../src/core/random.ts";
import { tabularStrategies } from "../../../src/research/strategies/catalogue.ts";
import {
  asConfiguration,
  parseTabular,
  type TaskOffers,
} from "../../../src/research/tabular/configuration.ts";
import {
  type Configuration,
  type Dimension,
  FAILURE_KINDS,
  type Json,
  type StrategyState,
  type TaskFacts,
  type Trial,
} from "../../../src/research/types.ts";

const ALL: TaskOffers = { contexts: true, pipeline: true, time: true };
const NONE: TaskOffers = { contexts: false, pipeline: false, time: false };

const facts = (change: Partial<TaskFacts> = {}): TaskFacts => ({
  domain: "tabular",
  name: "task",
  rows: 1000,
  features: 20,
  classes: 2,
  minority: 0.2,
  contexts: 4,
  has_pipeline: true,
  missing_share: 0,
  categorical_share: 0,
  ...change,
});

function trial(index: number, configuration: Configuration, score: number): Trial {
  const outcome = { score, fold_scores: [], outputs: new Float32Array(0), figures: {}, cpu_s: 1 };
  return {
    index,
    place: { version: 0, strategy: "baseline", proposer: "baseline" },
    spec: { task_hash: "00" as Trial["spec"]["task_hash"], configuration, seed: 1, fidelity: 1 },
    state: "done",
    outcome,
    error: null,
  };
}

const single = (learner: string, params = {}) =>
  asConfiguration(parseTabular({ members: [{ learner, params }] }, ALL));

const BESTS: Record<string, Configuration> = {
  boosting: single("boosting"),
  extra_trees: single("extra_trees"),
  forest: single("forest"),
  logistic: single("logistic"),
  largest: single("boosting", { trees: 4096, leaves_max: 1024, leaf_rows_min: 10_000 }),
  blend: asConfiguration(
    parseTabular(
      {
        members: [
          { learner: "boosting", weight: 0.3 },
          { learner: "logistic", weight: 0.7 },
        ],
        decision: { rule: "tuned" },
        rows: { rows_max: 200 },
      },
      ALL,
    ),
  ),
};

/** All four learners tried alone, then `best`. */
function state(best: Configuration): StrategyState {
  const trials = ["boosting", "extra_trees", "forest", "logistic"].map((learner, i) =>
    trial(i, single(learner), 0.6 + i / 100),
  );
  const top = trial(9, best, 0.9);
  return { best: top, trials: [...trials, top], failures: [] };
}

const at = (value: Json, path: string): Json | undefined =>
  path.split(".").reduce<Json | undefined>((node, key) => (node as never)?.[key], value);

function put(value: Json, path: string[], leaf: Json): Json {
  const [key, ...rest] = path;
  if (key === undefined) return leaf;
  const copy = (Array.isArray(value) ? [...value] : { ...(value as object) }) as never;
  (copy as Record<string, Json>)[key] = put((value as never)[key], rest, leaf);
  return copy;
}

const ends = (d: Dimension): Json[] => (d.kind === "choice" ? [...d.options] : [d.min, d.max]);

describe.each(Object.keys(BESTS))("from a best model of %s", (name) => {
  const now = state(BESTS[name]!);
  const strategies = tabularStrategies({ facts: facts(), offers: ALL });

  test.each(strategies.map((s) => [s.id, s] as const))("%s: all of its sweep parses", (_, s) => {
    const sweep = s.sweep(now);
    if (!sweep) return;
    expect(sweep.trials_max).toBeGreaterThanOrEqual(Math.max(1, sweep.first.length));
    for (const configuration of [sweep.base, ...sweep.first]) {
      const parsed = parseTabular(configuration, ALL);
      // Nothing was missing: the base is complete, so that axes find their fields.
      expect(parsed as unknown).toEqual(configuration as unknown);
    }
    for (const [path, dimension] of Object.entries(sweep.space)) {
      expect(at(sweep.base, path), path).not.toBeUndefined();
      if (dimension.kind !== "choice") expect(dimension.min).toBeLessThan(dimension.max);
      for (const end of ends(dimension)) {
        parseTabular(put(sweep.base, path.split("."), end), ALL);
      }
    }
  });
});

describe("the catalogue", () => {
  test("ids are unique, each failure of tables has a strategy of its own", () => {
    const strategies = tabularStrategies({ facts: facts(), offers: ALL });
    const ids = strategies.map((s) => s.id);
    expect(new Set(ids).size).toBe(ids.length);
    const tables = FAILURE_KINDS.slice(0, FAILURE_KINDS.indexOf("domain_gap"));
    for (const kind of tables) {
      expect(strategies.filter((s) => s.targets.includes(kind)).length, kind).toBeGreaterThan(0);
    }
  });

  test("without contexts, pipeline and time nothing asks for them", () => {
    const small = facts({ contexts: 0, has_pipeline: false, features: 3, rows: 60 });
    for (const best of [BESTS.boosting!, BESTS.logistic!]) {
      for (const s of tabularStrategies({ facts: small, offers: NONE })) {
        const sweep = s.sweep(state(best));
        if (!sweep) continue;
        for (const c of [sweep.base, ...sweep.first]) parseTabular(c, NONE);
      }
    }
  });

  test("strategies that were already taken have nothing left to offer", () => {
    const taken = asConfiguration(
      parseTabular(
        {
          members: [{ learner: "boosting", features: { pipeline: true, context: true } }],
          target: "residual",
          calibration: "platt",
          decision: { rule: "tuned" },
        },
        ALL,
      ),
    );
    const strategies = tabularStrategies({ facts: facts(), offers: ALL });
    const left = strategies.filter((s) => s.sweep(state(taken))).map((s) => s.id);
    for (const id of [
      "threshold",
      "calibration",
      "context_feature",
      "pipeline_pred",
      "pipeline_residual",
      "to_boosting",
      "more_data",
    ]) {
      expect(left).not.toContain(id);
    }
  });

  test("the portfolio shows its members the context where the judging rows' contexts are known", () => {
    const now = state(BESTS.boosting!);
    const shown = (contexts_known?: boolean) => {
      const task = { facts: facts(), offers: ALL, ...(contexts_known ? { contexts_known } : {}) };
      const { first } = tabularStrategies(task)
        .find((s) => s.id === "portfolio")!
        .sweep(now)!;
      return first.flatMap((c) =>
        (c.members as { features: { context: boolean } }[]).map((m) => m.features.context),
      );
    };
    expect(new Set(shown(true))).toEqual(new Set([true]));
    expect(new Set(shown())).toEqual(new Set([false]));
  });

  describe("where trials are counted", () => {
    const counted = (best: Configuration) => ({ ...state(best), counted: true });
    const find = (id: string, offers = ALL, more: Partial<TaskFacts> = {}) =>
      tabularStrategies({ facts: facts(more), offers }).find((s) => s.id === id)!;
    const proposals = (best: Configuration, seed: number, offers = ALL, more = {}) => {
      const now = counted(best);
      const { propose } = find("vary", offers, more).sweep(now)!;
      const random = seededRandom(seed);
      return Array.from({ length: 40 }, () => propose!(now.trials, random));
    };
    const members = (c: Configuration) => c.members as { learner: string }[];

    test("the portfolio is wider, and all of it parses", () => {
      const few = find("portfolio").sweep(state(BESTS.boosting!))!;
      const many = find("portfolio", NONE, { classes: 5 }).sweep(counted(BESTS.logistic!))!;
      expect(many.first.length).toBeGreaterThan(few.first.length);
      for (const c of many.first) expect(parseTabular(c, NONE) as unknown).toEqual(c as unknown);
    });

    test.each(Object.keys(BESTS))("variations of %s parse; few are alike", (name) => {
      const drawn = proposals(BESTS[name]!, 5);
      for (const c of drawn) expect(parseTabular(c, ALL) as unknown).toEqual(c as unknown);
      expect(new Set(drawn.map((c) => JSON.stringify(c))).size).toBeGreaterThan(30);
    });

    test("variations ask for no column that is not there", () => {
      const small = { contexts: 0, has_pipeline: false, features: 3, rows: 60, classes: 4 };
      for (const c of proposals(BESTS.forest!, 6, NONE, small)) parseTabular(c, NONE);
    });

    test("variations are of the best trials: moved, joined, and some drawn afresh", () => {
      const drawn = proposals(BESTS.blend!, 7);
      // Joined: the blend of two with the members of another trial.
      expect(drawn.some((c) => members(c).length > 2)).toBe(true);
      const rows = drawn.map((c) => (c.rows as { rows_max: number }).rows_max);
      expect(rows.filter((n) => n === 200).length).toBeGreaterThan(drawn.length / 2);
      const again = proposals(BESTS.blend!, 7);
      expect(again).toEqual(drawn);
    });

    test("elsewhere they are not offered: a budget of time buys several cheaper trials", () => {
      expect(find("vary").sweep(state(BESTS.boosting!))).toBeNull();
    });
  });

  test("ensembles are made of the run's own trials, best first", () => {
    const now = state(BESTS.boosting!);
    const strategies = tabularStrategies({ facts: facts(), offers: ALL });
    const blend = strategies.find((s) => s.id === "blend")!.sweep(now)!;
    const learners = (c: Configuration) =>
      (c.members as { learner: string }[]).map((m) => m.learner);
    expect(learners(blend.first[0]!)).toEqual(["boosting", "logistic"]);
    const greedy = strategies.find((s) => s.id === "greedy_ensemble")!.sweep(now)!;
    expect(greedy.base.combination).toBe("greedy");
    expect(learners(greedy.base).length).toBe(4);
  });
});
