/** The baseline of every run. */
import type { Configuration } from "../types.ts";
import { asConfiguration, parseTabular, type TaskOffers } from "./configuration.ts";

/** Plain boosting and the most probable class: quick, and what most people would start with. */
export function baselineConfiguration(offers: TaskOffers): Configuration {
  return asConfiguration(parseTabular({ members: [{ learner: "boosting" }] }, offers));
}
