/**
 * A second computation of an epoch's rewards and root, written from the paper and the contracts' own
 * descriptions without the shipped code: exact fractions instead of remainders, viem's encoder and
 * Keccak, a tree built level by level. Slow on purpose.
 */
import { concat, encodeAbiParameters, type Hex, keccak256 } from "viem";

export interface Sharer {
  address: Hex;
  /** T_i in thousandths. */
  tier_reward: bigint;
  /** Verified amounts: data quality, training compute, model quality, storage, serving. */
  amounts: [bigint, bigint, bigint, bigint, bigint];
}

/** Points are amounts in these units, see the glossary of axes. */
const UNITS = [10n, 10n ** 6n, 1n, 2n ** 20n * 3600n, 1n];

interface Fraction {
  top: bigint;
  bottom: bigint;
}
const fraction = (top: bigint, bottom: bigint): Fraction => ({ top, bottom });
const whole = ({ top, bottom }: Fraction): bigint => top / bottom;
const minus = (a: Fraction, b: bigint): Fraction => fraction(a.top - b * a.bottom, a.bottom);
const compare = (a: Fraction, b: Fraction): number => {
  const difference = a.top * b.bottom - b.top * a.bottom;
  return difference > 0n ? 1 : difference < 0n ? -1 : 0;
};

/** A token may earn a fifth of a millionth of a MAG. */
const TOKEN_EARNS = 10n ** 18n / 10n ** 6n / 5n;

/**
 * The share of all served tokens that counts: 1, or less where a token of the tier that is paid best
 * would earn too much.
 */
function servingShare(
  pool: bigint,
  weights: readonly number[],
  sharers: readonly Sharer[],
): Fraction {
  const by_serving = BigInt(weights[4]!);
  let all = 0n;
  let other = 0n;
  let dearest = 0n;
  for (const { tier_reward, amounts } of sharers) {
    for (let axis = 0; axis < 4; axis++)
      other += tier_reward * BigInt(weights[axis]!) * (amounts[axis]! / UNITS[axis]!);
    all += tier_reward * by_serving * amounts[4];
    if (amounts[4] > 0n && tier_reward > dearest) dearest = tier_reward;
  }
  const of_token = fraction(pool * by_serving * dearest, all + other);
  if (of_token.top <= TOKEN_EARNS * of_token.bottom) return fraction(1n, 1n);
  return fraction(TOKEN_EARNS * other, of_token.top - TOKEN_EARNS * all);
}

/** R_i by address: each as an exact fraction first, then whole units are handed out one by one. */
export function secondRewards(
  pool: bigint,
  weights: readonly number[],
  sharers: readonly Sharer[],
): Map<Hex, bigint> {
  const effort = new Map<Hex, bigint>();
  const { top, bottom } = servingShare(pool, weights, sharers);
  for (const { address, tier_reward, amounts } of sharers) {
    let score = BigInt(weights[4]!) * whole(fraction(amounts[4] * top, bottom));
    for (let axis = 0; axis < 4; axis++)
      score += BigInt(weights[axis]!) * whole(fraction(amounts[axis]!, UNITS[axis]!));
    effort.set(address, tier_reward * score);
  }
  const total = [...effort.values()].reduce((a, b) => a + b, 0n);
  const rewards = new Map<Hex, bigint>();
  if (total === 0n) return rewards;
  const owed = new Map<Hex, Fraction>();
  for (const [address, share] of effort) {
    const exact = fraction(pool * share, total);
    rewards.set(address, whole(exact));
    owed.set(address, minus(exact, whole(exact)));
  }
  let rest = pool - [...rewards.values()].reduce((a, b) => a + b, 0n);
  while (rest-- > 0n) {
    let best: Hex | undefined;
    for (const [address, open] of owed) {
      const order = best === undefined ? 1 : compare(open, owed.get(best)!);
      if (order > 0 || (order === 0 && BigInt(address) < BigInt(best!))) best = address;
    }
    rewards.set(best!, rewards.get(best!)! + 1n);
    owed.delete(best!);
  }
  return rewards;
}

/** Root over cumulative balances, level by level. */
export function secondRoot(balances: ReadonlyMap<Hex, bigint>): Hex {
  const leaves = [...balances].map(([address, amount]) => {
    const encoded = encodeAbiParameters(
      [{ type: "address" }, { type: "uint256" }],
      [address, amount],
    );
    return keccak256(keccak256(encoded));
  });
  // A complete binary tree whose last leaves, the lowest hashes, lie deepest: first bring the number
  // of nodes down to a power of two, then halve.
  let level = leaves.sort().reverse();
  let width = 1;
  while (2 * width <= level.length) width *= 2;
  const join = (a: Hex, b: Hex) => keccak256(a < b ? concat([a, b]) : concat([b, a]));
  const deep = 2 * (level.length - width);
  const shallow = level.slice(0, level.length - deep);
  const joined: Hex[] = [];
  for (let i = level.length - deep; i < level.length; i += 2)
    joined.push(join(level[i]!, level[i + 1]!));
  level = [...joined, ...shallow];
  // Nodes of one level stand in the order of the heap: those that came from below are first on theirs.
  while (level.length > 1) {
    const next: Hex[] = [];
    for (let i = 0; i < level.length; i += 2) next.push(join(level[i]!, level[i + 1]!));
    level = next;
  }
  return level[0]!;
}
