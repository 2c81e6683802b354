/**
 * Evidence of audits (paper 13.3, false tier): a storage node that claims shards and cannot show
 * most of them, and a training node whose contributions are not what its trails say, do not meet
 * their tier. Each notary judges by its own audits, not by what it is told; where the evidence
 * names a contribution, it does the steps of that one again.
 */
import type { DisputeView, EpochView, Hex, LedgerNode } from "../../chain/ledger/ledger-types.ts";
import { canonicalJson, sha256Hex } from "../../core/bytes.ts";
import { trains } from "../../core/tiers.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import type { TrainingEvidence } from "../training-audits/training-evidence.ts";
import { nodeIdHash } from "./audit-receipts.ts";
import type { Audit } from "./fact-store.ts";
import type { FactContext } from "./report-facts.ts";

/** Fewer audits say nothing: a connection may have been lost for a while. */
const AUDITS_LEAST = 8;
/** Audits that are looked at: the newest of one node. */
const AUDITS_MOST = 32;

export interface TierVerdict {
  guilty: boolean;
  audits: number;
  failed: number;
}

/** What a verdict needs of a dispute's evidence. */
export interface Evidence {
  /** From this disk or a peer, its hash checked; null where nobody serves it. */
  fetch(evidence_hash: Hash): Promise<Uint8Array | null>;
}

/**
 * Null where this node has no opinion, or none yet: another offence, too few audits of its own, and
 * nothing that it can do again.
 */
export async function judgeTier(
  context: FactContext,
  dispute: DisputeView,
  evidence: Evidence,
): Promise<TierVerdict | null> {
  if (dispute.offence !== "false_tier") return null;
  const node = context.nodeOf(dispute.accused);
  if (!node) return null;
  const own = tierVerdict(context, node);
  if (!trains(node.tier) || !context.training || own?.guilty) return own;
  const bytes = await evidence.fetch(dispute.evidence_hash);
  const again =
    bytes && context.training.reexamine(bytes, (key) => nodeIdHash(key) === node.node_id);
  if (again === "working") return null; // asked again in a while
  if (!again) return own;
  return { guilty: again === "wrong", audits: 1, failed: again === "wrong" ? 1 : 0 };
}

function shardAuditsOf({ gatherer }: FactContext, { node_id }: LedgerNode): Audit[] {
  const isOf = (holder: PublicKey) => nodeIdHash(holder) === node_id;
  return gatherer.facts
    .auditsAfter(0)
    .filter(({ holder }) => isOf(holder))
    .slice(-AUDITS_MOST);
}

function trainingAuditsOf({ training }: FactContext, { node_id }: LedgerNode): TrainingEvidence {
  const none = { audits: [], verdict: null };
  return training?.evidence((key) => nodeIdHash(key) === node_id, AUDITS_MOST) ?? none;
}

/** By this node's own audits alone. */
function tierVerdict(context: FactContext, node: LedgerNode): TierVerdict | null {
  if (node.tier === "storage_node") return mostOf(shardAuditsOf(context, node));
  if (!trains(node.tier)) return null;
  const { audits, verdict } = trainingAuditsOf(context, node);
  const most = mostOf(audits.map(({ state }) => ({ passed: state === "passed" })));
  if (!verdict) return most;
  const failed = audits.filter(({ state }) => state !== "passed").length;
  return { guilty: true, audits: audits.length, failed };
}

function mostOf(audits: readonly { passed: boolean }[]): TierVerdict | null {
  if (audits.length < AUDITS_LEAST) return null;
  const failed = audits.filter(({ passed }) => !passed).length;
  return { guilty: 2 * failed > audits.length, audits: audits.length, failed };
}

function evidenceText(context: FactContext, node: LedgerNode, epoch: number): string {
  if (node.tier === "storage_node") {
    const audits = shardAuditsOf(context, node);
    return canonicalJson({ schema: "magnet.audit_evidence/1", epoch, audits });
  }
  const found = trainingAuditsOf(context, node);
  return canonicalJson({ schema: "magnet.training_evidence/1", epoch, ...found });
}

export interface Accusation {
  accused: LedgerNode["address"];
  subject: Hex;
  evidence_hash: Hash;
  evidence: Uint8Array;
}

/** Nodes of this epoch that this node's audits show guilty. */
export function accusations(context: FactContext, view: EpochView): Accusation[] {
  const found: Accusation[] = [];
  for (const node of view.nodes) {
    if (node.address === context.self.address || !tierVerdict(context, node)?.guilty) continue;
    const evidence = new TextEncoder().encode(evidenceText(context, node, view.epoch));
    found.push({
      accused: node.address,
      subject: `0x${view.epoch.toString(16).padStart(64, "0")}`,
      evidence_hash: sha256Hex(evidence) as Hash,
      evidence,
    });
  }
  return found;
}
