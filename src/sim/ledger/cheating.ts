/** What dishonest nodes do instead of what the machine asks for. */
import { commitDigest, type Outcome, settlementDigest } from "../../chain/ledger/digests.ts";
import { parseRecord, type SealedRecord, sealRecord } from "../../chain/ledger/epoch-record.ts";
import type { Address, Hex, LedgerCall, LedgerEffect } from "../../chain/ledger/ledger-types.ts";
import { sha256Hex } from "../../core/bytes.ts";
import type { Hash } from "../../core/types.ts";
import type { LedgerSimNode } from "./ledger-sim-node.ts";
import type { SimChain } from "./sim-chain.ts";

export interface Scene {
  readonly chain: SimChain;
  readonly nodes: readonly LedgerSimNode[];
  send(node: LedgerSimNode, key: string, call: LedgerCall): void;
}

/** Changes an effect of a dishonest node; null drops it. */
export function cheat(
  scene: Scene,
  node: LedgerSimNode,
  effect: LedgerEffect,
): LedgerEffect | null {
  switch (node.role) {
    case "withholder":
      if (effect.type === "submit" && effect.call.method === "reveal") return null;
      return effect.type === "broadcast" && effect.message.type === "ledger.reveal" ? null : effect;
    case "copier":
      return copied(scene, node, effect);
    case "hoarder":
      return hoarded(node, effect);
    case "colluder":
      return colluded(scene, node, effect);
    default:
      return effect;
  }
}

/** The copied commitment is opened with whatever is at hand: it cannot be opened by another sender. */
function copied(scene: Scene, node: LedgerSimNode, effect: LedgerEffect): LedgerEffect {
  if (effect.type !== "submit" || effect.call.method !== "commit") return effect;
  const { epoch } = effect.call;
  const others = [...(scene.chain.state.commits.get(epoch)?.values() ?? [])];
  const commitment = others[0]?.commitment ?? (`0x${sha256Hex("copied")}` as Hex);
  const nonce: Hex = `0x${"7".repeat(64)}`;
  const opening = { result_hash: nonce, score: 10n ** 12n, nonce };
  const { commit_end_s } = scene.chain.contracts.windows(epoch);
  const delay_ms = (commit_end_s + 6 - scene.chain.head.timestamp_s) * 1000;
  node.later(delay_ms, delay_ms, () => {
    scene.send(node, `copied:${epoch}`, { method: "reveal", epoch, ...opening });
  });
  return { ...effect, call: { ...effect.call, commitment } };
}

/** Nobody gets the report by itself; of those who ask, some do. */
function hoarded(node: LedgerSimNode, effect: LedgerEffect): LedgerEffect | null {
  if (effect.type === "broadcast" && effect.message.type === "ledger.report") return null;
  const is_report = effect.type === "send" && effect.message.type === "ledger.report";
  return is_report && node.params.random.next() < 0.8 ? null : effect;
}

/** A root in the proposer's own favour, under the signatures of the colluders. */
function colluded(scene: Scene, node: LedgerSimNode, effect: LedgerEffect): LedgerEffect {
  if (effect.type !== "submit" || effect.call.method !== "settle") return effect;
  const own = node.disk.records.get(effect.call.data_hash.slice(2) as Hash);
  const outcome = own ? falsified(node, effect.call) : undefined;
  if (!outcome) return effect;
  const digest = settlementDigest(node.params.place, outcome);
  const band = scene.nodes.filter((other) => other.role === "colluder");
  band.sort((a, b) => (a.params.address < b.params.address ? -1 : 1));
  const signatures = band.map((other): Hex => `0x${other.params.signer.sign(digest)}`);
  const { root, count } = outcome;
  const data_hash: Hex = `0x${outcome.data_hash}`;
  return { ...effect, call: { ...effect.call, root, count, data_hash, signatures } };
}

/** Served to whoever asks, or withheld. */
function falsified(
  node: LedgerSimNode,
  call: Extract<LedgerCall, { method: "settle" }>,
): Outcome | undefined {
  const bytes = node.disk.records.get(call.data_hash.slice(2) as Hash)!;
  const own = parseRecord(bytes);
  const sealed = own && falsify(own, node.params.address);
  if (!sealed) return undefined;
  if (node.params.random.next() < 0.5)
    node.disk.records.set(sealed.outcome.data_hash, sealed.bytes);
  return sealed.outcome;
}

/** The record with half of somebody else's reward moved to `address`; undefined where it has none. */
export function falsify({ record }: SealedRecord, address: Address): SealedRecord | undefined {
  const victim = record.entries.find((entry) => entry.address !== address && entry.reward > 0n);
  if (!victim || !record.entries.some((entry) => entry.address === address)) return undefined;
  const loot = victim.reward / 2n;
  const change = (who: Address) => (who === victim.address ? -loot : who === address ? loot : 0n);
  return sealRecord({
    ...record,
    entries: record.entries.map((entry) => ({
      ...entry,
      reward: entry.reward + change(entry.address),
    })),
    accounts: record.accounts.map((account) => ({
      ...account,
      cumulative: account.cumulative + change(account.address),
    })),
  });
}

/** A second commitment beside the first, under the node's own signature. */
export function secondCommit(node: LedgerSimNode, epoch: number) {
  const { signer, place } = node.params;
  const commitment: Hex = `0x${sha256Hex(`second/${epoch}`)}`;
  const signature = signer.sign(commitDigest(place, epoch, commitment));
  return { epoch, public_key: signer.public_key, commitment, signature };
}
