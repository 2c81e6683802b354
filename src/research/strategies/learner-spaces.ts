/**
 * Sensible settings and bounds of each learner, by the size of the task: what the first guess of a
 * family pivot is, and where its sweep may go. They are common practice, adjusted
 * by hand where a run showed a need; no study says that they are the best.
 */
import type { Member, MemberLearner } from "../tabular/configuration.ts";
import { TERNARY_COLUMNS_MAX } from "../tabular/limits.ts";
import type { Dimension, Space, TaskFacts } from "../types.ts";
import { searchRows } from "./edits.ts";

type MemberOf<L extends MemberLearner> = Extract<Member, { learner: L }>;
export type Rest = Pick<Member, "balance" | "features" | "bags" | "weight">;

const clamp = (value: number, low: number, high: number) => Math.min(high, Math.max(low, value));

/** Features that a first guess of the transformer reads at most. */
export const TERNARY_FEATURES = Math.min(24, TERNARY_COLUMNS_MAX);
const TERNARY_FIRST = {
  ...{ width: 32, layers: 2, bins: 12, sequences: 6000, batch: 32 },
  ...{ learning_rate: 4e-3, weight_decay: 0.05, odds_weight: 0 },
};

/** Boosting's first guess: more, smaller steps and smaller trees than the common defaults. */
export function boostingGuess(facts: TaskFacts, rest: Rest): MemberOf<"boosting"> {
  const rows = searchRows(facts);
  return {
    learner: "boosting",
    params: {
      trees: facts.classes > 2 ? 120 : 200,
      learning_rate: 0.06,
      leaves_max: clamp(Math.round(rows / 60), 4, 24),
      depth_max: 0,
      leaf_rows_min: clamp(Math.round(rows / 200), 2, 20),
      l1: 0,
      l2: 2,
      gain_min: 0,
      row_share: 0.8,
      column_share: 0.5,
      bins_max: 255,
    },
    ...rest,
  };
}

export const extraTreesGuess = (_facts: TaskFacts, rest: Rest): MemberOf<"extra_trees"> => ({
  learner: "extra_trees",
  params: { trees: 200, depth_max: 0, leaf_rows_min: 2, column_share: 0 },
  ...rest,
});

export const forestGuess = (_facts: TaskFacts, rest: Rest): MemberOf<"forest"> => ({
  learner: "forest",
  params: { trees: 200, depth_max: 0, leaf_rows_min: 2, column_share: 0 },
  ...rest,
});

export const logisticGuess = (facts: TaskFacts, rest: Rest): MemberOf<"logistic"> => ({
  learner: "logistic",
  // About C = 1 of the customary notation for as many rows.
  params: { penalty: clamp(1 / searchRows(facts), 1e-6, 1), l1_share: 0 },
  ...rest,
});

/** Long rows keep the features that matter: time grows with the length of a row. */
export function ternaryGuess(facts: TaskFacts, rest: Rest): MemberOf<"ternary_transformer"> {
  const top_k = facts.features > TERNARY_FEATURES ? TERNARY_FEATURES : 0;
  return {
    learner: "ternary_transformer",
    params: TERNARY_FIRST,
    ...rest,
    bags: 1,
    features: { ...rest.features, top_k },
  };
}

export function guessOf(learner: MemberLearner, facts: TaskFacts, rest: Rest): Member {
  if (learner === "boosting") return boostingGuess(facts, rest);
  if (learner === "extra_trees") return extraTreesGuess(facts, rest);
  if (learner === "forest") return forestGuess(facts, rest);
  if (learner === "ternary_transformer") return ternaryGuess(facts, rest);
  return logisticGuess(facts, rest);
}

const real = (min: number, max: number, log = false): Dimension => ({
  kind: "real",
  min,
  max,
  log,
});
const integer = (min: number, max: number, log = false): Dimension => ({
  kind: "integer",
  min,
  max,
  log,
});

/** The axes of a learner's own settings, by the name of the setting. */
export function learnerAxes(learner: MemberLearner, facts: TaskFacts): Space {
  const rows = searchRows(facts);
  const leafRows = integer(1, clamp(Math.round(rows / 20), 2, 100), true);
  if (learner === "boosting") {
    return {
      "params.learning_rate": real(0.01, 0.3, true),
      "params.trees": integer(40, facts.classes > 2 ? 400 : 800, true),
      "params.leaves_max": integer(3, 64, true),
      "params.leaf_rows_min": leafRows,
      "params.l2": real(0.01, 50, true),
      "params.row_share": real(0.4, 1),
      "params.column_share": real(0.15, 1),
    };
  }
  if (learner === "logistic") {
    return { "params.penalty": real(1e-6, 1, true), "params.l1_share": real(0, 1) };
  }
  if (learner === "ternary_transformer") {
    return {
      "params.learning_rate": real(5e-4, 2e-2, true),
      "params.sequences": integer(1000, 10_000, true),
      "params.bins": integer(2, 32, true),
      "params.width": { kind: "choice", options: [16, 32, 48] },
    };
  }
  return {
    "params.trees": integer(100, 500, true),
    "params.leaf_rows_min": integer(1, clamp(Math.round(rows / 50), 2, 40), true),
    "params.column_share": real(Math.max(0.01, 1 / Math.max(2, facts.features)), 1, true),
  };
}

/** `axes` of member `index`, and its class weighting. */
export const memberSpace = (index: number, axes: Space): Space =>
  Object.fromEntries(Object.entries(axes).map(([path, d]) => [`members.${index}.${path}`, d]));
