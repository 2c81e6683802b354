/**
 * The configuration of a tabular model as typed data (paper 6.3 and 6.4): members, what they see,
 * how they are combined, calibrated and turned into decisions, and which rows they learn from.
 * Dotted paths into it ("members.0.params.trees") are the axes that strategies search over.
 *
 * Everything that depends on labels (thresholds, offsets, blend weights, calibration, top-k
 * features, noise lists) is fitted inside the folds; a configuration only says how.
 */
import { z } from "zod";
import { didYouMean } from "../../core/did-you-mean.ts";
import { MagnetError } from "../../core/errors.ts";
import { LEARNERS } from "../../native/learner-types.ts";
import type { Configuration } from "../types.ts";
import {
  BAGS_MAX,
  INTERACTIONS_MAX,
  MEMBERS_MAX,
  NOISE_SHARE_MAX,
  ROWS_MAX,
  TERNARY_LAYERS_MAX,
  TERNARY_SEQUENCES_MAX,
  TERNARY_WIDTH_MAX,
  TREES_MAX,
} from "./limits.ts";

const share = z.number().min(0.01).max(1);
const count = (min: number, max: number) => z.int().min(min).max(max);

const boostingParams = z.strictObject({
  trees: count(1, TREES_MAX).default(100),
  learning_rate: z.number().min(1e-4).max(1).default(0.1),
  leaves_max: count(2, 1024).default(31),
  /** 0 = no limit. */
  depth_max: count(0, 32).default(6),
  /** Rows in a leaf at least; a row that the model is sure of, p, counts as 4 p (1 - p). */
  leaf_rows_min: count(1, 10_000).default(4),
  l1: z.number().min(0).max(1e4).default(0),
  l2: z.number().min(0).max(1e4).default(1),
  gain_min: z.number().min(0).max(1e4).default(0),
  row_share: share.default(1),
  column_share: share.default(1),
  bins_max: count(2, 255).default(255),
});

const forestParams = z.strictObject({
  trees: count(1, TREES_MAX).default(200),
  /** 0 = no limit. */
  depth_max: count(0, 64).default(0),
  leaf_rows_min: count(1, 10_000).default(1),
  /** Features looked at for each split; 0 = the square root of their number. */
  column_share: z.union([z.literal(0), share]).default(0),
});

const logisticParams = z.strictObject({
  /** Weight of the penalty, per row: 1 / (C n) in the customary notation. */
  penalty: z.number().min(1e-7).max(1e3).default(1e-3),
  /** 0 = ridge, 1 = lasso. */
  l1_share: z.number().min(0).max(1).default(0),
});

const ternaryParams = z.strictObject({
  width: z.int().multipleOf(16).min(16).max(TERNARY_WIDTH_MAX).default(32),
  layers: count(1, TERNARY_LAYERS_MAX).default(2),
  /** Quantile bins of a number column, a token each. */
  bins: count(2, 64).default(12),
  /** Rows shown in training, each several times where there are fewer: what a fit costs. */
  sequences: count(1, TERNARY_SEQUENCES_MAX).default(6000),
  batch: count(1, 512).default(32),
  learning_rate: z.number().min(1e-5).max(0.1).default(4e-3),
  weight_decay: z.number().min(0).max(1).default(0.05),
  /** Weight of the odds ratio of the true label and another, beside the likelihood. */
  odds_weight: z.number().min(0).max(10).default(0),
});

const features = z.strictObject({
  /** Features kept, the most important in the training rows of the fold; 0 = all. */
  top_k: count(0, 100_000).default(0),
  /** Products and ratios of the most important pairs, as further features. */
  interactions: count(0, INTERACTIONS_MAX).default(0),
  /** The rule pipeline's class as a feature: "when is the pipeline wrong" (paper 6.3). */
  pipeline: z.boolean().default(false),
  /** The row's context as a feature. */
  context: z.boolean().default(false),
  /**
   * Share of the features dropped for telling the context rather than the label: a model that is to
   * serve contexts never seen has nothing from them.
   */
  context_blind: z.number().min(0).max(0.9).default(0),
});

const memberBase = {
  /** Weight of the rare classes: 0 = each row the same, 1 = each class the same. */
  balance: z.number().min(0).max(1.5).default(0),
  /** Fits with different seeds that are averaged. */
  bags: count(1, BAGS_MAX).default(1),
  /** Weight in a "weighted" combination, relative to the other members. */
  weight: z.number().min(0).max(1000).default(1),
  features: features.prefault({}),
};

const member = z.discriminatedUnion("learner", [
  z.strictObject({
    learner: z.literal("boosting"),
    params: boostingParams.prefault({}),
    ...memberBase,
  }),
  z.strictObject({
    learner: z.literal("extra_trees"),
    params: forestParams.prefault({}),
    ...memberBase,
  }),
  z.strictObject({
    learner: z.literal("forest"),
    params: forestParams.prefault({}),
    ...memberBase,
  }),
  z.strictObject({
    learner: z.literal("logistic"),
    params: logisticParams.prefault({}),
    ...memberBase,
  }),
  z.strictObject({
    learner: z.literal("ternary_transformer"),
    params: ternaryParams.prefault({}),
    ...memberBase,
  }),
]);

