/**
 * Compares what was settled with what this node knows (paper 13.3): equal, or another record that is
 * true as well, or a bad root, which is challenged. A root is called bad only on proof: what is merely
 * unknown here (a report that came late, a record that nobody serves) accuses nobody.
 */
import { canonicalJson, sha256Hex } from "../../core/bytes.ts";
import type { Hash } from "../../core/types.ts";
import type { Sink } from "../../network/effects.ts";
import { type Contribution, computeRecord } from "./compute-record.ts";
import type { SealedRecord } from "./epoch-record.ts";
import type { EpochState, Judgement } from "./epoch-state.ts";
import type { Gatherer } from "./gatherer.ts";
import type { EpochView, LedgerEffect, SettlementView } from "./ledger-types.ts";
import type { MachineParts } from "./machine-parts.ts";
import { ledgerRequestMessage, WANTED_MAX } from "./messages.ts";
import type { Base, Settler } from "./settler.ts";
import { word } from "./words.ts";

/** Share of the challenge window in which peers may still serve a record that differs. */
const FETCH_SHARE = 4;
/** A record that nobody serves for this share of the window is withheld. */
const WITHHELD_SHARE = 2;
/** As often peers must have said that they do not have it. */
export const FETCHES_LEAST = 3;

export class Judge {
  constructor(
    private readonly parts: MachineParts,
    private readonly gatherer: Gatherer,
    private readonly settler: Settler,
  ) {}

  advance(state: EpochState, now_ms: number, out: Sink<LedgerEffect>): void {
    const { view } = state;
    const settlement = view?.settlement;
    if (!view || !settlement || settlement.rejected) return;
    const known = state.judgement;
    const same = known?.root === settlement.root && known.data_hash === settlement.data_hash;
    if (!same || known.verdict === "open")
      state.judgement = this.#judge(state, view, settlement, now_ms, out);
    this.#say(state, settlement, state.judgement!);
    if (state.judgement!.verdict === "bad")
      this.#challenge(state, view, settlement, state.judgement!, now_ms, out);
  }

