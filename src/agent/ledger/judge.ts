/**
 * Evidence of audits (paper 13.3, false tier): a storage node that claims shards and cannot show most
 * of them does not meet its tier. Each notary judges by its own audits, not by what it is told.
 */
import type { DisputeView, EpochView, Hex, LedgerNode } from "../../chain/ledger/ledger-types.ts";
import { canonicalJson, sha256Hex } from "../../core/bytes.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import { nodeIdHash } from "./audit-receipts.ts";
import type { Audit } from "./fact-store.ts";
import type { FactContext } from "./report-facts.ts";

/** Fewer audits say nothing: a connection may have been lost for a while. */
const AUDITS_LEAST = 8;
/** Audits that are looked at: the newest of one holder. */
const AUDITS_MOST = 32;

export interface TierVerdict {
  guilty: boolean;
  audits: number;
  failed: number;
}

/** Null where this node has no opinion: another offence, another tier, too few audits of its own. */
export function judgeTier(context: FactContext, dispute: DisputeView): TierVerdict | null {
  if (dispute.offence !== "false_tier") return null;
  const node = context.nodeOf(dispute.accused);
  return node ? tierVerdict(context, node) : null;
}

function auditsOf({ gatherer }: FactContext, { node_id }: LedgerNode): Audit[] {
  const isOf = (holder: PublicKey) => nodeIdHash(holder) === node_id;
  return gatherer.facts
    .auditsAfter(0)
    .filter(({ holder }) => isOf(holder))
    .slice(-AUDITS_MOST);
}

function tierVerdict(context: FactContext, node: LedgerNode): TierVerdict | null {
  if (node.tier !== "storage_node") return null;
  const audits = auditsOf(context, node);
  if (audits.length < AUDITS_LEAST) return null;
  const failed = audits.filter(({ passed }) => !passed).length;
  return { guilty: 2 * failed > audits.length, audits: audits.length, failed };
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
    const audits = auditsOf(context, node);
    const text = canonicalJson({ schema: "magnet.audit_evidence/1", epoch: view.epoch, audits });
    const evidence = new TextEncoder().encode(text);
    found.push({
      accused: node.address,
      subject: `0x${view.epoch.toString(16).padStart(64, "0")}`,
      evidence_hash: sha256Hex(evidence) as Hash,
      evidence,
    });
  }
  return found;
}
