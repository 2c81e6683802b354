/**
 * Everybody's opened reports of an epoch: which must be there (the chain says, and the batch), which
 * are here, and what of them holds. Reports that are missing are asked for until the record is made.
 */
import { sha256Hex } from "../../core/bytes.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import type { Sink } from "../../network/effects.ts";
import type { Contribution } from "./compute-record.ts";
import { commitDigest, revealDigest } from "./digests.ts";
import type { EpochState, Opened, ReportState } from "./epoch-state.ts";
import type { Address, EpochView, Hex, LedgerEffect } from "./ledger-types.ts";
import type { MachineParts } from "./machine-parts.ts";
import {
  type LedgerCommit,
  type LedgerReveal,
  ledgerRequestMessage,
  WANTED_MAX,
} from "./messages.ts";
import { openingOf } from "./own-part.ts";
import { parseReport, reportError } from "./report.ts";

/** Reports kept before their opening is seen: one for each connection that a node can have. */
const EARLY_MAX = 1024;

export class Gatherer {
  constructor(private readonly parts: MachineParts) {}

  /** Openings that count: on the chain, or of a commitment in the batch. By rising address. */
  opened(state: EpochState): readonly Opened[] {
    const { view } = state;
    if (!view) return [];
    const { opened, gossip_reveals, commit_sets } = state;
    const gossip = `${gossip_reveals.size}/${commit_sets.size}`;
    if (opened?.view === view && opened.gossip === gossip) return opened.list;
    const list = this.#findOpened(state, view);
    state.opened = { view, gossip, list };
    return list;
  }

