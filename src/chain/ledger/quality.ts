/**
 * Model quality (paper 13.1): what the evaluators of a promoted state earn. Consensus is the
 * bond-weighted median of their losses; who lies further from it than the clip gets nothing. The points
 * of a state are divided by bond, so an evaluator that splits into several gains nothing.
 */
import type { Hash } from "../../core/types.ts";
import type { Address } from "./ledger-types.ts";
import { EVALUATION_POINTS } from "./report.ts";

/** One node's loss of a state that was promoted in `round`. */
export interface Evaluation {
  address: Address;
  bond: bigint;
  round: number;
  state_hash: Hash;
  loss_micronats: number;
}

/** Evaluations within this share of the median count: summation order differs between machines. */
const CLIP_PER_THOUSAND = 20n;
/** Losses near zero are compared absolutely: 1000 micronats. */
const CLIP_LEAST = 1000n;

/** The least value at which half of the bond is reached. */
export function weightedMedian(values: readonly { value: bigint; weight: bigint }[]): bigint {
  const sorted = [...values].sort((a, b) => (a.value < b.value ? -1 : a.value > b.value ? 1 : 0));
  const total = sorted.reduce((sum, { weight }) => sum + weight, 0n);
  let reached = 0n;
  for (const { value, weight } of sorted) {
    reached += weight;
    if (2n * reached >= total) return value;
  }
  return 0n;
}

/** Points of model quality per address. Evaluations of one node for one state count once. */
export function qualityPoints(evaluations: readonly Evaluation[]): Map<Address, bigint> {
  const states = new Map<string, Map<Address, Evaluation>>();
  for (const evaluation of evaluations) {
    const state = `${evaluation.round}/${evaluation.state_hash}`;
    const group = states.get(state) ?? new Map<Address, Evaluation>();
    states.set(state, group.set(evaluation.address, evaluation));
  }
  const points = new Map<Address, bigint>();
  for (const group of states.values()) {
    const inside = withinClip([...group.values()]);
    const bonds = inside.reduce((sum, { bond }) => sum + bond, 0n);
    if (bonds === 0n) continue;
    for (const { address, bond } of inside)
      points.set(address, (points.get(address) ?? 0n) + (EVALUATION_POINTS * bond) / bonds);
  }
  return points;
}

function withinClip(group: readonly Evaluation[]): Evaluation[] {
  const losses = group.map((e) => ({ value: BigInt(e.loss_micronats), weight: e.bond }));
  const median = weightedMedian(losses);
  const share = (median * CLIP_PER_THOUSAND) / 1000n;
  const clip = share > CLIP_LEAST ? share : CLIP_LEAST;
  return group.filter(({ loss_micronats }) => {
    const distance = BigInt(loss_micronats) - median;
    return (distance < 0n ? -distance : distance) <= clip;
  });
}
