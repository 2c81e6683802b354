/**
 * What the ledger's state machine wants done, as calls of the contracts. A challenge stakes the
 * challenger's bond, which the contract takes by an allowance: that call goes first, under a key of
 * its own.
 */
import type { Call, Ledger } from "../../chain/client/ledger.ts";
import { type Address, type LedgerCall, OFFENCES } from "../../chain/ledger/ledger-types.ts";

/** Words as the typed contract calls take them. */
const epochOf = (call: { epoch: number }) => BigInt(call.epoch);

/** `signersOf`: who signed the settlement that a dispute is about. */
export function encodeCall(
  ledger: Ledger,
  call: LedgerCall,
  signersOf: (dispute_id: number) => readonly Address[],
): Call {
  switch (call.method) {
    case "commit":
      return ledger.call("epochs", "commit", [epochOf(call), call.commitment]);
    case "reveal":
      return ledger.call("epochs", "reveal", [
        epochOf(call),
        call.result_hash,
        call.score,
        call.nonce,
      ]);
    case "commitRoot":
      return ledger.call("epochs", "commitRoot", [epochOf(call), call.root, BigInt(call.count)]);
    case "settle":
      return ledger.call("epochs", "settle", [
        epochOf(call),
        call.root,
        call.total,
        BigInt(call.count),
        call.data_hash,
        call.signatures,
      ]);
    case "claim":
      return ledger.call("epochs", "claim", [call.account, call.cumulative, call.proof]);
    case "punishNoReveal":
    case "punishMismatch":
      return ledger.call("disputes", call.method, [epochOf(call), call.node]);
    default:
      return encodeDispute(ledger, call, signersOf);
  }
}

type DisputeCall = Exclude<
  LedgerCall,
  {
    method:
      | "commit"
      | "reveal"
      | "commitRoot"
      | "settle"
      | "claim"
      | "punishNoReveal"
      | "punishMismatch";
  }
>;

function encodeDispute(
  ledger: Ledger,
  call: DisputeCall,
  signersOf: (dispute_id: number) => readonly Address[],
): Call {
  switch (call.method) {
    case "challenge": {
      const offence = OFFENCES.indexOf(call.offence);
      const args = [offence, call.accused, call.subject, call.evidence_hash] as const;
      return ledger.call("disputes", "challenge", args);
    }
    case "drawPanel":
      return ledger.call("disputes", "drawPanel", [BigInt(call.id), signersOf(call.id)]);
    case "commitVote":
      return ledger.call("disputes", "commitVote", [BigInt(call.id), call.vote]);
    case "revealVote":
      return ledger.call("disputes", "revealVote", [BigInt(call.id), call.guilty, call.salt]);
    case "resolve":
      return ledger.call("disputes", "resolve", [BigInt(call.id)]);
    case "proveMismatch":
      return ledger.call("disputes", "proveMismatch", [
        epochOf(call),
        call.node,
        call.commitment,
        call.commit_signature,
        call.result_hash,
        call.score,
        call.nonce,
        call.reveal_signature,
      ]);
    case "proveDoubleCommit":
      return ledger.call("disputes", "proveDoubleCommit", [
        epochOf(call),
        call.node,
        call.first,
        call.first_signature,
        call.second,
        call.second_signature,
      ]);
    case "punishApprovers":
      return ledger.call("disputes", "punishApprovers", [epochOf(call), call.root, call.signers]);
  }
}
