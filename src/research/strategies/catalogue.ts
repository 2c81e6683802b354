/**
 * The strategy catalogue of the tabular domain (paper 5, DesignStrategies): works without any
 * teacher. Among equals an uninformed run tries them in this order: decision
 * rules, which cost no fit, then other learners and blends of them, then the rest. The order is a
 * judgement and was not measured; what runs measured is the knowledge base's to say.
 */
import type { TaskOffers } from "../tabular/configuration.ts";
import type { Strategy, TaskFacts } from "../types.ts";
import { capacityStrategies } from "./capacity.ts";
import { decisionStrategies } from "./decision.ts";
import { ensembleStrategies } from "./ensembles.ts";
import { featureStrategies } from "./features.ts";
import { pivotStrategies, ternaryPivot } from "./pivots.ts";
import { portfolioStrategy } from "./portfolio.ts";
import { rowStrategies } from "./rows.ts";
import { varyStrategy } from "./vary.ts";

/** What the catalogue is made for: the task's facts and the columns it offers. */
export interface CatalogueTask {
  readonly facts: TaskFacts;
  readonly offers: TaskOffers;
  /** The rows that judge are of contexts that were trained on: their column is a good feature. */
  readonly contexts_known?: boolean;
}

/** Every strategy that the task has the columns for; ids are unique. */
export function tabularStrategies(task: CatalogueTask): Strategy[] {
  return [
    portfolioStrategy(task),
    ...decisionStrategies(task),
    ...pivotStrategies(task),
    ...ensembleStrategies(),
    ...capacityStrategies(task),
    ...featureStrategies(task),
    ...rowStrategies(task),
    ternaryPivot(task),
    varyStrategy(task),
  ];
}
