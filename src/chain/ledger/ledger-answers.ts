/** Answers to peers that ask for gossip they have missed. */
import type { z } from "zod";
import type { PublicKey } from "../../core/types.ts";
import type { Sink } from "../../network/effects.ts";
import type { EpochState } from "./epoch-state.ts";
import type { LedgerEffect } from "./ledger-types.ts";
import {
  ledgerCommitMessage,
  type ledgerRequestMessage,
  ledgerRevealMessage,
  recordSignatureMessage,
  reportMessage,
} from "./messages.ts";
import type { Settler } from "./settler.ts";

export type LedgerRequest = z.infer<(typeof ledgerRequestMessage)["schema"]>;

/** Sends what is here of what was asked for. */
export function answerRequest(
  state: EpochState,
  request: LedgerRequest,
  to: PublicKey,
  settler: Settler,
  out: Sink<LedgerEffect>,
): void {
  const { epoch } = state;
  const send = (type: string, body: unknown) =>
    out.push({ type: "send", to, message: { type, body } });
  switch (request.want) {
    case "commits":
      for (const body of state.gossip_commits.values()) send(ledgerCommitMessage.type, body);
      break;
    case "commit_set":
      if (state.view?.commit_root) settler.tellSet(state, state.view.commit_root.root, to, out);
      break;
    case "reveals":
      for (const body of state.gossip_reveals.values()) send(ledgerRevealMessage.type, body);
      break;
    case "reports":
      for (const hash of request.result_hashes) {
        const report = state.reports.get(hash)?.text;
        if (report !== undefined) send(reportMessage.type, { epoch, report });
      }
      break;
    case "signatures":
      for (const body of state.signatures.values()) send(recordSignatureMessage.type, body);
      break;
  }
}
