/**
 * Strategies that change the learner (paper 9: "architectural pivots are critical"): each family's
 * first guess with what was already accepted around it, then its own settings.
 */
import { LEARNERS, type LearnerName } from "../../native/learner-types.ts";
import type { TabularConfiguration } from "../tabular/configuration.ts";
import type {
  Dimension,
  FailureKind,
  Space,
  Strategy,
  StrategyState,
  TaskFacts,
} from "../types.ts";
import type { CatalogueTask } from "./catalogue.ts";
import { bestOf, bestOfLearner, bestTrial, inherited, sweepOf, tabularOf } from "./edits.ts";
import { guessOf, learnerAxes, memberSpace, TERNARY_FEATURES } from "./learner-spaces.ts";

const ABOUT: { readonly [L in LearnerName]: { targets: FailureKind[]; summary: string } } = {
  boosting: {
    targets: ["underfit", "interactions"],
    summary: "Turns to gradient boosting.",
  },
  extra_trees: {
    targets: ["overfit", "label_noise"],
    summary: "Turns to extra trees: many random trees averaged.",
  },
  forest: {
    targets: ["overfit", "label_noise"],
    summary: "Turns to a random forest.",
  },
  logistic: {
    targets: ["overfit"],
    summary: "Turns to a linear model with an elastic net.",
  },
};

export const pivotStrategies = (task: CatalogueTask): Strategy[] => [
  survey(task),
  ...LEARNERS.map((learner) => pivot(task, learner)),
];

/** The order of the survey: by what a first guess brought for its cost. */
const SURVEY: readonly LearnerName[] = ["logistic", "extra_trees", "forest", "boosting"];

/** Learners whose own guess has not been tried with the decision rule of the best model. */
function unseen(state: StrategyState, facts: TaskFacts): TabularConfiguration[] {
  const best = bestOf(state);
  return SURVEY.filter((learner) => {
    const seen = bestTrial(
      state.trials,
      ({ members, decision }) =>
        members.length === 1 &&
        members[0]!.learner === learner &&
        decision.rule === best.decision.rule,
    );
    return !seen;
  }).map((learner) => ({
    ...best,
    members: [guessOf(learner, facts, inherited(best))],
    combination: "weighted",
  }));
}

const survey = ({ facts }: CatalogueTask): Strategy => ({
  id: "survey",
  family: "survey",
  targets: [],
  summary: "Tries the first guess of every learner that the run has not seen alone.",
  sweep(state) {
    const first = unseen(state, facts);
    if (first.length === 0) return null;
    const axis: Dimension = { kind: "real", min: 0, max: 1.2 };
    return sweepOf(first[0]!, { "members.0.balance": axis }, first, first.length);
  },
});

/**
 * The paper's end-to-end family. On small tables it loses to trees (paper 6.2), so it waits until
 * the others have nothing left and is given few trials.
 */
export const ternaryPivot = ({ facts }: CatalogueTask): Strategy => ({
  id: "to_ternary_transformer",
  family: "to_ternary_transformer",
  targets: [],
  // About what fifteen fits take, a second for each token of a row.
  dear_s: 1 + Math.min(facts.features, TERNARY_FEATURES),
  summary: "Turns to a small ternary transformer that reads rows as token sequences.",
  sweep(state) {
    const best = bestOf(state);
    if (bestOfLearner(state.trials, "ternary_transformer")) return null;
    const base: TabularConfiguration = {
      ...best,
      members: [guessOf("ternary_transformer", facts, inherited(best))],
      combination: "weighted",
    };
    const space = memberSpace(0, learnerAxes("ternary_transformer", facts));
    return sweepOf(base, space, [base], 3);
  },
});

const pivot = ({ facts }: CatalogueTask, learner: LearnerName): Strategy => ({
  id: `to_${learner}`,
  family: `to_${learner}`,
  targets: ABOUT[learner].targets,
  general: true,
  summary: ABOUT[learner].summary,
  sweep(state) {
    const best = bestOf(state);
    if (best.members.length === 1 && best.members[0]!.learner === learner) return null;
    const turned: TabularConfiguration = {
      ...best,
      members: [guessOf(learner, facts, inherited(best))],
      combination: "weighted",
    };
    // The family's best so far, with what the best model has learnt since.
    const seen = bestOfLearner(state.trials, learner);
    const known = seen ? tabularOf(seen.spec.configuration).members[0]! : null;
    const base = known
      ? { ...turned, members: [{ ...known, balance: best.members[0]!.balance }] }
      : turned;
    const space: Space = {
      ...memberSpace(0, learnerAxes(learner, facts)),
      "members.0.balance": { kind: "real", min: 0, max: 1.2 },
    };
    return sweepOf(base, space, [base], 8);
  },
});
