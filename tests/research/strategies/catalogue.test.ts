/**
 * The catalogue: every sweep of every strategy, from every kind of best model, is made of
 * configurations that the schema accepts and of axes that exist in them; strategies stay away where
 * a column is missing or where they have nothing left to offer.
 */
import { describe, expect, test } from "bun:test";
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
