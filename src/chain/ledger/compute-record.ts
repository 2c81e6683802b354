/**
 * From opened and verified reports to the epoch record: a pure function, so that every node that has
 * the same reports computes the same bytes. Nothing self-reported counts: of each axis the smaller of
 * claim and verification is taken, and what an earlier record paid is not paid again.
 */
import type { Hash } from "../../core/types.ts";
import { NO_ROOT } from "./digests.ts";
import {
  ACCOUNTS_MAX,
  ENTRIES_MAX,
  type EpochRecord,
  NO_RECORD,
  type RecordAccount,
  type RecordEntry,
  type SealedRecord,
  sealRecord,
} from "./epoch-record.ts";
import type { EpochView, LedgerNode, LedgerPlace, VerifiedReport } from "./ledger-types.ts";
import { type Evaluation, qualityPoints } from "./quality.ts";
import {
  AXES,
  type AxisAmounts,
  type ContributionReport,
  claimedAmounts,
  pointsOf,
  scoreOf,
} from "./report.ts";
import { divideRewards } from "./rewards.ts";
import { limitServing } from "./serving-limit.ts";

/** An opened commitment whose report is here and was checked. */
export interface Contribution {
  node: LedgerNode;
  result_hash: Hash;
  report: ContributionReport;
  verified: VerifiedReport;
}

/** The epoch's terms. */
export type Terms = Pick<EpochView, "epoch" | "pool" | "tier_rewards" | "axis_weights">;

/**
 * The record of an epoch on top of `base` (the last settled one), or null where nobody contributed:
 * then nothing is minted and nothing is settled.
 */
export function computeRecord(
  place: LedgerPlace,
  terms: Terms,
  base: SealedRecord | null,
  contributions: readonly Contribution[],
  limits: RecordLimits = { entries: ENTRIES_MAX, accounts: ACCOUNTS_MAX },
): SealedRecord | null {
  const evaluated = base?.record.evaluated_round ?? -1;
  const sharing = sharesOf(terms, base, contributions, limits);
  const shares = sharing.map(({ contribution: { node }, score }) => ({ ...node, score }));
  const rewards = divideRewards(terms.pool, shares, terms.tier_rewards);
  if (rewards.length === 0 || terms.pool === 0n) return null;
  const entries = sharing.map(({ contribution, points, score }, i): RecordEntry => {
    const { node, result_hash } = contribution;
    const { address, tier } = node;
    const list = AXES.map((axis) => points[axis]);
    return { address, tier, result_hash, points: list, score, reward: rewards[i]! };
  });
  const rounds = new Map(sharing.map((one) => [one.contribution.node.address, one.last_round]));
  const record: EpochRecord = {
    version: 1,
    chain_id: place.chain_id,
    contract: place.epochs,
    epoch: terms.epoch,
    previous: base?.outcome.data_hash ?? NO_RECORD,
    parent: base?.outcome.root ?? NO_ROOT,
    evaluated_round: highest(
      evaluated,
      sharing.flatMap((one) => newEvaluations(one.contribution, evaluated)),
    ),
    entries,
    accounts: grownAccounts(base?.record.accounts ?? [], entries, rounds),
  };
  return sealRecord(record);
}

/** What one record can hold; a longer one could be read by nobody. */
export interface RecordLimits {
  entries: number;
  accounts: number;
}

interface Sharer {
  contribution: Contribution;
  points: AxisAmounts;
  score: bigint;
  last_round: number;
}

/**
 * Who shares, by rising address. The result follows from the sharers' reports alone, so that it can be
 * computed again from those that a record names: whoever gets nothing has no say in the medians either.
 */
function sharesOf(
  terms: Terms,
  base: SealedRecord | null,
  contributions: readonly Contribution[],
  limits: RecordLimits,
): Sharer[] {
  const known = new Set(base?.record.accounts.map(({ address }) => address));
  let counted = contributions;
  for (;;) {
    const found = scored(terms, base, counted).filter(({ score }) => score > 0n);
    const sharing = withinLimits(found, known, limits);
    if (sharing.length === counted.length) {
      const addressOf = ({ contribution }: Sharer) => contribution.node.address;
      return sharing.sort((a, b) => (addressOf(a) < addressOf(b) ? -1 : 1));
    }
    counted = sharing.map(({ contribution }) => contribution);
  }
}

