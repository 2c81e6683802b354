/**
 * Variation around the best trials, for budgets that count trials: an evolution strategy over whole
 * configurations. A trial of a version is one of the best so far with about half of its settings
 * moved, two of the best joined into one ensemble, or a blend drawn afresh. No sweep of one idea
 * leaves the surroundings of its base, and on small tables what is best has often no neighbours.
 *
 * Tuned on eleven sets (scat, glass, stackoverflow, breast_cancer, titanic, two_class, sonar,
 * vehicle, ad_data, cells, attrition), none of them in the comparison table: the best of 40 random
 * trials is reached within 20 in 25 of 38 races, in the median at the tenth. On part of them, with
 * all of a version's proposals drawn at its start 9 of 16; fresh draws alone, after no portfolio,
 * 5 of 18. Moves of .1 of an axis did worse than .2 to .35.
 */
import { canonicalJson } from "../../core/bytes.ts";
import type { Random } from "../../core/random.ts";
import type { LearnerName } from "../../native/learner-types.ts";
import {
  type Axis,
  applySettings,
  axesOf,
  pointOf,
  readPath,
  samplePoint,
  settingsOf,
} from "../search/space.ts";
import { asConfiguration, type TabularConfiguration } from "../tabular/configuration.ts";
import type { Configuration, Space, Strategy, TaskFacts, Trial } from "../types.ts";
import type { CatalogueTask } from "./catalogue.ts";
import {
  bestOf,
  inherited,
  isEven,
  isRare,
  memberAxes,
  sweepOf,
  tabularOf,
  withDecision,
} from "./edits.ts";
import { guessOf, learnerAxes, memberSpace } from "./learner-spaces.ts";

/** Of a version's trials; the others are for strategies aimed at failures. */
const SHARE = 0.75;
/** Trials that parents are drawn from, best first; each next one is less likely by a factor of e. */
const PARENTS = 4;
/** Proposals of one version. */
const PROPOSALS = 48;
/** Members of two parents together: more cost CPU for gains below the noise. */
const JOINED_MEMBERS_MAX = 5;
const FRESH_SHARE = 0.3;
const JOINED_SHARE = 0.2;
/** Deviation of a move in parts of an axis, and the part of the axes that move. */
const MOVE = { deviation: 0.3, rate: 0.5 };
const MOVE_OF_JOINED = { deviation: 0.2, rate: 0.4 };
/** Probability that a chosen axis of options draws another one. */
const OPTION_RATE = 0.3;

/** What fresh blends are of, and how often: those that led on most sets come most often. */
const BLENDS: readonly (readonly [number, readonly LearnerName[]])[] = [
  [4, ["boosting", "extra_trees", "logistic"]],
  [3, ["extra_trees", "logistic"]],
  [2, ["boosting", "logistic"]],
  [1, ["forest", "logistic"]],
  [1, ["boosting", "extra_trees"]],
  [1, ["logistic"]],
  [0.7, ["boosting"]],
  [0.7, ["extra_trees"]],
];
const FRESH_BALANCE = [0.2, 0.8] as const;
/** Fresh blends with a fitted decision rule, by how even the classes are. */
const TUNED_SHARE = { even: 0.4, usual: 0.85, rare: 1 };

export const varyStrategy = ({ facts }: CatalogueTask): Strategy => ({
  id: "vary",
  family: "vary",
  targets: [],
  share: SHARE,
  summary: "Varies and joins the best models so far, and draws blends afresh.",
  sweep(state) {
    if (!state.counted) return null;
    const propose = (trials: readonly Trial[], random: Random) =>
      asConfiguration(proposal(parentsOf(trials), facts, random));
    return { ...sweepOf(bestOf(state), {}, [], PROPOSALS), propose };
  },
});

/** Best first, the earlier of equals. */
const parentsOf = (trials: readonly Trial[]): TabularConfiguration[] =>
  trials
    .filter(({ outcome }) => outcome !== null)
    .sort((a, b) => b.outcome!.score - a.outcome!.score || a.index - b.index)
    .slice(0, PARENTS)
    .map(({ spec }) => tabularOf(spec.configuration));

