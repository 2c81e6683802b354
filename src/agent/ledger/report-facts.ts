/**
 * What this node puts into its contribution report (paper 13.1): references to facts that every
 * other node can check. An axis that nobody can check yet stays empty and counts 0.
 */
import type {
  Address,
  EpochView,
  LedgerNode,
  LedgerPlace,
} from "../../chain/ledger/ledger-types.ts";
import {
  type ContributionFacts,
  EMPTY_FACTS,
  fittingFacts,
  isReportable,
} from "../../chain/ledger/report.ts";
import type { PublicKey } from "../../core/types.ts";
import type { TrainingFacts } from "../training-audits/training-evidence.ts";
import type { AuditBook } from "./audit-book.ts";
import { type AuditReceipt, auditorsOf, nodeIdHash } from "./audit-receipts.ts";
import type { FactGatherer } from "./fact-gatherer.ts";
import type { ServingFacts } from "./serving-facts.ts";

/** As many as a report holds; the newest are kept for the next one. */
const ROUNDS_MAX = 256;
const EVALUATIONS_MAX = 64;
const PROOFS_MAX = 256;

export const MICRONATS = 1e6;

export interface FactContext {
  place: LedgerPlace;
  self: { public_key: PublicKey; address: Address };
  gatherer: FactGatherer;
  book: AuditBook;
  /** Own audits of training. */
  training: TrainingFacts | null;
  serving: ServingFacts;
  /** Of the newest view. */
  nodeOf(address: Address): LedgerNode | undefined;
}

/** Rounds above `after_round` into which this node's pseudo-gradient was merged, oldest first. */
function trainedRounds({ gatherer, self }: FactContext, after_round: number) {
  const found: ContributionFacts["training_compute"] = [];
  for (const round of gatherer.facts.roundsAfter(after_round)) {
    if (found.length === ROUNDS_MAX) break;
    const certified = gatherer.archive.certified(round);
    if (!certified?.contributors.includes(self.public_key)) continue;
    const { merge_hash, inner_steps, param_count } = certified;
    found.push({ round, merge_hash, inner_steps, parameters: param_count });
  }
  return found;
}

/**
 * Own evaluations of the newest promoted states: older ones have been paid, or came too late. A round
 * that this node cannot prove is not named: if nobody can, the whole report is worth nothing.
 */
function evaluations({ gatherer }: FactContext): ContributionFacts["model_quality"] {
  return gatherer.facts
    .evaluationsAfter(-1)
    .map(({ loss, ...one }) => ({ ...one, loss_micronats: Math.round(loss * MICRONATS) }))
    .filter(({ loss_micronats }) => isReportable(loss_micronats))
    .slice(-EVALUATIONS_MAX)
    .filter(({ round, state_hash }) => gatherer.archive.certified(round)?.state_hash === state_hash)
    .map(({ round, state_hash, loss_micronats }) => ({ round, state_hash, loss_micronats }));
}

/** For each shard the receipt that stands for most, of those who may audit this node. */
function storageProofs(context: FactContext, view: EpochView): ContributionFacts["storage"] {
  const { place, self, book } = context;
  const allowed = allowedAuditors(place, view, self.address);
  const best = new Map<string, AuditReceipt>();
  for (const receipt of book.receiptsOf(view.epoch)) {
    const shard = `${receipt.object}/${receipt.shard_index}`;
    if (allowed.has(nodeIdHash(receipt.auditor)) && !best.has(shard)) best.set(shard, receipt);
  }
  return [...best.values()]
    .slice(0, PROOFS_MAX)
    .map(({ auditor, object, shard_index, size_bytes, held_s, signature }) => ({
      auditor,
      object,
      shard_index,
      size_bytes,
      held_s,
      signature,
    }));
}

/** Node ids of the auditors drawn for a holder. */
export function allowedAuditors(
  place: LedgerPlace,
  view: Pick<EpochView, "epoch" | "nodes">,
  holder: Address,
): Set<string> {
  const drawn = new Set(auditorsOf(place, view.epoch, holder, view.nodes));
  return new Set(
    view.nodes.filter(({ address }) => drawn.has(address)).map(({ node_id }) => node_id),
  );
}

/** Throws what the chain throws: receipts are looked up there. */
export async function gatherFacts(
  context: FactContext,
  view: EpochView,
  after_round: number,
): Promise<ContributionFacts> {
  return fittingFacts({
    ...EMPTY_FACTS,
    training_compute: trainedRounds(context, after_round),
    model_quality: evaluations(context),
    storage: storageProofs(context, view),
    serving: await context.serving.gather(context.self.address, view),
  });
}
