/**
 * Eq. 5 (paper 13.2): R_i = R_pool T_i C_i / sum T_j C_j, in integers. Invariants: the rewards sum to
 * the pool exactly, whatever the number of nodes; splitting one identity into k of the same tier gains
 * less than k base units.
 */
import { TIERS, type Tier } from "../../core/tiers.ts";
import type { Address } from "./ledger-types.ts";

/** Who shares in the pool, with what. */
export interface Share {
  address: Address;
  tier: Tier;
  /** C_i: not negative. */
  score: bigint;
}

/** T_i C_i; T_i in thousandths, by tier in the order of TIERS. */
export const weightOf = ({ tier, score }: Share, tier_rewards: readonly number[]): bigint =>
  BigInt(tier_rewards[TIERS.indexOf(tier)] ?? 0) * score;

/**
 * The rewards, in the order of `shares` (each address once). What rounding down leaves goes, one base
 * unit each, to the largest remainders; of equal remainders the lower address is first. Empty where
 * nobody has contributed: then nothing is minted.
 */
export function divideRewards(
  pool: bigint,
  shares: readonly Share[],
  tier_rewards: readonly number[],
): bigint[] {
  const weights = shares.map((share) => weightOf(share, tier_rewards));
  const sum = weights.reduce((total, weight) => total + weight, 0n);
  if (sum === 0n) return [];
  const rewards = weights.map((weight) => (pool * weight) / sum);
  const remainders = weights.map((weight) => (pool * weight) % sum);
  const left = Number(pool - rewards.reduce((total, reward) => total + reward, 0n));
  const order = shares.map((_, i) => i);
  order.sort((i, j) => {
    if (remainders[i] !== remainders[j]) return remainders[i]! > remainders[j]! ? -1 : 1;
    return shares[i]!.address < shares[j]!.address ? -1 : 1;
  });
  for (const i of order.slice(0, left)) rewards[i] = rewards[i]! + 1n;
  return rewards;
}
