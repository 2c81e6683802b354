/**
 * feature_noise: does the model get better when it sees only its most important features (chosen
 * inside the folds)? The paper's "feature noise above 60 features hurts".
 */
import type { Failure } from "../types.ts";
import type { AnalysisInput } from "./input.ts";
import type { LossGain } from "./loss-gain.ts";
import { fewerFeatures, type ProbeGround } from "./probes.ts";
import { correctedZ } from "./statistics.ts";

/** Columns below which there is nothing to choose from. */
const FEATURES_MIN = 8;
/** Parts of the features that the probes keep; the second where it leaves enough of them. */
const KEPT = [0.25, 0.06];
const KEPT_MIN = 3;

export async function findFeatureNoise(
  input: AnalysisInput,
  ground: ProbeGround,
): Promise<Failure | null> {
  const now = ground.configuration.members[0]!.features.top_k || input.features.length;
  if (now < FEATURES_MIN) return null;
  const tried: { kept: number; gain: LossGain }[] = [];
  for (const part of KEPT) {
    const kept = Math.round(now * part);
    if (kept < KEPT_MIN && tried.length > 0) continue;
    const configuration = fewerFeatures(ground.configuration, Math.max(KEPT_MIN - 1, kept));
    tried.push({ kept, gain: await ground.gainOf({ configuration }) });
  }
  const { kept, gain } = tried.reduce((a, b) => (b.gain.z > a.gain.z ? b : a));
  const small = input.importance
    ? Array.from(input.importance).filter((s) => s < 0.2 / input.features.length).length
    : null;
  return {
    kind: "feature_noise",
    strength: correctedZ(gain.z, tried.length),
    potential: Math.max(0, gain.score_gain),
    text:
      `With ${kept} of ${now} features the model saves ${gain.gain.toFixed(4)} +- ` +
      `${gain.standard_error.toFixed(4)} of loss a row` +
      (small === null ? "." : `; ${small} features have next to no importance.`),
    evidence: {
      kept,
      features: now,
      unimportant: small,
      loss_gain: gain.gain,
      standard_error: gain.standard_error,
      score_gain: gain.score_gain,
    },
  };
}
