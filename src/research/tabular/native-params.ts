/** A member's settings by the names and units of the native learners. */
import type { LearnerName } from "../../native/learner-types.ts";
import type { MemberLearner } from "./configuration.ts";

export interface NativeParams {
  readonly bins_max: number;
  readonly params: { readonly [name: string]: number };
}

/** A learner with settings by the configuration's names. */
export interface PlainMember {
  readonly learner: MemberLearner;
  readonly params: { readonly [name: string]: number };
}

/** Of a learner of the native library. */
export type NativeMember = PlainMember & { readonly learner: LearnerName };

export const isNative = (member: PlainMember): member is NativeMember =>
  member.learner !== "ternary_transformer";

/** Bins of learners that have no setting for them. */
const BINS = 255;

/** What `fit` is given; `rows` is how many the fit has. */
export function nativeParams(member: NativeMember, rows: number): NativeParams {
  const p = member.params;
  if (member.learner === "logistic")
    return { bins_max: BINS, params: { c: 1 / (p.penalty! * rows), l1_ratio: p.l1_share! } };
  if (member.learner === "boosting")
    return {
      bins_max: p.bins_max!,
      params: {
        trees: p.trees!,
        learning_rate: p.learning_rate!,
        max_leaves: p.leaves_max!,
        max_depth: p.depth_max!,
        // An undecided row of two classes has a second derivative of 1/4.
        min_child_weight: p.leaf_rows_min! / 4,
        min_samples_leaf: 1,
        l1: p.l1!,
        l2: p.l2!,
        min_gain: p.gain_min!,
        row_share: p.row_share!,
        column_share: p.column_share!,
      },
    };
  const { trees, depth_max = 0, leaf_rows_min = 1, column_share = 0 } = p;
  return {
    bins_max: BINS,
    params: {
      trees: trees!,
      max_depth: depth_max,
      min_samples_leaf: leaf_rows_min,
      max_features: column_share,
    },
  };
}