  #judge(
    state: EpochState,
    view: EpochView,
    settlement: SettlementView,
    now_ms: number,
    out: Sink<LedgerEffect>,
  ): Judgement {
    const { root, data_hash } = settlement;
    const made = (verdict: Judgement["verdict"], reason: string): Judgement => {
      if (verdict === "bad") {
        const fields = { epoch: state.epoch, root, reason };
        out.push({ type: "log", level: "warn", event: "bad_root_found", fields });
      }
      return { root, data_hash, verdict, reason };
    };
    const { records } = this.parts;
    const settled = records.get(data_hash);
    if (settlement.final) {
      records.want(data_hash, now_ms, out);
      return made(settled ? "accepted" : "open", "final on the chain");
    }
    const base = this.settler.base(state, now_ms, out);
    if (!base.ready) return made("open", base.reason);
    const own = this.#ownRecord(state, view, base, out);
    if (own && isSame(own, settlement)) return made("accepted", "it is the root computed here");
    if (records.isUnreadable(data_hash)) return made("bad", "its record is not one");
    records.want(data_hash, now_ms, out);
    if (!settled) return this.#withheld(state, view, settlement, made);
    if (!isSame(settled, settlement)) return made("bad", "the root is not that of its record");
    return this.#compare(state, view, settled, base, now_ms, out, made);
  }

  #ownRecord(
    state: EpochState,
    view: EpochView,
    base: Base,
    out: Sink<LedgerEffect>,
  ): SealedRecord | null {
    if (base.ready) this.settler.recompute(state, view, base.record, out);
    return state.record;
  }

  /** Nobody has served the settled record so far. */
  #withheld(
    state: EpochState,
    view: EpochView,
    settlement: SettlementView,
    made: (verdict: Judgement["verdict"], reason: string) => Judgement,
  ): Judgement {
    const { settled_at_s, data_hash } = settlement;
    const waited_s = this.parts.time_s - settled_at_s;
    // With every report here in time, no other record can be true.
    if (waited_s >= view.challenge_seconds / FETCH_SHARE && this.#allInTime(state, view))
      return made("bad", "its record is withheld and cannot be true");
    // One of its signers is honest and serves it, unless this node is cut off from the notaries.
    const asked = this.parts.records.failures(data_hash) >= FETCHES_LEAST;
    const connected = state.signatures.size >= view.signatures_needed;
    if (waited_s >= view.challenge_seconds / WITHHELD_SHARE && asked && connected)
      return made("bad", "its record is withheld: nobody can check it, nor claim");
    return made("open", "fetches the settled record, which differs from the one computed here");
  }

  #allInTime(state: EpochState, view: EpochView): boolean {
    const opened = this.gatherer.opened(state);
    return (
      this.gatherer.isComplete(state, opened) &&
      opened.every((one) => this.#inTime(state, view, one.result_hash))
    );
  }

  /**
   * Here in the first half of the reveal window, so that an honest proposer had it too: what comes later
   * may have reached some and not others, which is nobody's fault but the reporter's. Nor is it another's
   * fault if the report names rounds that nobody can prove: who waits for them in vain leaves it out.
   */
  #inTime(state: EpochState, view: EpochView, result_hash: Hash): boolean {
    if (state.refused.has(result_hash)) return true;
    const { commit_end_s, reveal_end_s } = view.windows;
    const here = state.reports.get(result_hash);
    if (!here || here.verified?.is_unproven) return false;
    return here.here_s <= (commit_end_s + reveal_end_s) / 2;
  }

  /** Computes again from exactly the reports that the settled record names. */
  #compare(
    state: EpochState,
    view: EpochView,
    settled: SealedRecord,
    base: Base,
    now_ms: number,
    out: Sink<LedgerEffect>,
    made: (verdict: Judgement["verdict"], reason: string) => Judgement,
  ): Judgement {
    const opened = this.gatherer.opened(state);
    const here = this.gatherer.contributions(state, opened);
    const named = new Map(settled.record.entries.map((entry) => [entry.address, entry]));
    for (const [address, entry] of named) {
      const one = opened.find((o) => o.node.address === address);
      const known = this.gatherer.isComplete(state, opened);
      if (one ? one.result_hash !== entry.result_hash : known)
        return made("bad", `it pays ${address} for a report that was not opened`);
      if (state.refused.has(entry.result_hash))
        return made("bad", `it pays ${state.refused.get(entry.result_hash)}`);
    }
    const missing = [...named.values()].filter((e) => !state.reports.get(e.result_hash)?.verified);
    if (missing.length > 0) {
      this.#askReports(
        state,
        missing.map((entry) => entry.result_hash),
        now_ms,
        out,
      );
      return made("open", `cannot check it yet: ${missing.length} of its reports are missing here`);
    }
    const again = this.#recomputed(view, base, here, (one) => named.has(one.node.address));
    if (!again || !isSame(again, settled.outcome))
      return made("bad", "its rewards do not follow from the reports it names");
    const omitted = here.find(
      (one) => !named.has(one.node.address) && this.#inTime(state, view, one.result_hash),
    );
    if (omitted && this.#worth(view, base, here, omitted))
      return made("bad", `it leaves out ${omitted.node.address}, whose report was there in time`);
    return made("accepted", "another true record: some reports came late");
  }

  #recomputed(
    view: EpochView,
    base: Base,
    here: readonly Contribution[],
    wanted: (one: Contribution) => boolean,
  ): SealedRecord | null {
    if (!base.ready || !view.settlement) return null;
    const terms = { ...view, pool: view.settlement.total };
    return computeRecord(this.parts.params.place, terms, base.record, here.filter(wanted));
  }

  /** A report whose verified worth is nothing is rightly left out. */
  #worth(view: EpochView, base: Base, here: readonly Contribution[], one: Contribution): boolean {
    const all = this.#recomputed(view, base, here, () => true);
    return all?.record.entries.some((entry) => entry.address === one.node.address) ?? false;
  }

  #askReports(state: EpochState, hashes: Hash[], now_ms: number, out: Sink<LedgerEffect>): void {
    const missing = hashes.filter((hash) => !state.reports.has(hash)).slice(0, WANTED_MAX);
    if (missing.length === 0 || now_ms - state.asked_ms < this.parts.params.resend_ms) return;
    state.asked_ms = now_ms;
    const body = { epoch: state.epoch, want: "reports" as const, result_hashes: missing };
    this.parts.broadcast(ledgerRequestMessage, body, out);
  }

  /** One challenge is enough: the nodes take turns, and stop once one stands. */
  #challenge(
    state: EpochState,
    view: EpochView,
    settlement: SettlementView,
    judgement: Judgement,
    now_ms: number,
    out: Sink<LedgerEffect>,
  ): void {
    const { time_s, account, disputes } = this.parts;
    const subject = Buffer.from(word(state.epoch)).toString("hex");
    const stands = [...disputes.values()].some(
      (one) => one.offence === "bad_root" && one.subject === `0x${subject}` && isOpen(one.phase),
    );
    const end_s = settlement.settled_at_s + view.challenge_seconds;
    if (stands || settlement.disputes > 0 || time_s >= end_s || !account?.active) return;
    if (settlement.proposer === this.parts.address) return;
    const delay_s = this.parts.stagger(state, "challenge", view.challenge_seconds);
    const patience_s = view.challenge_seconds / FETCH_SHARE;
    if (time_s < settlement.settled_at_s + Math.min(delay_s, patience_s + delay_s)) return;
    const evidence = canonicalJson({
      ...{ epoch: state.epoch, settled_root: settlement.root, settled_hash: settlement.data_hash },
      computed_root: state.record?.outcome.root ?? null,
      computed_hash: state.record?.outcome.data_hash ?? null,
      reason: judgement.reason,
    });
    const evidence_hash = sha256Hex(evidence) as Hash;
    const bytes = new Uint8Array(Buffer.from(evidence, "utf8"));
    out.push({ type: "store_evidence", evidence_hash, bytes });
    const call = {
      ...{ method: "challenge" as const, offence: "bad_root" as const },
      accused: settlement.proposer,
      ...{ subject: `0x${subject}` as const, evidence_hash: `0x${evidence_hash}` as const },
    };
    this.parts.want(`challenge:${state.epoch}:${settlement.root}`, call, now_ms, out, true);
  }

  #say(state: EpochState, settlement: SettlementView, judgement: Judgement): void {
    if (state.phase === "missed") return;
    const accepted = judgement.verdict === "accepted";
    if (settlement.final) state.phase = "final";
    else state.phase = accepted || judgement.verdict === "open" ? "settled" : "disputed";
    if (settlement.disputes > 0) state.phase = "disputed";
    state.reason = settlement.final ? "settled and final" : `settled: ${judgement.reason}`;
  }
}

const isSame = (
  record: SealedRecord,
  settled: { root: string; data_hash: string; count: number; total: bigint },
): boolean => {
  const { outcome } = record;
  return (
    outcome.root === settled.root &&
    outcome.data_hash === settled.data_hash &&
    outcome.count === settled.count &&
    outcome.total === settled.total
  );
};

/** The dispute is not decided yet. */
export const isOpen = (phase: string): boolean =>
  phase === "drawing" || phase === "vote_commit" || phase === "vote_reveal";
