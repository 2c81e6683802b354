/**
 * overfit and underfit: the gap between training and validation says that a model could be held
 * back or let loose, and a probe says whether that helps. Trees that know their training rows by
 * heart are no failure when a simpler twin does no better.
 */
import type { Failure } from "../types.ts";
import type { AnalysisInput } from "./input.ts";
import type { LossGain } from "./loss-gain.ts";
import { type ProbeGround, richer, simpler } from "./probes.ts";

const gapOf = (input: AnalysisInput): number | null =>
  // Of decisions: a train score is not kept as a loss.
  input.train_score === null || input.score_kind === "log_loss"
    ? null
    : input.train_score - input.score;

const sentence = (input: AnalysisInput, twin: string, gain: LossGain): string => {
  const gap = gapOf(input);
  return (
    (gap === null ? "" : `Training is ${gap.toFixed(4)} above validation; `) +
    `a ${twin} twin saves ${gain.gain.toFixed(4)} +- ${gain.standard_error.toFixed(4)} of loss a row.`
  );
};

const evidence = (input: AnalysisInput, gain: LossGain) => ({
  train_gap: gapOf(input),
  loss_gain: gain.gain,
  standard_error: gain.standard_error,
  score_gain: gain.score_gain,
});

export async function findOverfit(
  input: AnalysisInput,
  ground: ProbeGround,
): Promise<Failure | null> {
  const gap = gapOf(input);
  if (gap !== null && gap <= 0) return null;
  const gain = await ground.gainOf({ configuration: simpler(ground.configuration) });
  return {
    kind: "overfit",
    strength: gain.z,
    potential: Math.max(0, gain.score_gain, gain.gain / 4),
    text: sentence(input, "simpler", gain),
    evidence: evidence(input, gain),
  };
}

export async function findUnderfit(
  input: AnalysisInput,
  ground: ProbeGround,
): Promise<Failure | null> {
  const gain = await ground.gainOf({ configuration: richer(ground.configuration) });
  return {
    kind: "underfit",
    strength: gain.z,
    potential: Math.max(0, gain.score_gain, gain.gain / 4),
    text: sentence(input, "richer", gain),
    evidence: evidence(input, gain),
  };
}
