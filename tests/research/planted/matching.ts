/**
 * Which strategies mend which planted failure, and whether a run picked one of them: it was
 * accepted (alone or joined with others), or it was ranked first and reliably beat the model that
 * its version started from.
 */
import type { ResearchResult } from "../../../src/research/loop/events.ts";
import type { FailureKind } from "../../../src/research/types.ts";

export const MATCHING: { readonly [K in FailureKind]?: readonly string[] } = {
  class_imbalance: ["class_weights", "threshold"],
  miscalibration: ["calibration"],
  context_gap: ["context_offsets", "context_feature"],
  overfit: ["regularise", "top_k", "bagging", "to_extra_trees", "to_forest", "to_logistic"],
  underfit: ["bigger", "to_boosting"],
  interactions: ["interactions"],
  disagreement: ["blend", "greedy_ensemble", "voting"],
  data_limited: ["more_data"],
  drift: ["recency"],
  label_noise: ["noise_list", "regularise", "to_extra_trees", "to_forest"],
  feature_noise: ["top_k"],
  pipeline_errors: ["pipeline_pred", "pipeline_residual"],
};

/** How the run picked a matching strategy in its first `versions` versions; null: it did not. */
export function pickOf(result: ResearchResult, kind: FailureKind, versions = 2): string | null {
  const wanted = new Set(MATCHING[kind]);
  for (const version of result.versions.slice(0, versions)) {
    // Picked for this failure, not by chance.
    if (!version.failures.some((f) => f.kind === kind)) continue;
    for (const [rank, s] of version.strategies.entries()) {
      const joined =
        s.strategy === "merge" && [...wanted].some((id) => s.why.split(/[ ,:]+/).includes(id));
      if (!wanted.has(s.strategy) && !joined) continue;
      if (s.result === "accepted") return `v${version.version} accepts ${s.strategy}`;
      if (rank === 0 && s.difference !== null && s.difference.low > 0) {
        return `v${version.version} ranks ${s.strategy} first, and it is better`;
      }
    }
  }
  return null;
}