  #findOpened(state: EpochState, view: EpochView): Opened[] {
    const found = new Map<Address, Opened>();
    for (const reveal of view.reveals) {
      const node = state.node(reveal.node);
      if (node && reveal.matches) found.set(node.address, { ...reveal, node });
    }
    const own_way = new Set(view.commits.map((entry) => entry.node));
    for (const [address, commitment] of this.#batch(state, view)) {
      const reveal = state.gossip_reveals.get(address);
      const node = state.node(address);
      if (!reveal || !node || own_way.has(address)) continue;
      const opening = openingFields(reveal);
      if (openingOf(this.parts, state.epoch, address, opening) === commitment)
        found.set(address, { node, ...opening });
    }
    return [...found.values()].sort((a, b) => (a.node.address < b.node.address ? -1 : 1));
  }

  #batch(state: EpochState, view: EpochView): ReadonlyMap<Address, Hex> {
    return (view.commit_root && state.commit_sets.get(view.commit_root.root)) || new Map();
  }

  /** Openings whose report is here and was verified, or can never count. */
  contributions(state: EpochState, opened: readonly Opened[]): Contribution[] {
    return opened.flatMap(({ node, result_hash }) => {
      const here = state.reports.get(result_hash);
      if (!here?.verified || here.report.node !== node.address) return [];
      return [{ node, result_hash, report: here.report, verified: here.verified }];
    });
  }

  /** True if nothing is missing: every opening is verified or refused, and no one can open later. */
  isComplete(state: EpochState, opened: readonly Opened[]): boolean {
    const { view } = state;
    if (!view || this.parts.time_s < view.windows.reveal_end_s) return false;
    if (view.commit_root && !state.commit_sets.has(view.commit_root.root)) return false;
    const batch = this.#batch(state, view);
    for (const address of batch.keys()) if (!state.gossip_reveals.has(address)) return false;
    return opened.every((one) => this.isSettled(state, one.result_hash));
  }

  /** The report is verified, or refused for good. */
  isSettled(state: EpochState, result_hash: Hash): boolean {
    const verified = state.reports.get(result_hash)?.verified ?? null;
    return verified !== null || state.refused.has(result_hash);
  }

  /** A report's text from a peer, or from this node itself. */
  take(state: EpochState, from: PublicKey, text: string): void {
    const result_hash = sha256Hex(text) as Hash;
    const one = this.opened(state).find((entry) => entry.result_hash === result_hash);
    if (one) this.#add(state, one, text);
    else if (state.early.size < EARLY_MAX) state.early.set(from, text);
  }

  #add(state: EpochState, one: Opened, text: string): void {
    const { result_hash, node } = one;
    if (state.reports.has(result_hash) || state.refused.has(result_hash)) return;
    const report = parseReport(text);
    const reason = report ? this.#wrong(state, report, one) : "it is no report";
    if (!report || reason !== undefined) {
      state.refused.set(result_hash, `${node.address}: ${reason}`);
      return;
    }
    const here: ReportState = {
      ...{ text, report, verified: null, reason: "not checked yet" },
      asked_ms: Number.NEGATIVE_INFINITY,
      here_s: this.parts.time_s,
    };
    state.reports.set(result_hash, here);
  }

  #wrong(
    state: EpochState,
    report: NonNullable<ReturnType<typeof parseReport>>,
    one: Opened,
  ): string | undefined {
    const { place } = this.parts.params;
    if (report.chain_id !== place.chain_id || report.contract !== place.epochs)
      return "it is of another ledger";
    if (report.epoch !== state.epoch) return "it is of another epoch";
    if (report.node !== one.node.address) return "it is of another node";
    if (BigInt(report.score) !== one.score) return "its score is not the revealed one";
    return reportError(report, state.view?.axis_weights ?? []);
  }

  /** Takes early reports over, asks for missing ones, has the others verified. */
  advance(state: EpochState, now_ms: number, out: Sink<LedgerEffect>): void {
    const { view } = state;
    if (!view || this.parts.time_s < view.windows.commit_start_s) return;
    const opened = this.opened(state);
    const by_hash = new Map(opened.map((one) => [one.result_hash, one]));
    for (const [from, text] of state.early) {
      const one = by_hash.get(sha256Hex(text) as Hash);
      if (!one) continue;
      state.early.delete(from);
      this.#add(state, one, text);
    }
    const own = state.own?.text ? by_hash.get(state.own.result_hash) : undefined;
    if (own && state.own?.text) this.#add(state, own, state.own.text);
    for (const one of opened) this.#verify(state, one, now_ms, out);
    this.#ask(state, view, opened, now_ms, out);
  }

  #verify(state: EpochState, one: Opened, now_ms: number, out: Sink<LedgerEffect>): void {
    const here = state.reports.get(one.result_hash);
    const pause_ms = 4 * this.parts.params.resend_ms;
    if (!here || here.verified || now_ms - here.asked_ms < pause_ms) return;
    here.asked_ms = now_ms;
    const { epoch } = state;
    const { address } = one.node;
    const reveal = state.gossip_reveals.get(address);
    out.push({
      type: "verify_report",
      ...{ epoch, node: address, result_hash: one.result_hash, report: here.report },
      public_key: (reveal?.public_key as PublicKey | undefined) ?? null,
    });
  }

  /** What is missing is asked of all peers: whoever has it answers. */
  #ask(
    state: EpochState,
    view: EpochView,
    opened: readonly Opened[],
    now_ms: number,
    out: Sink<LedgerEffect>,
  ): void {
    const { time_s, params } = this.parts;
    if (view.settlement?.final || now_ms - state.asked_ms < params.resend_ms) return;
    const { epoch } = state;
    const ask = (
      want: "commits" | "commit_set" | "reveals" | "reports",
      result_hashes: Hash[] = [],
    ) => {
      state.asked_ms = now_ms;
      this.parts.broadcast(ledgerRequestMessage, { epoch, want, result_hashes }, out);
    };
    const root = view.commit_root?.root;
    if (root !== undefined && !state.commit_sets.has(root)) ask("commit_set");
    if (time_s < view.windows.commit_end_s) return;
    const batch = [...this.#batch(state, view).keys()];
    if (time_s >= view.windows.reveal_end_s && batch.some((who) => !state.gossip_reveals.has(who)))
      ask("reveals");
    const missing = opened
      .map((one) => one.result_hash)
      .filter((hash) => !state.reports.has(hash) && !state.refused.has(hash));
    // A reporter tells everybody by itself first.
    if (missing.length > 0) ask("reports", missing.slice(0, WANTED_MAX));
  }

  /** A gossiped commitment. Two different ones of a node are evidence. */
  takeCommit(state: EpochState, body: LedgerCommit): void {
    const node = state.nodeOfKey(body.public_key);
    if (!node) return;
    const known = state.gossip_commits.get(node.address);
    if (known?.commitment === body.commitment) return;
    const digest = commitDigest(this.parts.params.place, state.epoch, body.commitment);
    if (!this.#signed(digest, body)) return;
    if (known) state.doubles.set(node.address, [known, body]);
    else state.gossip_commits.set(node.address, body);
  }

  /** A gossiped opening; one that contradicts a signed commitment is evidence. */
  takeReveal(state: EpochState, body: LedgerReveal): void {
    const node = state.nodeOfKey(body.public_key);
    if (!node || state.gossip_reveals.has(node.address)) return;
    const opening = openingFields(body);
    if (!this.#signed(revealDigest(this.parts.params.place, state.epoch, opening), body)) return;
    const { address } = node;
    const commitment = openingOf(this.parts, state.epoch, address, opening);
    const gossiped = state.gossip_commits.get(address);
    if (gossiped && gossiped.commitment !== commitment) {
      state.mismatches.set(address, [gossiped, body]);
      return;
    }
    state.gossip_reveals.set(address, body);
  }

  #signed(digest: Uint8Array, body: { public_key: PublicKey; signature: string }): boolean {
    return this.parts.params.verifier.verify(digest, body.signature, body.public_key);
  }
}

/** The parts of an opening, as numbers and words. */
export const openingFields = (reveal: LedgerReveal) => ({
  result_hash: reveal.result_hash,
  score: BigInt(reveal.score),
  nonce: reveal.nonce,
});
