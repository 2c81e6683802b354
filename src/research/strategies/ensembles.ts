/**
 * Strategies that combine the run's own trials (paper 9: "ensemble diversity beats single-model
 * optimisation"): blends with searched weights, voting, greedy selection with replacement
 * (Caruana et al. 2004), and one learner over several seeds. Weights are fitted inside the folds.
 */
import { LEARNERS } from "../../native/learner-types.ts";
import type { Member, TabularConfiguration } from "../tabular/configuration.ts";
import { MEMBERS_MAX } from "../tabular/limits.ts";
import type { Strategy, StrategyState } from "../types.ts";
import { bestOf, bestOfLearner, mapMembers, memberAxes, sweepOf, tabularOf } from "./edits.ts";

/** The best member of every learner that was tried alone, best trial first. */
function champions(state: StrategyState): Member[] {
  return LEARNERS.map((learner) => bestOfLearner(state.trials, learner))
    .filter((trial) => trial !== null)
    .sort((a, b) => b.outcome!.score - a.outcome!.score || a.index - b.index)
    .map((trial) => {
      const { members } = tabularOf(trial.spec.configuration);
      return { ...members[0]!, weight: 1 };
    });
}

/** Members of the best trials of single learners, different ones, best first. */
function candidates(state: StrategyState, most: number): Member[] {
  const singles = state.trials
    .filter((t) => t.outcome && tabularOf(t.spec.configuration).members.length === 1)
    .sort((a, b) => b.outcome!.score - a.outcome!.score || a.index - b.index);
  const seen = new Set<string>();
  const found: Member[] = [...champions(state)];
  for (const member of found) seen.add(JSON.stringify(member));
  for (const trial of singles) {
    const member = { ...tabularOf(trial.spec.configuration).members[0]!, weight: 1 };
    const key = JSON.stringify(member);
    if (seen.has(key) || found.length >= most) continue;
    seen.add(key);
    found.push(member);
  }
  return found.slice(0, most);
}

const combined = (
  best: TabularConfiguration,
  members: Member[],
  combination: TabularConfiguration["combination"],
): TabularConfiguration => ({ ...best, members, combination });

const blend: Strategy = {
  id: "blend",
  family: "blend",
  general: true,
  targets: ["disagreement", "overfit"],
  summary: "Averages the best models of different learners, with searched weights.",
  sweep(state) {
    const members = champions(state).slice(0, 3);
    if (members.length < 2) return null;
    const best = bestOf(state);
    const two = combined(best, members.slice(0, 2), "weighted");
    const all = combined(best, members, "weighted");
    const space = memberAxes(all, "weight", { kind: "real", min: 0.1, max: 1 });
    return sweepOf(all, space, members.length > 2 ? [two, all] : [two], 8);
  },
};

const greedy: Strategy = {
  id: "greedy_ensemble",
  family: "greedy_ensemble",
  general: true,
  targets: ["disagreement"],
  summary: "Builds an ensemble from the run's own trials by greedy selection.",
  sweep(state) {
    const members = candidates(state, MEMBERS_MAX);
    if (members.length < 3) return null;
    const best = bestOf(state);
    const all = combined(best, members, "greedy");
    const fewer = combined(best, members.slice(0, 4), "greedy");
    const space = { combination: { kind: "choice", options: ["greedy", "weighted"] } as const };
    return sweepOf(all, space, members.length > 4 ? [fewer, all] : [all], 3);
  },
};

const voting: Strategy = {
  id: "voting",
  family: "voting",
  targets: ["disagreement"],
  summary: "Lets the best models of different learners vote.",
  sweep(state) {
    const members = champions(state);
    if (members.length < 3) return null;
    const all = combined(bestOf(state), members, "voting");
    const space = { combination: { kind: "choice", options: ["voting"] } as const };
    return sweepOf(all, space, [all], 1);
  },
};

const bagging: Strategy = {
  id: "bagging",
  family: "bagging",
  targets: ["overfit", "disagreement"],
  summary: "Averages the best model over several seeds.",
  sweep(state) {
    const best = bestOf(state);
    // A linear model is the same for every seed.
    if (best.members.every((m) => m.learner === "logistic" || m.bags > 1)) return null;
    const bagged = mapMembers(best, (m) => (m.learner === "logistic" ? m : { ...m, bags: 4 }));
    const space = memberAxes(best, "bags", { kind: "integer", min: 2, max: 8 });
    return sweepOf(bagged, space, [bagged], 2);
  },
};

export const ensembleStrategies = (): Strategy[] => [blend, greedy, voting, bagging];
