/**
 * What serving may earn. A server can pay itself for answers that nobody asked for; the treasury's and
 * the burned share of the payment is all that it loses by that. So a token never mints more than this
 * loss: whoever only moves money in a circle gains nothing, whatever else is contributed in the epoch.
 */
import type { LedgerNode } from "./ledger-types.ts";
import { AXES, type AxisAmounts, scoreOf } from "./report.ts";
import { weightOf } from "./rewards.ts";

/** Base units of MAG that a counted token has cost at least: a millionth of a MAG. */
export const TOKEN_PRICE_LEAST = 10n ** 12n;
/** Treasury's and burned share of an answer's price, of the defaults. */
const LOST_BPS = 2000n;
const TOKEN_EARNS_MOST = (TOKEN_PRICE_LEAST * LOST_BPS) / 10_000n;
const SERVING = AXES.indexOf("serving");

/** What one node's verified facts are worth. */
export interface NodePoints {
  node: LedgerNode;
  points: AxisAmounts;
}

export interface PointTerms {
  pool: bigint;
  tier_rewards: readonly number[];
  axis_weights: readonly number[];
}

/**
 * The points of serving, all reduced by one factor f where a token of the best paid tier T would earn
 * more than c: pool w T f / (N + f W) = c, with N what all other axes weigh, and W what serving does.
 */
export function limitServing(list: readonly NodePoints[], terms: PointTerms): AxisAmounts[] {
  const { pool, tier_rewards, axis_weights } = terms;
  const axis_weight = BigInt(axis_weights[SERVING] ?? 0);
  const weigh = ({ tier }: LedgerNode, score: bigint) =>
    weightOf({ address: "0x", tier, score }, tier_rewards);
  let [serving, others, best] = [0n, 0n, 0n];
  for (const { node, points } of list) {
    serving += weigh(node, points.serving * axis_weight);
    others += weigh(node, scoreOf({ ...points, serving: 0n }, axis_weights));
    const factor = weigh(node, axis_weight);
    if (points.serving > 0n && factor > best) best = factor;
  }
  const top = pool * best;
  if (top <= TOKEN_EARNS_MOST * (others + serving)) return list.map(({ points }) => points);
  const least = top - TOKEN_EARNS_MOST * serving;
  return list.map(({ points }) => ({
    ...points,
    serving: (points.serving * TOKEN_EARNS_MOST * others) / least,
  }));
}
