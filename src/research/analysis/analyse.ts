/**
 * Error analysis of a tabular model (paper 5, line 5 of Algorithm 1): every check in turn, and of
 * their findings those that are beyond chance, the most promising first. Everything is read from
 * stored out-of-fold outputs; the few checks that need fits go through the probe, whose cost the
 * caller counts.
 */
import type { Failure } from "../types.ts";
import { findClassImbalance } from "./class-imbalance.ts";
import { findContextGap } from "./context.ts";
import { findDisagreement } from "./disagreement.ts";
import { findDrift } from "./drift.ts";
import { findFeatureNoise } from "./feature-noise.ts";
import { findOverfit, findUnderfit } from "./fit-gap.ts";
import { type AnalysisInput, checkInput } from "./input.ts";
import { findInteractions } from "./interactions.ts";
import { findLabelNoise } from "./label-noise.ts";
import { findDataLimited } from "./learning-curve.ts";
import { STRENGTH_MIN } from "./limits.ts";
import { findMiscalibration } from "./miscalibration.ts";
import { findPipelineErrors } from "./pipeline-errors.ts";
import { prepareProbes } from "./probes.ts";
import { residualsOf } from "./residuals.ts";

/** Every check's finding, reported or not: for tests and for calibration by simulation. */
export async function allFindings(input: AnalysisInput): Promise<Failure[]> {
  checkInput(input);
  const residuals = residualsOf(input.outputs, input.label, input.classes.length);
  const found: (Failure | null)[] = [
    findClassImbalance(input),
    findMiscalibration(input),
    findContextGap(input, residuals),
    findDrift(input, residuals),
    findInteractions(input, residuals),
    findPipelineErrors(input, residuals),
    findDisagreement(input),
  ];
  const ground = await prepareProbes(input);
  found.push(await findLabelNoise(input, residuals, ground));
  if (ground) {
    found.push(await findOverfit(input, ground));
    found.push(await findUnderfit(input, ground));
    found.push(await findFeatureNoise(input, ground));
    found.push(await findDataLimited(input, ground));
  }
  return found.filter((failure) => failure !== null);
}

/** Failures of strength 2 or more, by strength x potential, then strength. */
export async function analyseTabular(input: AnalysisInput): Promise<Failure[]> {
  const found = await allFindings(input);
  const worth = (f: Failure) => Math.min(f.strength, 20) * f.potential;
  return found
    .filter((f) => f.strength >= STRENGTH_MIN)
    .sort((a, b) => worth(b) - worth(a) || b.strength - a.strength);
}
