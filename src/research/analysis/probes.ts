/**
 * The checks that need fits of their own: overfit and underfit (a simpler and a richer twin of the
 * best model), feature_noise (only the most important features), label_noise (without the rows
 * that are confidently wrong) and data_limited (half the training rows). All are compared with the
 * same model on the same folds of a sample of the rows, by loss, so a probe costs a fraction of a
 * trial and its answer is paired.
 */
import type { Member, TabularConfiguration } from "../tabular/configuration.ts";
import type { AnalysisInput, Probe } from "./input.ts";
import {
  PROBE_FOLDS,
  PROBE_ROWS_MAX,
  PROBE_ROWS_MIN,
  PROBE_SEQUENCES_MAX,
  PROBE_TREES_MAX,
} from "./limits.ts";
import { type LossGain, lossGain } from "./loss-gain.ts";
import { partOfRow } from "./statistics.ts";

/** A sample of the rows with the outputs of the unchanged model on it. */
export interface ProbeGround {
  readonly positions: Uint32Array;
  readonly label: Int32Array;
  /** The heaviest member of the best model, alone and undecorated. */
  readonly configuration: TabularConfiguration;
  readonly same: Float32Array;
  /** The gain of another configuration (or other rows) over the unchanged one. */
  gainOf(change: {
    configuration?: TabularConfiguration;
    train_share?: number;
    without?: Uint32Array;
  }): Promise<LossGain>;
  /** Out-of-fold outputs of a configuration on the positions. */
  outputsOf(configuration: TabularConfiguration): Promise<Float32Array>;
  /** Gain of b over a, both outputs on the positions. */
  compare(a: Float32Array, b: Float32Array): LossGain;
}

/** Probes look at one learner at a time: the heaviest member, with few trees and one bag. */
export function plainMember(configuration: TabularConfiguration): TabularConfiguration {
  const heaviest = configuration.members.reduce((a, b) => (b.weight > a.weight ? b : a));
  return {
    ...configuration,
    members: [{ ...fewerTrees(heaviest), bags: 1, weight: 1 }],
    combination: "weighted",
    calibration: "none",
    decision: { ...configuration.decision, rule: "argmax", context: "none" },
    rows: { ...configuration.rows, rows_max: 0, recency: 1, noise_share: 0 },
  };
}

/** Boosting with a proportionally larger step, so that fewer trees are not a weaker model. */
function fewerTrees(member: Member): Member {
  if (member.learner === "logistic") return member;
  if (member.learner === "ternary_transformer") {
    const sequences = Math.min(PROBE_SEQUENCES_MAX, member.params.sequences);
    return { ...member, params: { ...member.params, sequences } };
  }
  if (member.params.trees <= PROBE_TREES_MAX) return member;
  const cut = member.params.trees / PROBE_TREES_MAX;
  if (member.learner !== "boosting") {
    return { ...member, params: { ...member.params, trees: PROBE_TREES_MAX } };
  }
  const learning_rate = Math.min(0.5, member.params.learning_rate * cut);
  return { ...member, params: { ...member.params, trees: PROBE_TREES_MAX, learning_rate } };
}

/** Null where there is no probe or too few rows for one. */
export async function prepareProbes(input: AnalysisInput): Promise<ProbeGround | null> {
  const probe = input.probe;
  if (!probe || input.rows < PROBE_ROWS_MIN) return null;
  const positions = samplePositions(input);
  const label = Int32Array.from(positions, (i) => input.label[i]!);
  const configuration = plainMember(input.configuration);
  const request = (change: object): Parameters<Probe>[0] => ({
    configuration,
    positions,
    folds: PROBE_FOLDS,
    ...change,
  });
  const same = await probe(request({}));
  return {
    positions,
    label,
    configuration,
    same,
    outputsOf: (other) => probe(request({ configuration: other })),
    compare: (a, b) => lossGain(input, label, a, b),
    gainOf: async (change) => lossGain(input, label, same, await probe(request(change))),
  };
}