function proposal(
  parents: readonly TabularConfiguration[],
  facts: TaskFacts,
  random: Random,
): TabularConfiguration {
  const kind = random.next();
  const parent = parents[Math.min(parents.length - 1, rankOf(random))]!;
  if (kind < FRESH_SHARE) return fresh(parents[0]!, facts, random);
  const other = parents[random.below(parents.length)]!;
  const both = kind < FRESH_SHARE + JOINED_SHARE ? joined(parent, other) : null;
  return both ? moved(both, facts, MOVE_OF_JOINED, random) : moved(parent, facts, MOVE, random);
}

/** 0 with probability 1 - 1/e, 1 with 1/e of what is left, and so on. */
function rankOf(random: Random): number {
  let rank = 0;
  while (rank < PARENTS && random.next() < 1 / Math.E) rank++;
  return rank;
}

/** One ensemble of both parents' members; null where the second has nothing to add. */
function joined(a: TabularConfiguration, b: TabularConfiguration): TabularConfiguration | null {
  const keys = new Set(a.members.map((m) => canonicalJson({ ...m, weight: 1 })));
  const more = b.members.filter((m) => !keys.has(canonicalJson({ ...m, weight: 1 })));
  if (more.length === 0 || a.members.length >= JOINED_MEMBERS_MAX) return null;
  return { ...a, members: [...a.members, ...more].slice(0, JOINED_MEMBERS_MAX) };
}

/** Every setting of every member, the classes' weights, the blend's, and the decision rule. */
function spaceOf(configuration: TabularConfiguration, facts: TaskFacts): Axis[] {
  const { members, combination } = configuration;
  const weighted = members.length > 1 && combination === "weighted";
  return axesOf({
    "decision.rule": { kind: "choice", options: ["argmax", "tuned"] },
    ...memberAxes(configuration, "balance", { kind: "real", min: 0, max: 1.2 }),
    ...(weighted && memberAxes(configuration, "weight", { kind: "real", min: 0.1, max: 1 })),
    ...Object.assign(
      {},
      ...members.map(({ learner }, i): Space => memberSpace(i, learnerAxes(learner, facts))),
    ),
  });
}

function moved(
  configuration: TabularConfiguration,
  facts: TaskFacts,
  { deviation, rate }: typeof MOVE,
  random: Random,
): TabularConfiguration {
  const axes = spaceOf(configuration, facts);
  const base = asConfiguration(configuration);
  const middle = (axis: number) => (axes[axis]!.options > 0 ? 0 : 0.5);
  const from = pointOf(axes, (path) => readPath(base, path), middle);
  // Settings outside of every axis: the draw knows no better place to begin.
  const point = (from ?? axes.map((_, i) => middle(i))).map((x, i) => {
    if (random.next() >= rate) return x;
    const { options } = axes[i]!;
    if (options > 0) return random.next() < OPTION_RATE ? random.below(options) : x;
    return Math.min(1, Math.max(0, x + deviation * normal(random)));
  });
  return withSettings(base, axes, point);
}

const withSettings = (base: Configuration, axes: readonly Axis[], point: readonly number[]) =>
  tabularOf(applySettings(base, settingsOf(axes, point)));

/** About normal, of deviation 1: sums of uniform draws are the same bits on every machine. */
function normal(random: Random): number {
  let sum = -6;
  for (let i = 0; i < 12; i++) sum += random.next();
  return sum;
}

function blend(random: Random): readonly LearnerName[] {
  let at = random.next() * BLENDS.reduce((sum, [weight]) => sum + weight, 0);
  for (const [weight, learners] of BLENDS) {
    if (at < weight) return learners;
    at -= weight;
  }
  return BLENDS[0]![1];
}

/** A blend with settings from anywhere in its members' axes; what else there is as in the best. */
function fresh(best: TabularConfiguration, facts: TaskFacts, random: Random): TabularConfiguration {
  const learners = blend(random);
  const [low, high] = FRESH_BALANCE;
  const rest = { ...inherited(best), balance: low + (high - low) * random.next() };
  const members = learners.map((learner) => guessOf(learner, facts, rest));
  const evenness = isEven(facts) ? "even" : isRare(facts) ? "rare" : "usual";
  const rule = random.next() < TUNED_SHARE[evenness] ? "tuned" : "argmax";
  const base = withDecision({ ...best, members, combination: "weighted" }, { rule });
  const axes = spaceOf(base, facts).filter(({ path }) => /\.params\.|\.weight$/.test(path));
  return withSettings(asConfiguration(base), axes, samplePoint(axes, random));
}
