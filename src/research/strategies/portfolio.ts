/**
 * The portfolio: few whole configurations of which one is near the best on most tasks (compare
 * Feurer et al. 2022). Of about forty single learners and ensembles, by their average distance to
 * the best one on data sets that are not in the comparison table (PORTFOLIO says how near), the
 * best of those that share their members' fits: together they cost hardly more than the first.
 */
import type { LearnerName } from "../../native/learner-types.ts";
import type { TabularConfiguration } from "../tabular/configuration.ts";
import type { Strategy } from "../types.ts";
import type { CatalogueTask } from "./catalogue.ts";
import { bestOf, inherited, sweepOf } from "./edits.ts";
import { guessOf } from "./learner-spaces.ts";

/**
 * Best first. Over eight sets at two seeds (glass, scat, sonar, two_class, breast_cancer, ad_data,
 * titanic, vehicle) the plain baseline is .060 of balanced accuracy below the best of the forty,
 * the first of these .009, the best of the three .005.
 */
const PORTFOLIO: readonly (readonly LearnerName[])[] = [
  ["boosting", "extra_trees", "logistic"],
  ["extra_trees", "logistic"],
  ["extra_trees"],
];

export const portfolioStrategy = ({ facts, contexts_known }: CatalogueTask): Strategy => ({
  id: "portfolio",
  family: "portfolio",
  targets: [],
  opening: true,
  summary: "Tries whole configurations that do well on most tasks.",
  sweep(state) {
    const best = bestOf(state);
    // Every class the same weight in training, and the threshold fitted to the score.
    const own = inherited(best);
    // Naming a column as the context must not cost what it tells as a feature.
    const features = { ...own.features, context: own.features.context || contexts_known === true };
    const rest = { ...own, features, balance: 1 };
    const first = PORTFOLIO.map(
      (learners): TabularConfiguration => ({
        ...best,
        members: learners.map((learner) => guessOf(learner, facts, rest)),
        combination: "weighted",
        decision: { ...best.decision, rule: "tuned" },
      }),
    );
    return sweepOf(first[0]!, {}, first, first.length);
  },
});