/** All rows, or a sample that is a function of the row numbers alone. */
function samplePositions(input: AnalysisInput): Uint32Array {
  if (input.rows <= PROBE_ROWS_MAX) return Uint32Array.from({ length: input.rows }, (_, i) => i);
  const buckets = 4096;
  const wanted = (PROBE_ROWS_MAX / input.rows) * buckets;
  const rows: number[] = [];
  for (let i = 0; i < input.rows; i++) if (partOfRow(i, buckets, 7) < wanted) rows.push(i);
  return Uint32Array.from(rows);
}

/** The same learner, held back: fewer and larger leaves, stronger penalties. */
export function simpler(configuration: TabularConfiguration): TabularConfiguration {
  return changed(configuration, (member) => {
    if (member.learner === "boosting") {
      const p = member.params;
      return {
        ...member,
        params: {
          ...p,
          leaves_max: Math.max(3, Math.floor(p.leaves_max / 6)),
          trees: Math.max(10, Math.floor(p.trees / 2)),
          l2: Math.min(1e4, p.l2 * 5 + 5),
          column_share: Math.max(0.05, p.column_share * 0.5),
        },
      };
    }
    if (member.learner === "logistic") {
      const penalty = Math.min(1e3, member.params.penalty * 30);
      return { ...member, params: { ...member.params, penalty } };
    }
    if (member.learner === "ternary_transformer") {
      const p = member.params;
      const bins = Math.max(2, Math.floor(p.bins / 3));
      return { ...member, params: { ...p, bins, sequences: Math.ceil(p.sequences / 3) } };
    }
    const leaf = Math.max(6, member.params.leaf_rows_min * 4);
    return { ...member, params: { ...member.params, leaf_rows_min: leaf } };
  });
}

/** A learner with more room: more and larger trees; of a linear model, trees at all. */
export function richer(configuration: TabularConfiguration): TabularConfiguration {
  return changed(configuration, (member) => {
    if (member.learner === "boosting") {
      const p = member.params;
      return {
        ...member,
        params: {
          ...p,
          leaves_max: Math.min(1024, p.leaves_max * 2),
          trees: Math.min(4 * PROBE_TREES_MAX, p.trees * 4),
          leaf_rows_min: Math.max(1, Math.floor(p.leaf_rows_min / 4)),
        },
      };
    }
    if (member.learner === "logistic") {
      return { ...member, learner: "boosting", params: RICHER_THAN_LINEAR };
    }
    if (member.learner === "ternary_transformer") {
      const p = member.params;
      return { ...member, params: { ...p, sequences: 2 * p.sequences } };
    }
    const p = member.params;
    return {
      ...member,
      params: {
        ...p,
        leaf_rows_min: Math.max(1, Math.floor(p.leaf_rows_min / 4)),
        depth_max: 0,
        column_share: p.column_share === 0 ? 0.5 : Math.min(1, p.column_share * 2),
      },
    };
  });
}

/** Boosting as the schema completes it: what a linear model is compared with. */
const RICHER_THAN_LINEAR = {
  trees: PROBE_TREES_MAX,
  learning_rate: 0.1,
  leaves_max: 15,
  depth_max: 0,
  leaf_rows_min: 5,
  l1: 0,
  l2: 1,
  gain_min: 0,
  row_share: 1,
  column_share: 1,
  bins_max: 255,
};

/** A linear model of the same rows and features. */
export const linearTwin = (configuration: TabularConfiguration): TabularConfiguration =>
  changed(configuration, (member) => ({
    ...member,
    learner: "logistic",
    params: { penalty: 1e-3, l1_share: 0 },
  }));

/** The same learner on its `share` most important features. */
export function fewerFeatures(
  configuration: TabularConfiguration,
  columns: number,
): TabularConfiguration {
  return changed(configuration, (member) => ({
    ...member,
    features: { ...member.features, top_k: columns },
  }));
}

const changed = (
  configuration: TabularConfiguration,
  change: (member: Member) => Member,
): TabularConfiguration => ({ ...configuration, members: configuration.members.map(change) });
