/**
 * This node's own share in an epoch: gather facts, commit, reveal. Invariants: a commitment is durable
 * before it leaves the node, and there is one per epoch; nothing is opened before the reveal window
 * begins on the chain, nor unless the commitment stands there.
 */
import type { Sink } from "../../network/effects.ts";
import { commitDigest, commitmentOf, revealDigest } from "./digests.ts";
import type { EpochState, OwnPart } from "./epoch-state.ts";
import type { EpochPhase, EpochView, Hex, LedgerEffect } from "./ledger-types.ts";
import type { MachineParts } from "./machine-parts.ts";
import { ledgerCommitMessage, ledgerRevealMessage, reportMessage } from "./messages.ts";
import { type ContributionFacts, makeReport, reportBytes, reportHash } from "./report.ts";
import { hashWord, hex } from "./words.ts";

/** What the epoch's status says: phase, reason, hint. */
type Standing = [phase: EpochPhase, reason: string, hint?: string];

const seconds = (value: number) => `${Math.max(0, Math.ceil(value))} s`;

export class OwnContribution {
  constructor(private readonly parts: MachineParts) {}

  /** The facts that were asked for: the commitment is made now, once and for all. */
  facts(state: EpochState, facts: ContributionFacts, out: Sink<LedgerEffect>): void {
    const { view } = state;
    if (!view || state.own || this.parts.time_s >= view.windows.commit_end_s) return;
    const { place, address, random } = this.parts.params;
    const about = { epoch: state.epoch, node: address };
    const at = { chain_id: place.chain_id, contract: place.epochs };
    const report = makeReport(at, about, facts, view.axis_weights);
    const score = BigInt(report.score);
    const nonce = hex(random.bytes(32));
    const result_hash = reportHash(report);
    const commitment = commitmentOf(place, state.epoch, address, { result_hash, score, nonce });
    const text = score > 0n ? Buffer.from(reportBytes(report)).toString("utf8") : null;
    state.own = { text, result_hash, score, nonce, commitment };
    this.parts.persist(out);
  }

  advance(state: EpochState, now_ms: number, out: Sink<LedgerEffect>): void {
    const [phase, reason, hint] = this.#step(state, now_ms, out);
    Object.assign(state, { phase, reason, hint: hint ?? "" });
  }

  #step(state: EpochState, now_ms: number, out: Sink<LedgerEffect>): Standing {
    const { view } = state;
    if (!view) return ["waiting", "the chain's view of the epoch is not here yet"];
    const { time_s, address } = this.parts;
    const { commit_start_s, commit_end_s, reveal_end_s } = view.windows;
    if (time_s < commit_start_s)
      return ["collecting", `the epoch ends in ${seconds(commit_start_s - time_s)}`];
    if (!state.node(address)) {
      // Who is active is settled with the epoch's end; an older view does not know it.
      if (state.view_s < commit_start_s) return ["waiting", "waits for the list of active nodes"];
      return noShare(state, "this node was not an active one");
    }
    if (time_s < commit_end_s) return this.#commit(state, view, now_ms, out);
    if (!this.#stands(state, view)) return this.#missed(state, view, "commitment", commit_end_s);
    if (time_s < reveal_end_s) return this.#reveal(state, view, now_ms, out);
    if (!this.#opened(state, view)) return this.#missed(state, view, "reveal", reveal_end_s);
    return ["revealed", "the contribution is committed and revealed"];
  }

  /** True if this epoch's commitments go by gossip. */
  #inBatch(view: EpochView): boolean {
    return view.nodes.length > this.parts.params.direct_nodes_max;
  }

