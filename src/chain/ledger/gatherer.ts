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
    if (this.#unopened(state, view, opened).length > 0) return false;
    return opened.every((one) => this.isSettled(state, one.result_hash));
  }

  /** Of the batch, who has not opened what it committed to; another opening is none. */
  #unopened(state: EpochState, view: EpochView, opened: readonly Opened[]): Address[] {
    const batch = this.#batch(state, view);
    if (batch.size === 0) return [];
    const known = new Set(opened.map((one) => one.node.address));
    return [...batch.keys()].filter((address) => !known.has(address));
  }

  /** The report is verified, or refused for good. */
  isSettled(state: EpochState, result_hash: Hash): boolean {
    const verified = state.reports.get(result_hash)?.verified ?? null;
    return verified !== null || state.refused.has(result_hash);
  }

  /** A report's text from a peer; a reporter's own may come before its opening is seen. */
  take(state: EpochState, from: PublicKey, text: string): void {
    const { view } = state;
    const result_hash = sha256Hex(text) as Hash;
    if (this.opened(state).some((entry) => entry.result_hash === result_hash))
      this.#add(state, result_hash, text);
    else if (view && this.#mayOpen(view) && state.nodeOfKey(from))
      state.early.set(from, { result_hash, text });
  }

  /** Openings can still be seen: what is told before or after is not kept for them. */
  #mayOpen({ windows }: EpochView): boolean {
    const { time_s } = this.parts;
    return time_s >= windows.commit_start_s && time_s < windows.proposer_end_s;
  }

  #add(state: EpochState, result_hash: Hash, text: string): void {
    if (state.reports.has(result_hash) || state.refused.has(result_hash)) return;
    const report = parseReport(text);
    const same = this.opened(state).filter((entry) => entry.result_hash === result_hash);
    // Several nodes can have committed to the same bytes: they are of the one that they name.
    const one = same.find((entry) => entry.node.address === report?.node);
    if (report && !one && this.#mayStillOpen(state, report.node)) return;
    const reason = report ? this.#wrong(state, report, one) : "it is no report";
    if (!report || reason !== undefined) {
      state.refused.set(result_hash, `${(one ?? same[0])?.node.address}: ${reason}`);
      return;
    }
    const here: ReportState = {
      ...{ text, report, verified: null, reason: "not checked yet" },
      asked_ms: Number.NEGATIVE_INFINITY,
      here_s: this.parts.time_s,
    };
    state.reports.set(result_hash, here);
  }

  /** What is refused is refused for good: not before everybody knows that nobody can open it. */
  #mayStillOpen(state: EpochState, node: Address): boolean {
    const { view } = state;
    if (!view || this.parts.time_s < view.windows.reveal_end_s) return true;
    return this.#batch(state, view).has(node);
  }

  #wrong(
    state: EpochState,
    report: NonNullable<ReturnType<typeof parseReport>>,
    one: Opened | undefined,
  ): string | undefined {
    const { place } = this.parts.params;
    if (report.chain_id !== place.chain_id || report.contract !== place.epochs)
      return "it is of another ledger";
    if (report.epoch !== state.epoch) return "it is of another epoch";
    if (!one) return "it is of another node";
    if (BigInt(report.score) !== one.score) return "its score is not the revealed one";
    return reportError(report, state.view?.axis_weights ?? []);
  }

  /** Takes early reports over, asks for missing ones, has the others verified. */
  advance(state: EpochState, now_ms: number, out: Sink<LedgerEffect>): void {
    const { view } = state;
    if (!view || this.parts.time_s < view.windows.commit_start_s) return;
    const opened = this.opened(state);
    const hashes = new Set(opened.map((one) => one.result_hash));
    for (const [from, { result_hash, text }] of state.early) {
      if (hashes.has(result_hash)) this.#add(state, result_hash, text);
      const isKnown = state.reports.has(result_hash) || state.refused.has(result_hash);
      if (isKnown || !this.#mayOpen(view)) state.early.delete(from);
    }
    const { own } = state;
    if (own?.text && hashes.has(own.result_hash)) this.#add(state, own.result_hash, own.text);
    for (const one of opened) this.#verify(state, one, now_ms, out);
    this.#ask(state, view, opened, now_ms, out);
  }

  #verify(state: EpochState, one: Opened, now_ms: number, out: Sink<LedgerEffect>): void {
    const here = state.reports.get(one.result_hash);
    const pause_ms = 4 * this.parts.params.resend_ms;
    if (!here || here.verified || here.report.node !== one.node.address) return;
    if (now_ms - here.asked_ms < pause_ms) return;
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
    const isOver = time_s >= view.windows.reveal_end_s;
    if (isOver && this.#unopened(state, view, opened).length > 0) ask("reveals");
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
    if (!node || this.#isOpen(state, node.address, body)) return;
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
    state.opened = null; // one opening in another's place leaves their number as it was
  }

  /** Known already, or opened as it was committed: nothing else that it signs takes that place. */
  #isOpen(state: EpochState, address: Address, body: LedgerReveal): boolean {
    const known = state.gossip_reveals.get(address);
    if (!known || known.signature === body.signature) return known !== undefined;
    return this.opened(state).some((one) => one.node.address === address);
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
