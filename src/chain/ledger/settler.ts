/**
 * From reports to a settled root: the record that this node computes itself, the notaries' signatures
 * over it, and the transaction of the proposer, or of whoever is next where the proposer does not act.
 * A node signs and proposes only what it has computed.
 */
import { sha256Hex } from "../../core/bytes.ts";
import type { PublicKey } from "../../core/types.ts";
import type { Sink } from "../../network/effects.ts";
import { computeRecord, type Terms } from "./compute-record.ts";
import { type Outcome, settlementDigest } from "./digests.ts";
import type { SealedRecord } from "./epoch-record.ts";
import type { EpochState } from "./epoch-state.ts";
import type { Gatherer } from "./gatherer.ts";
import type { Address, EpochPhase, EpochView, Hex, LedgerEffect } from "./ledger-types.ts";
import type { MachineParts } from "./machine-parts.ts";
import { commitTree } from "./merkle.ts";
import {
  commitSetMessage,
  ledgerRequestMessage,
  type RecordSignature,
  recordSignatureMessage,
} from "./messages.ts";
import { hashWord } from "./words.ts";

/** Share of the proposer's time that late reports are waited for. */
const GATHER_SHARE = 4;

/** Records of one notary that are looked into: an honest one's changes with each late report. */
const OTHERS_MAX = 8;

/** What the epoch's status says: phase and reason. */
type Standing = [phase: EpochPhase, reason: string];

/** The record that an epoch builds on, or why it is not known. */
export type Base = { ready: true; record: SealedRecord | null } | { ready: false; reason: string };

export class Settler {
  constructor(
    private readonly parts: MachineParts,
    private readonly gatherer: Gatherer,
  ) {}

  /** When the record is made of what is there. */
  gatherEnd({ windows }: EpochView): number {
    const { reveal_end_s, proposer_end_s } = windows;
    return reveal_end_s + (proposer_end_s - reveal_end_s) / GATHER_SHARE;
  }

  /** The last settlement before this epoch that was not rejected; it must be final. */
  base(state: EpochState, now_ms: number, out: Sink<LedgerEffect>): Base {
    const { account, records } = this.parts;
    if (!account)
      return { ready: false, reason: "the chain's view of settlements is not here yet" };
    const { last, final } = account;
    const before = last && last.epoch < state.epoch ? last : final;
    if (!before || before.epoch >= state.epoch) return { ready: true, record: null };
    if (before === last && !last.final)
      return { ready: false, reason: `waits for epoch ${last.epoch} to become final` };
    const record = records.get(before.data_hash);
    if (record) return { ready: true, record };
    records.want(before.data_hash, now_ms, out);
    return { ready: false, reason: `fetches the record of epoch ${before.epoch}` };
  }

  advance(state: EpochState, now_ms: number, out: Sink<LedgerEffect>): void {
    const { view } = state;
    const { time_s } = this.parts;
    if (!view || time_s < view.windows.commit_start_s) return;
    this.#commitRoot(state, view, now_ms, out);
    if (time_s < view.windows.reveal_end_s || time_s >= view.windows.settle_end_s) return;
    const open = view.settlement === null || view.settlement.rejected;
    if (!open) return;
    this.#say(state, this.#step(state, view, now_ms, out));
  }

