/**
 * Strategies over the decision: class weights and threshold, calibration, offsets by context under
 * one global threshold, and thresholds by context as the control that the paper found to overfit
 * (6.4). They refit little or nothing, so they are the cheapest of the catalogue.
 */
import type { Strategy } from "../types.ts";
import type { CatalogueTask } from "./catalogue.ts";
import { bestOf, memberAxes, sweepOf, withBalance, withDecision } from "./edits.ts";

export function decisionStrategies({ offers }: CatalogueTask): Strategy[] {
  const threshold: Strategy = {
    id: "threshold",
    family: "decision",
    targets: ["class_imbalance"],
    summary: "Tunes the threshold (or a weight a class) for the score on out-of-fold outputs.",
    sweep(state) {
      const best = bestOf(state);
      const tuned = withDecision(best, { rule: "tuned" });
      if (best.decision.rule === "tuned") return null;
      return sweepOf(
        tuned,
        { "decision.rule": { kind: "choice", options: ["tuned"] } },
        [tuned],
        1,
      );
    },
  };
  const weights: Strategy = {
    id: "class_weights",
    family: "class_weights",
    targets: ["class_imbalance"],
    summary: "Weighs the rare classes up in training, with and without a tuned threshold.",
    sweep(state) {
      const best = bestOf(state);
      const even = withBalance(withDecision(best, { rule: "argmax" }), 1);
      const half = withBalance(withDecision(best, { rule: "tuned" }), 0.5);
      const space = {
        ...memberAxes(best, "balance", { kind: "real", min: 0, max: 1.2 } as const),
        "decision.rule": { kind: "choice", options: ["argmax", "tuned"] } as const,
      };
      return sweepOf(half, space, [even, half], 6);
    },
  };
  const calibration: Strategy = {
    id: "calibration",
    family: "calibration",
    targets: ["miscalibration"],
    summary: "Maps probabilities to observed frequencies: logistic (Platt) or isotonic.",
    sweep(state) {
      const best = bestOf(state);
      if (best.calibration !== "none") return null;
      const [platt, isotonic] = (["platt", "isotonic"] as const).map((calibration) => ({
        ...best,
        calibration,
      }));
      const space = { calibration: { kind: "choice", options: ["platt", "isotonic"] } as const };
      return sweepOf(platt!, space, [platt!, isotonic!], 2);
    },
  };
  if (!offers.contexts) return [threshold, weights, calibration];
  return [threshold, weights, calibration, offsets, thresholdsByContext];
}

const offsets: Strategy = {
  id: "context_offsets",
  family: "context_offsets",
  targets: ["context_gap"],
  summary: "Moves the log-odds of each context under the one global threshold (paper 6.4).",
  sweep(state) {
    const best = bestOf(state);
    const guess = (shrinkage: number) =>
      withDecision(best, { rule: "tuned", context: "offsets", shrinkage });
    const space = {
      "decision.shrinkage": { kind: "real", min: 1, max: 500, log: true } as const,
    };
    return sweepOf(guess(20), space, [guess(20), guess(100)], 5);
  },
};

const thresholdsByContext: Strategy = {
  id: "context_thresholds",
  family: "context_thresholds",
  targets: ["context_gap"],
  summary: "A threshold for each context: the control, expected to overfit small contexts.",
  sweep(state) {
    const guess = withDecision(bestOf(state), { rule: "tuned", context: "thresholds" });
    const space = { "decision.context": { kind: "choice", options: ["thresholds"] } as const };
    return sweepOf(guess, space, [guess], 1);
  },
};
