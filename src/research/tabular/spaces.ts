/**
 * The baseline of every run and the whole space for a plain random search, which the loop is
 * measured against: boosting with class weights and a tuned threshold, as a practitioner would.
 */
import type { Configuration, Sweep } from "../types.ts";
import { asConfiguration, parseTabular, type TaskOffers } from "./configuration.ts";

/** Plain boosting and the most probable class: quick, and what most people would start with. */
export function baselineConfiguration(offers: TaskOffers): Configuration {
  return asConfiguration(parseTabular({ members: [{ learner: "boosting" }] }, offers));
}

/** Boosting's usual ranges. */
export function randomSpace(offers: TaskOffers): Sweep {
  const base = baselineConfiguration(offers);
  return {
    base,
    first: [],
    trials_max: 1_000_000,
    space: {
      "members.0.params.trees": { kind: "integer", min: 20, max: 500, log: true },
      "members.0.params.learning_rate": { kind: "real", min: 0.01, max: 0.3, log: true },
      "members.0.params.depth_max": { kind: "integer", min: 2, max: 12 },
      "members.0.params.leaf_rows_min": { kind: "integer", min: 1, max: 100, log: true },
      "members.0.params.l2": { kind: "real", min: 0.01, max: 100, log: true },
      "members.0.params.row_share": { kind: "real", min: 0.5, max: 1 },
      "members.0.params.column_share": { kind: "real", min: 0.3, max: 1 },
      "members.0.balance": { kind: "choice", options: [0, 1] },
      "decision.rule": { kind: "choice", options: ["argmax", "tuned"] },
    },
  };
}