const decision = z.strictObject({
  /** "tuned": the threshold, or a weight for each class, that is best for the task's metric. */
  rule: z.enum(["argmax", "tuned"]).default("argmax"),
  /**
   * "offsets": the log-odds of each context move under the one global threshold (paper 6.4);
   * "thresholds": a threshold for each context, the control that overfits small contexts.
   */
  context: z.enum(["none", "offsets", "thresholds"]).default("none"),
  /** How hard offsets are drawn to 0, as a number of rows at the class's share. */
  shrinkage: z.number().min(0.1).max(10_000).default(20),
});

const rows = z.strictObject({
  /** Training rows at most, drawn within each class; 0 = all. */
  rows_max: count(0, ROWS_MAX).default(0),
  /** Share of the training rows kept, the newest by the task's time column. */
  recency: share.default(1),
  /** Training rows left out, the most confidently wrong ones in an inner cross-validation. */
  noise_share: z.number().min(0).max(NOISE_SHARE_MAX).default(0),
});

/** The schema; unknown keys are refused, missing ones have defaults. */
export const tabularConfiguration = z.strictObject({
  members: z.array(member).min(1).max(MEMBERS_MAX),
  /**
   * "weighted": probabilities averaged with the members' weights; "voting": their decisions;
   * "greedy": weights by greedy selection with replacement, fitted inside the folds.
   */
  combination: z.enum(["weighted", "voting", "greedy"]).default("weighted"),
  /** "residual": learns whether the rule pipeline is wrong, and what is right then. */
  target: z.enum(["plain", "residual"]).default("plain"),
  calibration: z.enum(["none", "platt", "isotonic"]).default("none"),
  decision: decision.prefault({}),
  rows: rows.prefault({}),
});

export type TabularConfiguration = z.infer<typeof tabularConfiguration>;
export type Member = TabularConfiguration["members"][number];
/** The native learners and the one that the language models' trainer trains. */
export const MEMBER_LEARNERS = [...LEARNERS, "ternary_transformer"] as const;
export type MemberLearner = (typeof MEMBER_LEARNERS)[number];
export type MemberFeatures = Member["features"];
export type RowOptions = TabularConfiguration["rows"];
export type DecisionOptions = TabularConfiguration["decision"];

/** What a task offers; a configuration that asks for more is refused, not ignored. */
export interface TaskOffers {
  readonly contexts: boolean;
  readonly pipeline: boolean;
  readonly time: boolean;
}

const HINT = "compare with the configurations that `magnet research report` shows";

function bad(path: string, message: string, hint = HINT): MagnetError {
  return new MagnetError("BAD_CONFIGURATION", `${path}: ${message}`, { hint, exit: "config" });
}

/** Keys that stand beside an unknown one: what may have been meant. */
function siblings(path: readonly PropertyKey[]): string[] {
  const shapes: Record<string, z.ZodObject> = {
    "": tabularConfiguration,
    decision,
    rows,
    features,
  };
  const last = String(path.at(-1) ?? "");
  if (last === "params")
    return [boostingParams, forestParams, logisticParams, ternaryParams].flatMap((s) =>
      Object.keys(s.shape),
    );
  if (typeof path.at(-1) === "number") return ["learner", "params", ...Object.keys(memberBase)];
  return Object.keys(shapes[last]?.shape ?? {});
}

/** The first problem that zod found, as one error naming the field. */
function toError(error: z.ZodError): MagnetError {
  const issue = error.issues[0]!;
  const path = issue.path.map(String).join(".") || "configuration";
  if (issue.code !== "unrecognized_keys") return bad(path, issue.message);
  const key = issue.keys[0]!;
  const hint = didYouMean(key, siblings(issue.path), HINT);
  return bad(issue.path.length === 0 ? key : `${path}.${key}`, "no such field", hint);
}

/** Checks and completes a configuration. Throws BAD_CONFIGURATION naming the field. */
export function parseTabular(value: unknown, offers: TaskOffers): TabularConfiguration {
  const parsed = tabularConfiguration.safeParse(value);
  if (!parsed.success) throw toError(parsed.error);
  const configuration = parsed.data;
  const needs = (field: string, what: string) =>
    bad(field, `needs a ${what} column`, `name one in the task file ("${what}"), or leave it out`);
  configuration.members.forEach((m, i) => {
    const at = `members.${i}.features`;
    if (m.features.context && !offers.contexts) throw needs(`${at}.context`, "context");
    if (m.features.context_blind > 0 && !offers.contexts)
      throw needs(`${at}.context_blind`, "context");
    if (m.features.pipeline && !offers.pipeline) throw needs(`${at}.pipeline`, "pipeline");
  });
  if (configuration.decision.context !== "none" && !offers.contexts)
    throw needs("decision.context", "context");
  if (configuration.target === "residual" && !offers.pipeline) throw needs("target", "pipeline");
  if (configuration.rows.recency < 1 && !offers.time) throw needs("rows.recency", "time");
  if (configuration.members.every((m) => m.weight === 0))
    throw bad("members.0.weight", "the weights of all members are 0");
  return configuration;
}

/** As the loop stores it: plain JSON. */
export const asConfiguration = (c: TabularConfiguration): Configuration =>
  c as unknown as Configuration;
