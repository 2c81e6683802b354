/**
 * feature_noise: does the model get better when it sees only its most important features (chosen
 * inside the folds)? The paper's "feature noise above 60 features hurts".
 */
import type { TabularConfiguration } from "../tabular/configuration.ts";
import type { Failure } from "../types.ts";
import type { AnalysisInput } from "./input.ts";
import type { LossGain } from "./loss-gain.ts";
import { fewerFeatures, linearTwin, type ProbeGround } from "./probes.ts";
import { correctedZ } from "./statistics.ts";

/** Columns below which there is nothing to choose from. */
const FEATURES_MIN = 8;
/** Parts of the features that the probes keep; the second where it leaves enough of them. */
const KEPT = [0.25, 0.06];
const KEPT_MIN = 3;

/** The models that are asked: the best one, and a linear one, which noise hurts most. */
function askedModels(ground: ProbeGround): TabularConfiguration[] {
  const own = ground.configuration;
  return own.members[0]!.learner === "logistic" ? [own] : [own, linearTwin(own)];
}

export async function findFeatureNoise(
  input: AnalysisInput,
  ground: ProbeGround,
): Promise<Failure | null> {
  const now = ground.configuration.members[0]!.features.top_k || input.features.length;
  if (now < FEATURES_MIN) return null;
  const tried: { learner: string; kept: number; gain: LossGain; ahead: LossGain }[] = [];
  for (const asked of askedModels(ground)) {
    const all = asked === ground.configuration ? ground.same : await ground.outputsOf(asked);
    for (const part of KEPT) {
      const kept = Math.max(KEPT_MIN - 1, Math.round(now * part));
      if (kept < KEPT_MIN && part !== KEPT[0]) continue;
      const some = await ground.outputsOf(fewerFeatures(asked, kept));
      const { learner } = asked.members[0]!;
      const gain = ground.compare(all, some);
      // Against the best model: what the strategy would start from.
      const ahead = asked === ground.configuration ? gain : ground.compare(ground.same, some);
      tried.push({ learner, kept, gain, ahead });
    }
  }
  const { learner, kept, gain, ahead } = tried.reduce((a, b) => (b.gain.z > a.gain.z ? b : a));
  const small = input.importance
    ? Array.from(input.importance).filter((s) => s < 0.2 / input.features.length).length
    : null;
  return {
    kind: "feature_noise",
    strength: correctedZ(gain.z, tried.length),
    potential: Math.max(0, ...tried.map((t) => t.ahead.score_gain)),
    text:
      `With ${kept} of ${now} features ${learner} saves ${gain.gain.toFixed(4)} +- ` +
      `${gain.standard_error.toFixed(4)} of loss a row` +
      (small === null ? "." : `; ${small} features have next to no importance.`),
    evidence: {
      learner,
      kept,
      features: now,
      ahead_of_best: ahead.score_gain,
      unimportant: small,
      loss_gain: gain.gain,
      standard_error: gain.standard_error,
      score_gain: gain.score_gain,
    },
  };
}