/** The highest scores, and of nodes that never earned as many as there is room for. */
function withinLimits(
  found: Sharer[],
  known: ReadonlySet<string>,
  { entries, accounts }: RecordLimits,
): Sharer[] {
  if (found.length <= Math.min(entries, accounts - known.size)) return found;
  const ranked = [...found].sort((a, b) => {
    if (a.score !== b.score) return a.score > b.score ? -1 : 1;
    return a.contribution.node.address < b.contribution.node.address ? -1 : 1;
  });
  let room = accounts - known.size;
  return ranked
    .filter(({ contribution }) => known.has(contribution.node.address) || room-- > 0)
    .slice(0, entries);
}

function scored(
  terms: Terms,
  base: SealedRecord | null,
  contributions: readonly Contribution[],
): Sharer[] {
  const paid = new Map(base?.record.accounts.map((account) => [account.address, account]));
  const evaluated = base?.record.evaluated_round ?? -1;
  const quality = qualityPoints(contributions.flatMap((one) => newEvaluations(one, evaluated)));
  const found = contributions.map((contribution) => {
    const { node } = contribution;
    const training = newTraining(contribution, paid.get(node.address)?.last_round ?? -1);
    const points_of_quality = quality.get(node.address) ?? 0n;
    const points = pointsOf(countedAmounts(contribution, training.amount, points_of_quality));
    return { contribution, node, points, last_round: training.last_round };
  });
  const limited = limitServing(found, terms);
  return found.map(({ contribution, last_round }, i) => {
    const points = limited[i]!;
    return { contribution, points, score: scoreOf(points, terms.axis_weights), last_round };
  });
}

const highest = (start: number, list: readonly { round: number }[]): number =>
  list.reduce((max, { round }) => Math.max(max, round), start);

/** Evaluations that the report claims, that hold, and that no earlier record paid. */
function newEvaluations(contribution: Contribution, evaluated: number): Evaluation[] {
  const { node, report, verified } = contribution;
  const key = (e: { round: number; state_hash: string; loss_micronats: number }) =>
    `${e.round}/${e.state_hash}/${e.loss_micronats}`;
  const claimed = new Set(report.facts.model_quality.map(key));
  return verified.evaluations
    .filter((evaluation) => evaluation.round > evaluated && claimed.has(key(evaluation)))
    .map((evaluation) => ({ ...evaluation, address: node.address, bond: node.bond }));
}

/** Accepted rounds above the last paid one. */
function newTraining(
  { report, verified }: Contribution,
  after_round: number,
): { amount: bigint; last_round: number } {
  const claimed = new Set(report.facts.training_compute.map(({ round }) => round));
  const fresh = verified.rounds.filter(({ round }) => round > after_round && claimed.has(round));
  return {
    amount: fresh.reduce((sum, { amount }) => sum + amount, 0n),
    last_round: highest(after_round, fresh),
  };
}

function countedAmounts(
  { report, verified }: Contribution,
  training_compute: bigint,
  model_quality: bigint,
): AxisAmounts {
  const claimed = claimedAmounts(report.facts);
  const { data_quality, storage, serving } = verified;
  const found: AxisAmounts = { data_quality, training_compute, model_quality, storage, serving };
  for (const axis of AXES) if (found[axis] > claimed[axis]) found[axis] = claimed[axis];
  return found;
}

/** Everybody who earned before, and whoever earns now. */
function grownAccounts(
  before: readonly RecordAccount[],
  entries: readonly RecordEntry[],
  rounds: ReadonlyMap<string, number>,
): RecordAccount[] {
  const accounts = new Map(before.map((account) => [account.address, account]));
  for (const { address, reward } of entries) {
    const old = accounts.get(address);
    const cumulative = (old?.cumulative ?? 0n) + reward;
    if (cumulative > 0n)
      accounts.set(address, { address, cumulative, last_round: rounds.get(address) ?? -1 });
  }
  return [...accounts.values()].sort((a, b) => (a.address < b.address ? -1 : 1));
}
