/** What the control interface shows of the ledger's side of a node: states, reasons, records. */
import { parseRecord } from "../../chain/ledger/epoch-record.ts";
import type { EpochView, LedgerStatus } from "../../chain/ledger/ledger-types.ts";
import { AXES } from "../../chain/ledger/report.ts";
import { MagnetError } from "../../core/errors.ts";
import type { Hash } from "../../core/types.ts";
import type { LedgerPart } from "./ledger-part.ts";

/** Audits looked at for the figures: an hour and more of the defaults. */
const AUDITS_SHOWN = 256;

/** Longest wait for the chain's newest word before what is known is shown. */
const LOOK_MS = 1500;

/** Asks the chain now, so that nobody reads what was true a few seconds ago. */
const freshLook = (part: LedgerPart): Promise<void> =>
  Promise.race([part.follower.look(), Bun.sleep(LOOK_MS)]);

/** `magnet chain status`. */
export async function describeLedger(part: LedgerPart): Promise<object> {
  await freshLook(part);
  const status: LedgerStatus = part.machine.view();
  const { queued, sent, unconfirmed, blocked, rpc } = part.queue.status();
  const audits = part.gatherer.facts.auditsAfter(0).slice(-AUDITS_SHOWN);
  return {
    ...status,
    rpc: { address: part.ledger.rpc.name, ...rpc },
    stake: part.stake.status,
    transactions: {
      ...{ queued, sent, unconfirmed, blocked },
      recent: part.queue.recent(8).map(({ key, what, state, reason, tx_hash }) => ({
        ...{ key, what, state, reason, tx_hash },
      })),
    },
    facts: {
      rounds: part.gatherer.facts.roundsAfter(-1).length,
      evaluations: part.gatherer.facts.evaluationsAfter(-1).length,
      audits: audits.length,
      audits_failed: audits.filter(({ passed }) => !passed).length,
    },
  };
}

const settlementOf = ({ settlement }: EpochView) =>
  settlement && { ...settlement, total: settlement.total.toString() };

/** `magnet chain epoch N`: what the chain and this node know of it. Throws NOT_FOUND. */
export async function describeEpoch(part: LedgerPart, wanted: number | null): Promise<object> {
  await freshLook(part);
  const { views } = part.follower;
  const epoch = wanted ?? newestSettled(views) ?? [...views.keys()].at(-1);
  const view = epoch === undefined ? undefined : views.get(epoch);
  if (epoch === undefined || !view)
    throw new MagnetError("NOT_FOUND", `epoch ${wanted ?? ""} is not known here`, {
      hint: "magnet chain status lists the epochs that this node follows",
    });
  const state = part.machine.view().epochs.find((one) => one.epoch === epoch);
  const data_hash = view.settlement?.data_hash ?? state?.record_hash ?? null;
  return {
    epoch,
    phase: state?.phase ?? "unknown",
    reason: state?.reason ?? "this node was not there",
    hint: state?.hint ?? "",
    windows: view.windows,
    pool: view.pool.toString(),
    proposer: view.proposer,
    commits: view.commits,
    reveals: view.reveals.map((reveal) => ({ ...reveal, score: reveal.score.toString() })),
    signatures: state?.signatures ?? { have: 0, needed: view.signatures_needed },
    settlement: settlementOf(view),
    record: data_hash === null ? null : await describeRecord(part, data_hash),
  };
}

const newestSettled = (views: ReadonlyMap<number, EpochView>): number | undefined =>
  [...views.values()].findLast(({ settlement }) => settlement && !settlement.rejected)?.epoch;

/** Null for a record that is not on this disk. */
async function describeRecord(part: LedgerPart, data_hash: Hash): Promise<object | null> {
  if (!part.records.hashes().includes(data_hash)) return null;
  const sealed = parseRecord(await part.records.fetch(data_hash, []));
  if (!sealed) return null;
  const { entries, accounts, previous } = sealed.record;
  return {
    data_hash,
    previous,
    root: sealed.outcome.root,
    entries: entries.map(({ address, tier, points, score, reward, result_hash }) => ({
      address,
      tier,
      result_hash,
      points: Object.fromEntries(AXES.map((axis, i) => [axis, points[i]!.toString()])),
      score: score.toString(),
      reward: reward.toString(),
    })),
    accounts: accounts.map(({ address, cumulative, last_round }) => ({
      ...{ address, cumulative: cumulative.toString(), last_round },
    })),
  };
}