  #step(state: EpochState, view: EpochView, now_ms: number, out: Sink<LedgerEffect>): Standing {
    const waiting = this.#compute(state, view, now_ms, out);
    if (waiting) return waiting;
    if (!state.record) return ["skipped", "nobody's contribution counts: nothing is minted"];
    this.#sign(state, view, now_ms, out);
    return this.#settle(state, view, state.record, now_ms, out);
  }

  /** Gossiped commitments get one root in the first half of the commit window. */
  #commitRoot(state: EpochState, view: EpochView, now_ms: number, out: Sink<LedgerEffect>): void {
    const { address, params, time_s } = this.parts;
    const { commit_start_s, commit_end_s } = view.windows;
    const window_s = commit_end_s - commit_start_s;
    if (view.commit_root || view.nodes.length <= params.direct_nodes_max) return;
    if (state.gossip_commits.size === 0) return;
    // The proposer alone in the first quarter; it waits an eighth for commitments to come in.
    const is_proposer = view.proposer === address;
    if (!is_proposer && !view.notaries.includes(address)) return;
    const late_s = is_proposer ? 0 : window_s / 8 + this.parts.stagger(state, "root", window_s / 8);
    const opens_s = commit_start_s + window_s / 8 + late_s;
    if (time_s < opens_s || time_s >= commit_start_s + window_s / 2) return;
    const commits = [...state.gossip_commits]
      .filter(([node]) => !view.commits.some((entry) => entry.node === node))
      .map(([node, { commitment }]) => ({ node, commitment }))
      .sort((a, b) => (a.node < b.node ? -1 : 1));
    if (commits.length === 0) return;
    const { root } = commitTree(commits);
    state.commit_sets.set(root, new Map(commits.map((one) => [one.node, one.commitment])));
    const call = { method: "commitRoot" as const, epoch: state.epoch, root, count: commits.length };
    this.parts.want(`commit_root:${state.epoch}`, call, now_ms, out, true);
  }

  /** The leaves of a batch, as a message. */
  tellSet(state: EpochState, root: Hex, to: PublicKey, out: Sink<LedgerEffect>): void {
    const set = state.commit_sets.get(root);
    if (!set) return;
    const leaves = { nodes: [...set.keys()], commitments: [...set.values()] };
    const body = { epoch: state.epoch, root, ...leaves };
    out.push({ type: "send", to, message: { type: commitSetMessage.type, body } });
  }

  /** Leaves from a peer: taken only where they have the root that stands on the chain. */
  takeSet(state: EpochState, body: { root: Hex; nodes: Address[]; commitments: Hex[] }): void {
    const { root, nodes, commitments } = body;
    if (state.view?.commit_root?.root !== root || state.commit_sets.has(root)) return;
    if (nodes.length !== commitments.length || new Set(nodes).size !== nodes.length) return;
    const commits = nodes.map((node, i) => ({ node, commitment: commitments[i]! }));
    if (commitTree(commits).root === root)
      state.commit_sets.set(root, new Map(commits.map((one) => [one.node, one.commitment])));
  }

  /** Why the record cannot be computed yet; null once it is. */
  #compute(
    state: EpochState,
    view: EpochView,
    now_ms: number,
    out: Sink<LedgerEffect>,
  ): Standing | null {
    const base = this.base(state, now_ms, out);
    if (!base.ready) return ["waiting", base.reason];
    const opened = this.gatherer.opened(state);
    const { time_s } = this.parts;
    if (!this.gatherer.isComplete(state, opened) && time_s < this.gatherEnd(view)) {
      const open = opened.filter((one) => !this.gatherer.isSettled(state, one.result_hash));
      return ["waiting", `waits for ${open.length} of ${opened.length} reports`];
    }
    this.recompute(state, view, base.record, out);
    return null;
  }

  /** The record from everything verified so far; done again only where that has changed. */
  recompute(
    state: EpochState,
    view: EpochView,
    base: SealedRecord | null,
    out: Sink<LedgerEffect>,
  ): void {
    const list = this.gatherer.contributions(state, this.gatherer.opened(state));
    const terms = termsOf(view);
    const inputs = list.map((one) => `${one.node.address}/${one.result_hash}`);
    const key = sha256Hex([terms.pool, base?.outcome.data_hash, ...inputs].join());
    if (key === state.record_key) return;
    state.record_key = key;
    state.record = computeRecord(this.parts.params.place, terms, base, list);
    state.signed_ms = Number.NEGATIVE_INFINITY;
    if (!state.record) return;
    this.parts.records.keep(state.record, out);
    const { data_hash, root, total } = state.record.outcome;
    const fields = { epoch: state.epoch, nodes: state.record.record.entries.length, data_hash };
    const event = { type: "log" as const, level: "info" as const, event: "epoch_computed" };
    out.push({ ...event, fields: { ...fields, root, total: total.toString() } });
  }

  /** A notary tells everybody its signature over the record that it computed. */
  #sign(state: EpochState, view: EpochView, now_ms: number, out: Sink<LedgerEffect>): void {
    const { address, params } = this.parts;
    if (!state.record || !view.notaries.includes(address)) return;
    if (now_ms - state.signed_ms < 4 * params.resend_ms) return;
    state.signed_ms = now_ms;
    const { outcome } = state.record;
    const { public_key } = params.signer;
    const signature = params.signer.sign(settlementDigest(params.place, outcome));
    const body = { ...outcome, total: outcome.total.toString(), public_key, signature };
    state.signatures.set(address, body);
    this.parts.broadcast(recordSignatureMessage, body, out);
  }

  /** A notary's signature; what it signed instead of ours is looked into. */
  takeSignature(state: EpochState, body: RecordSignature, now_ms: number, out: Sink<LedgerEffect>) {
    const { view } = state;
    const node = state.nodeOfKey(body.public_key);
    if (!view || !node || !view.notaries.includes(node.address)) return;
    const known = state.signatures.get(node.address);
    if (known?.signature === body.signature) return;
    const outcome: Outcome = { ...body, total: BigInt(body.total) };
    const digest = settlementDigest(this.parts.params.place, outcome);
    const { verifier } = this.parts.params;
    if (!verifier.verify(digest, body.signature, body.public_key as PublicKey)) return;
    state.signatures.set(node.address, body);
    const other = body.data_hash;
    const differs = state.record !== null && state.record.outcome.data_hash !== other;
    // Its record names reports that may be missing here.
    if (!differs) return;
    const others = state.others.get(node.address) ?? new Set();
    state.others.set(node.address, others);
    if (others.size < OTHERS_MAX) others.add(other);
    if (others.has(other))
      this.parts.records.want(other, now_ms, out, [body.public_key as PublicKey]);
  }

  /** Signatures over exactly this outcome, by notaries of now, in rising order of address. */
  signaturesFor(state: EpochState, outcome: Outcome): { address: Address; signature: Hex }[] {
    const notaries = new Set(state.view?.notaries);
    return [...state.signatures]
      .filter(([address, body]) => notaries.has(address) && isOver(body, outcome))
      .map(([address, body]) => ({ address, signature: `0x${body.signature}` as Hex }))
      .sort((a, b) => (a.address < b.address ? -1 : 1));
  }

  #settle(
    state: EpochState,
    view: EpochView,
    { outcome }: SealedRecord,
    now_ms: number,
    out: Sink<LedgerEffect>,
  ): Standing {
    const { time_s } = this.parts;
    const signatures = this.signaturesFor(state, outcome);
    const needed = view.signatures_needed;
    const have = `${signatures.length} of ${needed} signatures`;
    const opens_s = this.#opens(state, view);
    if (signatures.length < needed) {
      if (opens_s !== null && time_s >= opens_s) this.#askSignatures(state, now_ms, out);
      return ["signing", `the record is computed, ${have}`];
    }
    if (opens_s === null) return ["signing", `${have}; this node is not active`];
    const wait_s = Math.ceil(opens_s - time_s);
    if (wait_s > 0) return ["signing", `${have}; others have ${wait_s} s before this node`];
    const older = this.#olderOpen(state);
    if (older !== null && time_s < view.windows.proposer_end_s)
      return ["signing", `${have}; epoch ${older} comes first`];
    const { epoch, root, total, count, data_hash } = outcome;
    const again = view.settlement?.rejected ? `:${view.settlement.settled_at_s}` : "";
    const key = `settle:${epoch}:${data_hash.slice(0, 16)}${again}`;
    const list = signatures.slice(0, needed).map(({ signature }) => signature);
    const terms = { epoch, root, total, count, data_hash: hashWord(data_hash) };
    const call = { method: "settle" as const, ...terms, signatures: list };
    return ["signing", `${have}; ${this.parts.want(key, call, now_ms, out)}`];
  }

  #askSignatures(state: EpochState, now_ms: number, out: Sink<LedgerEffect>): void {
    if (now_ms - state.asked_ms < this.parts.params.resend_ms) return;
    state.asked_ms = now_ms;
    const body = { epoch: state.epoch, want: "signatures" as const, result_hashes: [] };
    this.parts.broadcast(ledgerRequestMessage, body, out);
  }

  /** From when on this node may settle; null for a node that may not. */
  #opens(state: EpochState, view: EpochView): number | null {
    const { reveal_end_s, proposer_end_s, settle_end_s } = view.windows;
    if (view.proposer === this.parts.address) return reveal_end_s;
    if (!this.parts.account?.active) return null;
    // Without a drawn proposer anybody may at once.
    const from_s = view.proposer === null ? reveal_end_s : proposer_end_s;
    const window_s = Math.min(settle_end_s - from_s, 2 * (proposer_end_s - reveal_end_s));
    return from_s + this.parts.stagger(state, "settle", window_s);
  }

  /** An earlier epoch that can still be settled: settling this one first would pass it over. */
  #olderOpen(state: EpochState): number | null {
    const last = this.parts.account?.last?.epoch ?? -1;
    for (const older of this.parts.sorted()) {
      if (older.epoch >= state.epoch) return null;
      const open = older.view?.settlement === null || older.view?.settlement.rejected;
      const in_time = (older.view?.windows.settle_end_s ?? 0) > this.parts.time_s;
      if (older.epoch > last && open && in_time && older.record) return older.epoch;
    }
    return null;
  }

  /** What happened to a missed own share stays readable; the epoch goes on without it. */
  #say(state: EpochState, [phase, reason]: Standing): void {
    if (state.phase === "missed") state.hint ||= `the epoch itself: ${reason}`;
    else Object.assign(state, { phase, reason });
  }
}

/** Once settled, the pool is what was minted: it can depend on the day of the settlement. */
const termsOf = (view: EpochView): Terms => ({
  epoch: view.epoch,
  pool: view.settlement && !view.settlement.rejected ? view.settlement.total : view.pool,
  tier_rewards: view.tier_rewards,
  axis_weights: view.axis_weights,
});

const isOver = (body: RecordSignature, outcome: Outcome): boolean =>
  body.data_hash === outcome.data_hash &&
  body.root === outcome.root &&
  body.parent === outcome.parent &&
  body.count === outcome.count &&
  BigInt(body.total) === outcome.total;
