/** The task's metric as the tabular domain uses it: of decisions while tuning, of all at the end. */
import { MagnetError } from "../../core/errors.ts";
import { CLASSIFICATION_METRICS, type ClassificationMetric } from "../evaluation/metrics.ts";
import type { ConfusionScore } from "./labelled.ts";

/** Throws BAD_METRIC for one that classes have none of. */
export function classificationMetric(name: string): ClassificationMetric {
  const found = CLASSIFICATION_METRICS.find((metric) => metric === name);
  if (found !== undefined) return found;
  throw new MagnetError("BAD_METRIC", `a tabular task has no metric "${name}"`, {
    hint: `choose one of ${CLASSIFICATION_METRICS.join(", ")}`,
    exit: "config",
  });
}

/**
 * What thresholds are tuned for. Metrics of probabilities alone do not care about decisions: these
 * are then tuned for the balanced accuracy.
 */
export function confusionScore(metric: ClassificationMetric, classes: number): ConfusionScore {
  return metric === "accuracy" || metric === "hit_rate"
    ? { balanced: false, of: (counts) => accuracyOf(counts, classes) }
    : { balanced: true, of: (counts) => balancedAccuracyOf(counts, classes) };
}

function accuracyOf(counts: Float64Array, classes: number): number {
  let right = 0;
  let all = 0;
  for (let i = 0; i < counts.length; i++) all += counts[i]!;
  for (let c = 0; c < classes; c++) right += counts[c * classes + c]!;
  return right / all;
}

function balancedAccuracyOf(counts: Float64Array, classes: number): number {
  let sum = 0;
  let present = 0;
  for (let c = 0; c < classes; c++) {
    let all = 0;
    for (let d = 0; d < classes; d++) all += counts[c * classes + d]!;
    if (all === 0) continue;
    sum += counts[c * classes + c]! / all;
    present++;
  }
  return sum / present;
}