  #onChain(state: EpochState, view: EpochView): boolean {
    const { address } = this.parts;
    const own = view.commits.find((entry) => entry.node === address);
    return own !== undefined && own.commitment === state.own?.commitment;
  }

  #inSet(state: EpochState, view: EpochView): boolean {
    const set = view.commit_root ? state.commit_sets.get(view.commit_root.root) : undefined;
    return state.own !== null && set?.get(this.parts.address) === state.own.commitment;
  }

  /** The own commitment is on the chain, alone or in the batch. */
  #stands(state: EpochState, view: EpochView): boolean {
    return this.#onChain(state, view) || this.#inSet(state, view);
  }

  #opened(state: EpochState, view: EpochView): boolean {
    const { address } = this.parts;
    if (this.#onChain(state, view))
      return view.reveals.some((reveal) => reveal.node === address && reveal.matches);
    return state.gossip_reveals.has(address);
  }

  #commit(state: EpochState, view: EpochView, now_ms: number, out: Sink<LedgerEffect>): Standing {
    const { params, address } = this.parts;
    const { own, epoch } = state;
    if (!own) {
      if (now_ms - state.facts_asked_ms >= 2 * params.resend_ms) {
        state.facts_asked_ms = now_ms;
        out.push({ type: "gather_facts", epoch, after_round: this.#paidRound() });
      }
      return ["gathering_facts", "gathers what this node has contributed"];
    }
    if (own.text === null) return noShare(state, NOTHING);
    const opens = `opens in ${seconds(view.windows.commit_end_s - this.parts.time_s)}`;
    if (this.#onChain(state, view)) return ["committed", opens];
    if (view.commits.some((entry) => entry.node === address))
      return noShare(state, "another commitment of this node is on the chain");
    if (this.#inSet(state, view)) return ["committed", `in the batch; ${opens}`];
    if (this.#inBatch(view) && this.#gossip(state, view, own, now_ms, out))
      return ["committing", "its commitment waits for the batch"];
    const { commitment } = own;
    const call = { method: "commit" as const, epoch, commitment };
    return ["committing", this.parts.want(`commit:${epoch}`, call, now_ms, out)];
  }

  /** Batch mode. False once a node that was left out must commit on the chain itself. */
  #gossip(
    state: EpochState,
    view: EpochView,
    own: OwnPart,
    now_ms: number,
    out: Sink<LedgerEffect>,
  ): boolean {
    const { params, address } = this.parts;
    const { commit_start_s, commit_end_s } = view.windows;
    // The set of a root that stands may still be on its way: half of what is left is for that.
    const share = view.commit_root ? 0.75 : 0.5;
    if (this.parts.time_s >= commit_start_s + share * (commit_end_s - commit_start_s)) return false;
    if (now_ms - state.told_ms < params.resend_ms) return true;
    state.told_ms = now_ms;
    const { epoch } = state;
    const signature = params.signer.sign(commitDigest(params.place, epoch, own.commitment));
    const { public_key } = params.signer;
    const body = { epoch, public_key, commitment: own.commitment, signature };
    state.gossip_commits.set(address, body);
    this.parts.broadcast(ledgerCommitMessage, body, out);
    return true;
  }

  #reveal(state: EpochState, view: EpochView, now_ms: number, out: Sink<LedgerEffect>): Standing {
    const { own, epoch } = state;
    if (!own || own.text === null) return noShare(state, NOTHING);
    const { params, address, up, down_reason } = this.parts;
    // Without the chain this node does not know whether the window is still open.
    if (!up) return ["revealing", `the chain does not answer: ${down_reason}`];
    const { result_hash, score, nonce } = own;
    const tells = now_ms - state.told_ms >= 2 * params.resend_ms;
    if (tells) {
      state.told_ms = now_ms;
      this.parts.broadcast(reportMessage, { epoch, report: own.text }, out);
    }
    if (this.#onChain(state, view)) {
      if (this.#opened(state, view))
        return ["revealed", "the contribution is committed and revealed"];
      const opening = { result_hash: hashWord(result_hash), score, nonce };
      const call = { method: "reveal" as const, epoch, ...opening };
      return ["revealing", this.parts.want(`reveal:${epoch}`, call, now_ms, out)];
    }
    if (tells || !state.gossip_reveals.has(address)) {
      const signature = params.signer.sign(revealDigest(params.place, epoch, own));
      const { public_key } = params.signer;
      const body = { epoch, public_key, result_hash, score: score.toString(), nonce, signature };
      state.gossip_reveals.set(address, body);
      this.parts.broadcast(ledgerRevealMessage, body, out);
    }
    return ["revealed", "the contribution is revealed to the peers"];
  }

  /** The last training round that a settled record paid to this node. */
  #paidRound(): number {
    const { account, records, address } = this.parts;
    const record = account?.last ? records.get(account.last.data_hash)?.record : undefined;
    return record?.accounts.find((entry) => entry.address === address)?.last_round ?? -1;
  }

  #missed(
    state: EpochState,
    view: EpochView,
    what: "commitment" | "reveal",
    end_s: number,
  ): Standing {
    if (state.own?.text === null) return noShare(state, NOTHING);
    const shown = view.reveals.find((reveal) => reveal.node === this.parts.address);
    if (shown && !shown.matches) return noShare(state, "the reveal did not match the commitment");
    state.missed ??= { what, late_s: this.parts.time_s - end_s };
    const { late_s } = state.missed;
    const why = `${state.missed.what} missed by ${seconds(late_s)}`;
    return noShare(state, why, this.#whyMissed(state, what));
  }

  #whyMissed(state: EpochState, what: "commitment" | "reveal"): string {
    const key = what === "reveal" ? `reveal:${state.epoch}` : `commit:${state.epoch}`;
    const sent = this.parts.submitter.state(key);
    if (sent !== undefined) return sent;
    if (!state.own) return "the node was not running, or the chain did not answer, in the window";
    return "nothing was sent in the window: was the node down, or the RPC?";
  }
}

const NOTHING = "this node has contributed nothing that counts";

const noShare = (state: EpochState, why: string, hint = ""): Standing => [
  "missed",
  `no share in epoch ${state.epoch}: ${why}`,
  hint,
];

/** What a gossiped opening must hash to. */
export const openingOf = (
  parts: MachineParts,
  epoch: number,
  node: Hex,
  opening: { result_hash: OwnPart["result_hash"]; score: bigint; nonce: Hex },
): Hex => commitmentOf(parts.params.place, epoch, node, opening);
