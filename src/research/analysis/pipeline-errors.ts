/**
 * pipeline_errors: does the rule pipeline's answer still tell what the model does not know, or is
 * it better than the model altogether (paper 6.2: a learned model below the hand-made rules)?
 */
import type { Failure } from "../types.ts";
import { groupTest } from "./context.ts";
import { type AnalysisInput, rightDecisions, rowWeights } from "./input.ts";
import type { Residuals } from "./residuals.ts";
import { correctedZ, pairedEffect } from "./statistics.ts";

export function findPipelineErrors(input: AnalysisInput, residuals: Residuals): Failure | null {
  if (!input.pipeline) return null;
  const classes = input.classes.length;
  // "No answer" is a group of its own.
  const group = input.pipeline.map((c) => (c < 0 ? classes : c));
  const told = groupTest(residuals, group, classes + 1);
  const weight = rowWeights(input);
  const model = rightDecisions(input, input.decisions);
  const rules = rightDecisions(input, input.pipeline);
  const ahead = pairedEffect(
    rules.map((right, i) => right - model[i]!),
    weight,
    input.label,
    classes,
  );
  const score = (right: Float64Array) => right.reduce((sum, r, i) => sum + r * weight[i]!, 0);
  const rulesScore = score(rules);
  const either = score(rules.map((right, i) => Math.max(right, model[i]!)));
  return {
    kind: "pipeline_errors",
    strength: correctedZ(Math.max(told.z, ahead.z), 2),
    potential: Math.max(0, (either - score(model)) / 2, ahead.difference),
    text:
      `The pipeline's answer still tells the residuals (z ${told.z.toFixed(1)}); the pipeline ` +
      `alone scores ${rulesScore.toFixed(4)}, the model ${score(model).toFixed(4)}, ` +
      `one of the two is right in ${either.toFixed(4)}.`,
    evidence: {
      told_z: told.z,
      pipeline_score: rulesScore,
      ahead: ahead.difference,
      ahead_error: ahead.standard_error,
      either_right: either,
    },
  };
}
