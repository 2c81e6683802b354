/**
 * Small edits of tabular configurations and the axes that strategies share. Every sweep starts
 * from the best model, so that a strategy adds one idea to what was already accepted.
 */
import {
  asConfiguration,
  type Member,
  type MemberFeatures,
  type MemberLearner,
  type TabularConfiguration,
} from "../tabular/configuration.ts";
import type {
  Configuration,
  Dimension,
  Space,
  StrategyState,
  Sweep,
  TaskFacts,
  Trial,
} from "../types.ts";

/** Configurations of trials were completed by the domain's `parse`, so all fields are there. */
export const tabularOf = (configuration: Configuration): TabularConfiguration =>
  configuration as unknown as TabularConfiguration;

export const bestOf = (state: StrategyState): TabularConfiguration =>
  tabularOf(state.best.spec.configuration);

export const mapMembers = (
  configuration: TabularConfiguration,
  change: (member: Member, index: number) => Member,
): TabularConfiguration => ({ ...configuration, members: configuration.members.map(change) });

export const withFeatures = (
  configuration: TabularConfiguration,
  features: Partial<MemberFeatures>,
): TabularConfiguration =>
  mapMembers(configuration, (member) => ({
    ...member,
    features: { ...member.features, ...features },
  }));

export const withBalance = (
  configuration: TabularConfiguration,
  balance: number,
): TabularConfiguration => mapMembers(configuration, (member) => ({ ...member, balance }));

export const withDecision = (
  configuration: TabularConfiguration,
  decision: Partial<TabularConfiguration["decision"]>,
): TabularConfiguration => ({
  ...configuration,
  decision: { ...configuration.decision, ...decision },
});

/** The same axis for every member. */
export function memberAxes(
  configuration: TabularConfiguration,
  path: string,
  dimension: Dimension,
): Space {
  return Object.fromEntries(
    configuration.members.map((_, i) => [`members.${i}.${path}`, dimension]),
  );
}

export const sweepOf = (
  base: TabularConfiguration,
  space: Space,
  first: readonly TabularConfiguration[],
  trials_max: number,
): Sweep => ({
  base: asConfiguration(base),
  space,
  first: first.map(asConfiguration),
  trials_max,
});

/** The best done trial that `wanted` accepts; the earlier of equals. */
export function bestTrial(
  trials: readonly Trial[],
  wanted: (configuration: TabularConfiguration) => boolean,
): Trial | null {
  let best: Trial | null = null;
  for (const trial of trials) {
    if (!trial.outcome || !wanted(tabularOf(trial.spec.configuration))) continue;
    if (!best || trial.outcome.score > best.outcome!.score) best = trial;
  }
  return best;
}

/** The best trial of one learner alone. */
export const bestOfLearner = (trials: readonly Trial[], learner: MemberLearner): Trial | null =>
  bestTrial(trials, ({ members }) => members.every((m) => m.learner === learner));

/** What a member of another learner takes over from the best model: weights and features. */
export const inherited = (best: TabularConfiguration) => {
  const { balance, features, bags } = best.members[0]!;
  return { balance, features: { ...features, top_k: 0, interactions: 0 }, bags, weight: 1 };
};

/** Rows in the search part, about: shares of the default split. */
export const searchRows = (facts: TaskFacts): number => Math.max(1, Math.round(facts.rows * 0.65));

/** The rarest class over its share if all were as frequent. */
const evenness = ({ minority, classes }: TaskFacts): number => minority * classes;
export const isEven = (facts: TaskFacts): boolean => evenness(facts) >= 0.85;
export const isRare = (facts: TaskFacts): boolean => evenness(facts) <= 0.5;
