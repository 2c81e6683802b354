/**
 * disagreement: do learners of other families know what the best one does not? An even blend of
 * the best model with the best trial of each other family, judged by its loss; needs such trials
 * to have been run, and no fit of its own.
 */
import type { TabularConfiguration } from "../tabular/configuration.ts";
import type { Failure } from "../types.ts";
import { type AnalysisInput, argmaxRows, type Rival } from "./input.ts";
import { RIVALS_MAX } from "./limits.ts";
import { type LossGain, lossGain } from "./loss-gain.ts";
import { recalibrated } from "./recalibrate.ts";
import { correctedZ } from "./statistics.ts";

/** The learners of a configuration, sorted: trials with equal ones are of one family. */
export const familyOf = (configuration: TabularConfiguration): string =>
  [...new Set(configuration.members.map((m) => m.learner))].sort().join("+");

/** The best rival of each other family of one learner, best first. */
function rivalsOf(input: AnalysisInput): Rival[] {
  const own = new Set(input.configuration.members.map((m) => m.learner));
  const best = new Map<string, Rival>();
  for (const rival of input.rivals) {
    const family = familyOf(rival.configuration);
    if (family.includes("+") || own.has(rival.configuration.members[0]!.learner)) continue;
    if (rival.score > (best.get(family)?.score ?? Number.NEGATIVE_INFINITY)) {
      best.set(family, rival);
    }
  }
  return [...best.values()].sort((a, b) => b.score - a.score).slice(0, RIVALS_MAX);
}

export function findDisagreement(input: AnalysisInput): Failure | null {
  const rivals = rivalsOf(input);
  if (rivals.length === 0) return null;
  const classes = input.classes.length;
  const own = recalibrated(input.outputs, input.label, classes);
  const decided = argmaxRows(own, classes);
  let best: { rival: Rival; gain: LossGain; differ: number } | null = null;
  for (const rival of rivals) {
    const other = recalibrated(rival.outputs, input.label, classes);
    const blend = own.map((p, k) => (p + other[k]!) / 2);
    const gain = lossGain(input, input.label, own, blend);
    const theirs = argmaxRows(other, classes);
    const differ = decided.reduce((n, c, i) => n + (c === theirs[i] ? 0 : 1), 0) / input.rows;
    if (!best || gain.z > best.gain.z) best = { rival, gain, differ };
  }
  const { rival, gain, differ } = best!;
  const family = familyOf(rival.configuration);
  return {
    kind: "disagreement",
    strength: correctedZ(gain.z, rivals.length),
    potential: Math.max(0, gain.score_gain),
    text:
      `${family} decides otherwise in ${(100 * differ).toFixed(1)}% of the rows, and an even blend ` +
      `with it saves ${gain.gain.toFixed(4)} +- ${gain.standard_error.toFixed(4)} of loss a row.`,
    evidence: {
      family,
      differ,
      loss_gain: gain.gain,
      standard_error: gain.standard_error,
      score_gain: gain.score_gain,
      looks: rivals.length,
    },
  };
}
