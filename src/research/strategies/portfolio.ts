/**
 * The portfolio: few whole configurations of which one is near the best on most tasks (compare
 * Feurer et al. 2022). Chosen greedily, each for what it adds to those before it, out of 43 on data
 * sets that are not in the comparison table. All of them share their members' fits, so that
 * together they cost hardly more than the first.
 */
import type { LearnerName } from "../../native/learner-types.ts";
import type { TabularConfiguration } from "../tabular/configuration.ts";
import type { Strategy } from "../types.ts";
import type { CatalogueTask } from "./catalogue.ts";
import { bestOf, inherited, sweepOf } from "./edits.ts";
import { guessOf } from "./learner-spaces.ts";

/** Best first. */
const PORTFOLIO: readonly (readonly LearnerName[])[] = [
  ["boosting", "extra_trees", "logistic"],
  ["extra_trees", "logistic"],
  ["extra_trees"],
];

export const portfolioStrategy = ({ facts }: CatalogueTask): Strategy => ({
  id: "portfolio",
  family: "portfolio",
  targets: [],
  opening: true,
  summary: "Tries whole configurations that do well on most tasks.",
  sweep(state) {
    const best = bestOf(state);
    // Every class the same weight in training, and the threshold fitted to the score.
    const rest = { ...inherited(best), balance: 1 };
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
