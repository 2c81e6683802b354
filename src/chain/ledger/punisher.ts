/**
 * Offences that the chain can check by itself are reported by whoever sees them; the nodes take turns,
 * so that as a rule one transaction does it. Half of the slash is the reporter's.
 */
import type { Sink } from "../../network/effects.ts";
import type { EpochState } from "./epoch-state.ts";
import { openingFields } from "./gatherer.ts";
import type { EpochView, Hex, LedgerEffect } from "./ledger-types.ts";
import type { MachineParts } from "./machine-parts.ts";

const signatureHex = (signature: string): Hex => `0x${signature}`;

export class Punisher {
  constructor(private readonly parts: MachineParts) {}

  advance(state: EpochState, now_ms: number, out: Sink<LedgerEffect>): void {
    const { view } = state;
    if (!view || !this.parts.account?.active) return;
    const { reveal_end_s, proposer_end_s } = view.windows;
    const turn_s = this.parts.stagger(state, "punish", 2 * (proposer_end_s - reveal_end_s));
    if (this.parts.time_s < reveal_end_s + turn_s) return;
    this.#onChain(state, view, now_ms, out);
    this.#gossiped(state, view, now_ms, out);
    this.#approvers(state, now_ms, out);
  }

  /** True while something of the epoch is left to report. */
  isPending({ view }: EpochState): boolean {
    if (!view) return false;
    const opened = new Set(view.reveals.filter((one) => one.matches).map((one) => one.node));
    return view.commits.some((one) => !one.punished && !opened.has(one.node));
  }

  #onChain(state: EpochState, view: EpochView, now_ms: number, out: Sink<LedgerEffect>): void {
    const { epoch } = state;
    const reveals = new Map(view.reveals.map((reveal) => [reveal.node, reveal.matches]));
    for (const { node, punished } of view.commits) {
      const matches = reveals.get(node);
      if (punished || matches === true || node === this.parts.address) continue;
      const method = matches === undefined ? "punishNoReveal" : "punishMismatch";
      this.parts.want(`${method}:${epoch}:${node}`, { method, epoch, node }, now_ms, out, true);
    }
  }

  #gossiped(state: EpochState, view: EpochView, now_ms: number, out: Sink<LedgerEffect>): void {
    const { epoch } = state;
    for (const [node, [first, second]] of state.doubles) {
      const call = {
        ...{ method: "proveDoubleCommit" as const, epoch, node },
        ...{ first: first.commitment, first_signature: signatureHex(first.signature) },
        ...{ second: second.commitment, second_signature: signatureHex(second.signature) },
      };
      this.parts.want(`double:${epoch}:${node}`, call, now_ms, out, true);
    }
    for (const [node, [commit, reveal]] of state.mismatches) {
      // A commitment on the chain is judged there.
      if (view.commits.some((entry) => entry.node === node)) continue;
      const { result_hash, score, nonce } = openingFields(reveal);
      const call = {
        ...{ method: "proveMismatch" as const, epoch, node, commitment: commit.commitment },
        commit_signature: signatureHex(commit.signature),
        ...{ result_hash: `0x${result_hash}` as Hex, score, nonce },
        reveal_signature: signatureHex(reveal.signature),
      };
      this.parts.want(`mismatch:${epoch}:${node}`, call, now_ms, out, true);
    }
  }

  /** Who signed a root that a panel has judged bad. */
  #approvers(state: EpochState, now_ms: number, out: Sink<LedgerEffect>): void {
    const { epoch } = state;
    const judged = [...this.parts.disputes.values()].some(
      (one) =>
        one.offence === "bad_root" &&
        one.phase === "guilty" &&
        Number(BigInt(one.subject)) === epoch,
    );
    if (!judged) return;
    for (const [root, signers] of state.rejected) {
      if (signers.length === 0 || signers.includes(this.parts.address)) continue;
      const call = { method: "punishApprovers" as const, epoch, root, signers };
      this.parts.want(`approvers:${epoch}:${root}`, call, now_ms, out, true);
    }
  }
}
