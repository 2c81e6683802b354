/**
 * Claims and verdicts: what is signed, and when a verdict counts. It takes two of the auditors that the
 * round's draw names, the second behind the first in its order; no other pair of members convicts.
 */
import { sha256 } from "../../core/bytes.ts";
import type { PublicKey } from "../../core/types.ts";
import { lengthPrefixed } from "../../network/auth.ts";
import type { Signer, Verifier } from "../../network/signer.ts";
import type { AuditCase } from "./audit-case.ts";
import { type Claim, REASON_MAX, type Verdict } from "./messages.ts";

type Unsigned = Omit<Claim, "signature">;

function claimDigest(claim: Unsigned): Uint8Array {
  const { merge_hash, round, author, trail_hash, stretch, reason, claimer } = claim;
  const what = `${merge_hash} ${round} ${author} ${trail_hash} ${stretch}`;
  return sha256(lengthPrefixed("magnet training claim/1", what, reason, claimer));
}

const verdictDigest = (claim: Claim, second: PublicKey): Uint8Array =>
  sha256(lengthPrefixed("magnet training verdict/1", claimDigest(claim), claim.signature, second));

export function signClaim(signer: Signer, found: AuditCase, reason: string): Claim {
  const { merge_hash, round, author, trail_hash, stretch } = found;
  if (trail_hash === null) throw new Error("a contribution without a trail is not claimed wrong");
  const what = { merge_hash, round, author, trail_hash, stretch };
  const claim = { ...what, reason: reason.slice(0, REASON_MAX), claimer: signer.public_key };
  return { ...claim, signature: signer.sign(claimDigest(claim)) };
}

export const signVerdict = (signer: Signer, claim: Claim): Verdict => ({
  claim,
  second: signer.public_key,
  signature: signer.sign(verdictDigest(claim, signer.public_key)),
});

/** True if the claim is about this case, by an auditor drawn for it, and is signed. */
export function claimHolds(verifier: Verifier, found: AuditCase, claim: Claim): boolean {
  const { merge_hash, round, author, trail_hash, stretch, auditors } = found;
  const isOfCase =
    claim.merge_hash === merge_hash &&
    claim.round === round &&
    claim.author === author &&
    claim.trail_hash === trail_hash &&
    claim.stretch === stretch;
  if (!isOfCase || !auditors.includes(claim.claimer)) return false;
  return verifier.verify(claimDigest(claim), claim.signature, claim.claimer);
}

/** True if two auditors drawn for this case signed it, the second behind the first in the order. */
export function verdictHolds(verifier: Verifier, found: AuditCase, verdict: Verdict): boolean {
  const { claim, second, signature } = verdict;
  const at = found.auditors.indexOf(claim.claimer);
  if (at < 0 || found.auditors.indexOf(second) <= at) return false;
  if (!claimHolds(verifier, found, claim)) return false;
  return verifier.verify(verdictDigest(claim, second), signature, second);
}
