/**
 * Strategies over how much a member can learn: held back (regularised), let loose (bigger), and a
 * sweep of the best model's own settings.
 */
import type { Member, TabularConfiguration } from "../tabular/configuration.ts";
import { TERNARY_SEQUENCES_MAX } from "../tabular/limits.ts";
import type { Space, Strategy } from "../types.ts";
import type { CatalogueTask } from "./catalogue.ts";
import { bestOf, mapMembers, sweepOf } from "./edits.ts";
import { learnerAxes, memberSpace } from "./learner-spaces.ts";

export const capacityStrategies = (task: CatalogueTask): Strategy[] => [
  regularise(task),
  bigger(task),
  settings(task),
];

/** The axes of every member that `keep` keeps, the heaviest first, at most two members. */
function axesOf(
  { facts }: CatalogueTask,
  configuration: TabularConfiguration,
  keep: (path: string) => boolean,
): Space {
  const heavy = [...configuration.members.keys()]
    .sort((a, b) => configuration.members[b]!.weight - configuration.members[a]!.weight || a - b)
    .slice(0, 2);
  const axes = heavy.map((i) => {
    const all = learnerAxes(configuration.members[i]!.learner, facts);
    return memberSpace(i, Object.fromEntries(Object.entries(all).filter(([path]) => keep(path))));
  });
  return Object.assign({}, ...axes);
}

const SIMPLER_AXES = new Set([
  "params.leaves_max",
  "params.leaf_rows_min",
  "params.l2",
  "params.column_share",
  "params.row_share",
  "params.penalty",
  "params.l1_share",
  "params.sequences",
  "params.bins",
]);

/** One step towards a simpler model; `strength` 1 is mild, 2 is strong. */
function heldBack(member: Member, strength: number): Member {
  if (member.learner === "boosting") {
    const p = member.params;
    return {
      ...member,
      params: {
        ...p,
        leaves_max: Math.max(3, Math.round(p.leaves_max / (1 + 2 * strength))),
        leaf_rows_min: Math.min(10_000, p.leaf_rows_min + 5 * strength),
        l2: Math.min(1e4, p.l2 + 5 * strength ** 2),
        column_share: Math.max(0.1, p.column_share * 0.5),
        row_share: Math.min(p.row_share, 0.7),
      },
    };
  }
  if (member.learner === "logistic") {
    const penalty = Math.min(1e3, member.params.penalty * 10 ** strength);
    return { ...member, params: { penalty, l1_share: strength > 1 ? 0.5 : 0 } };
  }
  if (member.learner === "ternary_transformer") {
    const p = member.params;
    const bins = Math.max(2, Math.floor(p.bins / (1 + strength)));
    const sequences = Math.ceil(p.sequences / (1 + strength));
    return { ...member, params: { ...p, bins, sequences } };
  }
  const leaf = member.params.leaf_rows_min * 2 + 2 * strength;
  return { ...member, params: { ...member.params, leaf_rows_min: leaf } };
}

const regularise = (task: CatalogueTask): Strategy => ({
  id: "regularise",
  family: "regularisation",
  targets: ["overfit", "label_noise", "feature_noise"],
  summary: "Holds the best model back: smaller trees, larger leaves, stronger penalties.",
  sweep(state) {
    const best = bestOf(state);
    const [mild, strong] = [1, 2].map((s) => mapMembers(best, (m) => heldBack(m, s)));
    const space = axesOf(task, best, (path) => SIMPLER_AXES.has(path));
    return sweepOf(mild!, space, [strong!, mild!], 8);
  },
});

function letLoose(member: Member): Member {
  if (member.learner === "boosting") {
    const p = member.params;
    return {
      ...member,
      params: {
        ...p,
        trees: Math.min(1000, p.trees * 3),
        leaves_max: Math.min(128, p.leaves_max * 2),
        leaf_rows_min: Math.max(1, Math.round(p.leaf_rows_min / 3)),
      },
    };
  }
  if (member.learner === "logistic") {
    const penalty = Math.max(1e-9, member.params.penalty / 30);
    return {
      ...member,
      params: { ...member.params, penalty },
      features: { ...member.features, interactions: Math.max(24, member.features.interactions) },
    };
  }
  if (member.learner === "ternary_transformer") {
    const p = member.params;
    const sequences = Math.min(TERNARY_SEQUENCES_MAX, p.sequences * 2);
    return { ...member, params: { ...p, sequences } };
  }
  const p = member.params;
  const share = p.column_share === 0 ? 0.4 : Math.min(1, p.column_share * 2);
  return {
    ...member,
    params: {
      trees: Math.min(800, p.trees * 2),
      depth_max: 0,
      leaf_rows_min: Math.max(1, Math.round(p.leaf_rows_min / 4)),
      column_share: share,
    },
  };
}

const bigger = (task: CatalogueTask): Strategy => ({
  id: "bigger",
  family: "bigger",
  targets: ["underfit"],
  summary: "Gives the best model more room: more and larger trees, weaker penalties.",
  sweep(state) {
    const best = bestOf(state);
    const loose = mapMembers(best, letLoose);
    return sweepOf(
      loose,
      axesOf(task, best, () => true),
      [loose],
      6,
    );
  },
});

const settings = (task: CatalogueTask): Strategy => ({
  id: "settings",
  family: "settings",
  targets: [],
  summary: "Searches the settings of the best model's own learners.",
  sweep(state) {
    const best = bestOf(state);
    const balance = Object.fromEntries(
      best.members.map((_, i) => [
        `members.${i}.balance`,
        { kind: "real", min: 0, max: 1.2 } as const,
      ]),
    );
    return sweepOf(best, { ...axesOf(task, best, () => true), ...balance }, [], 24);
  },
});
