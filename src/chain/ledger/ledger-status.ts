/** What `chain status` and `chain epoch` print, read off the machine; it decides nothing. */
import type { Claimer } from "./claimer.ts";
import type { EpochState } from "./epoch-state.ts";
import type { Gatherer } from "./gatherer.ts";
import type { EpochStatus, LedgerStatus } from "./ledger-types.ts";
import type { MachineParts } from "./machine-parts.ts";
import type { Settler } from "./settler.ts";
import type { Voter } from "./voter.ts";

export function statusOf(
  parts: MachineParts,
  gatherer: Gatherer,
  settler: Settler,
  voter: Voter,
  claimer: Claimer,
): LedgerStatus {
  const { up, block, time_s, account } = parts;
  const reason = up ? "" : `the chain does not answer: ${parts.down_reason}`;
  return {
    chain: { up, reason, block, timestamp_s: time_s },
    epoch: parts.epoch,
    address: parts.address,
    active: account?.active ?? false,
    claimed: (account?.claimed ?? 0n).toString(),
    claimable: claimer.claimable()?.toString() ?? null,
    epochs: parts.sorted().map((state) => epochStatus(parts, state, gatherer, settler)),
    disputes: [...parts.disputes.values()].map(({ id, offence, phase, accused }) => ({
      ...{ id, offence, phase, accused },
      reason: voter.reason(id),
    })),
  };
}

function epochStatus(
  parts: MachineParts,
  state: EpochState,
  gatherer: Gatherer,
  settler: Settler,
): EpochStatus {
  const { view, own, record } = state;
  const opened = gatherer.opened(state);
  const settled = view?.settlement && parts.records.get(view.settlement.data_hash);
  const shown = settled ?? record;
  const entry = shown?.record.entries.find((one) => one.address === parts.address);
  const is_own = (one: { node: string }) => one.node === parts.address;
  return {
    epoch: state.epoch,
    phase: state.phase,
    reason: parts.up || state.phase === "final" ? state.reason : `${state.reason} (no chain)`,
    hint: state.hint,
    own: {
      commitment: own?.commitment ?? null,
      committed: view?.commits.some(is_own) || state.gossip_commits.has(parts.address),
      revealed: opened.some((one) => is_own({ node: one.node.address })),
      score: own?.score.toString() ?? null,
      reward: entry?.reward.toString() ?? null,
    },
    proposer: view?.proposer ?? null,
    reports: {
      revealed: opened.length,
      here: opened.filter((one) => state.reports.has(one.result_hash)).length,
      verified: opened.filter((one) => gatherer.isSettled(state, one.result_hash)).length,
    },
    signatures: {
      have: record ? settler.signaturesFor(state, record.outcome).length : 0,
      needed: view?.signatures_needed ?? 0,
    },
    record_hash: shown?.outcome.data_hash ?? null,
    root: shown?.outcome.root ?? null,
  };
}
