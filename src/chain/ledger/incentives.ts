/**
 * The incentive inequality (Eq. 6, paper 13.3): `s B + gamma R / (1 - gamma) > G`. For every offence and
 * tier: what a cheater loses, at once and in the future, against the most it can gain. What is not in
 * the ledger's parameters is an assumption, and every one of them is returned with the result.
 */
import { TIERS, type Tier } from "../../core/tiers.ts";
import type { Values } from "../default-values.ts";
import { OFFENCES, type Offence } from "./ledger-types.ts";

export interface Assumptions {
  /** Active nodes, the five tiers in equal parts, all with the same score. */
  nodes: number;
  notaries: number;
  /** gamma: how much a reward of the next epoch is worth now. */
  discount: number;
  /** Share of offences that are found out. */
  detected: number;
  /** Epochs of pool that lie unclaimed; nodes claim every final root by themselves. */
  unclaimed_epochs: number;
}

export const DEFAULT_ASSUMPTIONS: Assumptions = {
  nodes: 16,
  notaries: 16,
  discount: 0.99,
  detected: 1,
  unclaimed_epochs: 0,
};

/** One offence at one tier; amounts in MAG, as numbers: they are estimates. */
export interface Incentive {
  offence: Offence;
  tier: Tier;
  /** s, B and their product. */
  slash_share: number;
  bond: number;
  slashed: number;
  /** R: an honest node's reward in an epoch. */
  reward: number;
  /** Rewards lost later. */
  future: number;
  /** G, and what it is made of. */
  gain: number;
  why: string;
  /** slashed + future - gain, with the chance of being found out. */
  margin: number;
  holds: boolean;
}

const mag = (amount: bigint): number => Number(amount) / 1e18;

interface Situation {
  values: Values;
  assumptions: Assumptions;
  reward: (tier: Tier) => number;
}

/** The most that the offence can bring, and why it is no more. */
function gainOf(offence: Offence, tier: Tier, { values, assumptions, reward }: Situation) {
  const pool = mag(values.epochPool);
  const conspirators = Math.floor((assumptions.notaries - 1) / 3) + 1;
  const loot = (pool * (1 + assumptions.unclaimed_epochs)) / conspirators;
  switch (offence) {
    case "no_reveal":
      return { gain: reward(tier), why: "the work of one epoch saved" };
    case "mismatch":
      return { gain: reward(tier), why: "one epoch's reward for a result made up or copied" };
    case "false_tier": {
      const least = Math.min(...TIERS.map(reward));
      return { gain: reward(tier) - least, why: "the reward of this tier with the least machine" };
    }
    case "bad_data": {
      const fee = (mag(values.dataFee) * values.splits[0].provider) / 10_000;
      return { gain: reward(tier) + fee, why: "one epoch's reward and the returned fee" };
    }
    case "bad_root":
    case "fraudulent_approval":
      return { gain: loot, why: `the pool and what is unclaimed, among ${conspirators} signers` };
  }
}

/** Bond at stake: proposers and approvers have a notary's besides. */
function stakeOf(offence: Offence, tier: Tier, { values }: Situation): number {
  const bond = mag(values.tierBonds[TIERS.indexOf(tier)]!);
  const is_notary = offence === "bad_root" || offence === "fraudulent_approval";
  return is_notary ? bond + mag(values.notaryBond) : bond;
}

/**
 * Every offence at every tier. Who is slashed for the whole bond is banned and loses all later rewards;
 * who is slashed for less is inactive until the bond is full again: one epoch is counted.
 */
export function incentives(values: Values, assumptions: Assumptions): Incentive[] {
  const mean = values.tierRewards.reduce((sum, t) => sum + t, 0) / TIERS.length;
  const reward = (tier: Tier) =>
    (mag(values.epochPool) * values.tierRewards[TIERS.indexOf(tier)]!) / (assumptions.nodes * mean);
  const situation: Situation = { values, assumptions, reward };
  const { discount, detected } = assumptions;
  return OFFENCES.flatMap((offence, i) =>
    TIERS.map((tier): Incentive => {
      const slash_share = values.slashBps[i]! / 10_000;
      const bond = stakeOf(offence, tier, situation);
      const slashed = slash_share * bond;
      const epochs = slash_share >= 1 ? discount / (1 - discount) : discount;
      const future = epochs * reward(tier);
      const { gain, why } = gainOf(offence, tier, situation);
      const margin = detected * (slashed + future) - gain;
      const fixed = { offence, tier, slash_share, bond, slashed, reward: reward(tier) };
      return { ...fixed, future, gain, why, margin, holds: margin > 0 };
    }),
  );
}

/** Per offence the tier for which cheating is least deterred, relative to its gain. */
export const weakest = (list: readonly Incentive[]): Incentive[] =>
  OFFENCES.map((offence) =>
    list
      .filter((one) => one.offence === offence)
      .reduce((worst, one) =>
        one.margin / Math.max(one.gain, 1e-9) < worst.margin / Math.max(worst.gain, 1e-9)
          ? one
          : worst,
      ),
  );
