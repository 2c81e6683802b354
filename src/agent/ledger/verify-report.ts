/**
 * Checks another node's contribution report against what this node can prove by itself: round
 * proofs, signatures of drawn auditors. A pure function of the report, the epoch's view and proofs
 * that anybody can fetch, so that all nodes find the same. What does not hold is left out, without a
 * word: nothing is paid for it. A report that names a round which was never certified is worth nothing.
 */
import type {
  Address,
  EpochView,
  LedgerPlace,
  VerifiedReport,
} from "../../chain/ledger/ledger-types.ts";
import { type ContributionReport, trainingAmount } from "../../chain/ledger/report.ts";
import { MagnetError } from "../../core/errors.ts";
import type { Hash } from "../../core/types.ts";
import type { ErasureCode } from "../../native/codec.ts";
import type { Verifier } from "../../network/signer.ts";
import { stateShardBytes } from "./audit-duty.ts";
import { auditReceiptHolds, nodeIdHash, objectName } from "./audit-receipts.ts";
import { allowedAuditors } from "./report-facts.ts";
import type { CertifiedRound } from "./round-proof.ts";
import type { ServingFacts } from "./serving-facts.ts";

/** Checkpoints that the network stores at one time; see checkpoint-keeper.ts. */
const CHECKPOINTS_STORED = 3;

export interface VerifyContext {
  place: LedgerPlace;
  code: ErasureCode;
  verifier: Verifier;
  /** Of the benchmark's held-out set; null: every job's own counts. */
  benchmark: Hash | null;
  serving: ServingFacts;
  /** Null: nobody has a proof; undefined: not known yet. */
  findRound(round: number): Promise<CertifiedRound | null | undefined>;
}

/** Throws FACTS_MISSING (retryable) where a proof may still come. */
export async function verifyReport(
  context: VerifyContext,
  view: EpochView,
  node: Address,
  report: ContributionReport,
): Promise<VerifiedReport> {
  const own = view.nodes.find(({ address }) => address === node);
  const nothing = { rounds: [], evaluations: [], data_quality: 0n, storage: 0n, serving: 0n };
  if (!own) return nothing;
  // A node names only what it can prove. Were the rest of such a report paid, looking in vain for
  // hundreds of rounds at every peer would cost its sender nothing.
  const findRound = async (round: number) => {
    const found = await context.findRound(round);
    if (found === null) throw new Unproven();
    return found;
  };
  const strict = { ...context, findRound };
  try {
    return {
      ...nothing,
      rounds: await verifiedRounds(strict, report, own.node_id),
      evaluations: await verifiedEvaluations(strict, report),
      storage: await verifiedStorage(strict, view, node, report),
      serving: await context.serving.verify(node, view, report.facts.serving),
    };
  } catch (error) {
    if (error instanceof Unproven) return { ...nothing, is_unproven: true };
    throw error;
  }
}

/** The report names a round of which nobody has a proof. */
class Unproven extends Error {}

async function roundOf(
  { findRound }: VerifyContext,
  round: number,
): Promise<CertifiedRound | null> {
  const found = await findRound(round);
  if (found !== undefined) return found;
  throw new MagnetError("FACTS_MISSING", `the proof of round ${round} is not here yet`, {
    hint: "it is asked for again",
    retryable: true,
  });
}

/** Rounds whose certified plan names the node, worth what the announcement and the job say. */
async function verifiedRounds(
  context: VerifyContext,
  { facts }: ContributionReport,
  node_id: Hash,
): Promise<{ round: number; amount: bigint }[]> {
  const verified: { round: number; amount: bigint }[] = [];
  for (const claim of facts.training_compute) {
    const certified = await roundOf(context, claim.round);
    if (certified?.merge_hash !== claim.merge_hash) continue;
    if (!certified.contributors.some((key) => nodeIdHash(key) === node_id)) continue;
    const { inner_steps, param_count: parameters } = certified;
    verified.push({ round: claim.round, amount: trainingAmount({ inner_steps, parameters }) });
  }
  return verified;
}

/** Of states that were promoted in fact, on the benchmark's data where one is set. */
async function verifiedEvaluations(context: VerifyContext, { facts }: ContributionReport) {
  const verified: VerifiedReport["evaluations"][number][] = [];
  for (const claim of facts.model_quality) {
    const certified = await roundOf(context, claim.round);
    if (certified?.state_hash !== claim.state_hash) continue;
    const { benchmark } = context;
    if (benchmark !== null && certified.heldout_hash !== benchmark) continue;
    verified.push(claim);
  }
  return verified;
}

/**
 * Byte-seconds under signatures of the auditors that were drawn for the node. Drawn friends gain
 * little: shards are those of promoted states, no longer than the epoch, and no more of them than the
 * network keeps at one time.
 */
async function verifiedStorage(
  context: VerifyContext,
  view: EpochView,
  node: Address,
  { facts }: ContributionReport,
): Promise<bigint> {
  const { place, code, verifier } = context;
  const allowed = allowedAuditors(place, view, node);
  const shards = code.data_shards + code.parity_shards;
  let sum = 0n;
  let largest = 0;
  for (const proof of facts.storage) {
    const { object, shard_index, size_bytes, held_s, auditor } = proof;
    if (held_s > place.epoch_seconds || shard_index >= shards) continue;
    if (!allowed.has(nodeIdHash(auditor))) continue;
    const receipt = { ...proof, epoch: view.epoch, holder: node };
    if (!auditReceiptHolds(place, receipt, verifier)) continue;
    const round = Number(object.split("/")[0]);
    const certified = Number.isSafeInteger(round) ? await roundOf(context, round) : null;
    if (!certified || objectName(round, certified.state_hash) !== object) continue;
    if (stateShardBytes(certified, code) !== size_bytes) continue;
    sum += BigInt(size_bytes) * BigInt(held_s);
    largest = Math.max(largest, size_bytes);
  }
  const most = BigInt(largest) * BigInt(shards * CHECKPOINTS_STORED * place.epoch_seconds);
  return sum < most ? sum : most;
}
