/**
 * Who of a round is audited, where in its steps, and by whom: a function of the certified merge plan
 * alone, so that every node draws the same. The plan's hash covers the salts of all commitments, which
 * only their owners knew when the trails were committed to: nobody could train honestly just where it
 * would be looked at.
 */
import { sha256Hex } from "../../core/bytes.ts";
import type { Hash, PublicKey } from "../../core/types.ts";

/** Part of the network's inner steps that is done a second time. */
export const AUDIT_SHARE = 0.05;
/** The auditor, and those who stand in for it or look a second time. */
export const AUDITORS_MAX = 4;
/**
 * From the promotion on: as long the author keeps what an audit needs, and others the job. Auditors
 * begin in the first half.
 */
export const AUDIT_WINDOW_MS = 600_000;

export interface DrawnRound {
  /** Of the certified merge plan. */
  merge_hash: Hash;
  /** Of each contributor in this round. */
  inner_steps: number;
  /** Inner steps from one point of a trail to the next; the last stretch may be shorter. */
  stride: number;
  contributors: readonly PublicKey[];
  /** All members of the network, contributors or not. */
  members: readonly PublicKey[];
}

export interface DrawnAudit {
  author: PublicKey;
  /** From point `stretch` of its trail to the next. */
  stretch: number;
  /** First the auditor, then in turn whoever takes over from it or confirms what it found. */
  auditors: PublicKey[];
}

/** Bits of one drawn number: as many as a double holds exactly, in whole hex digits. */
const DIGITS = 13;
const SCALE = 16 ** DIGITS;

/** Two numbers in [0, 1), independent of each other. */
function draws(merge_hash: Hash, author: PublicKey): [number, number] {
  const hex = sha256Hex(`magnet training audit/1\n${merge_hash}\n${author}`);
  const at = (i: number) => Number.parseInt(hex.slice(i * DIGITS, (i + 1) * DIGITS), 16) / SCALE;
  return [at(0), at(1)];
}

/** Rendezvous hashing over the other members: nobody audits himself, nobody chooses. */
export function trainingAuditors(
  merge_hash: Hash,
  author: PublicKey,
  members: readonly PublicKey[],
): PublicKey[] {
  const rank = (auditor: PublicKey) =>
    sha256Hex(`magnet training auditor/1\n${merge_hash}\n${author}\n${auditor}`);
  return members
    .filter((key) => key !== author)
    .map((key) => ({ key, rank: rank(key) }))
    .sort((a, b) => (a.rank < b.rank ? -1 : 1))
    .slice(0, AUDITORS_MAX)
    .map(({ key }) => key);
}

/**
 * The audits of a round, in the order of its contributors. A stretch is drawn alike among all of the
 * trail; that it is then audited is likelier the shorter it is, so that `share` of the steps are done
 * again on average (less where one stretch of every trail is not as much).
 */
export function drawAudits(round: DrawnRound, share = AUDIT_SHARE): DrawnAudit[] {
  const { merge_hash, inner_steps, stride, contributors, members } = round;
  const stretches = Math.ceil(inner_steps / stride);
  const drawn: DrawnAudit[] = [];
  for (const author of contributors) {
    const [chance, place] = draws(merge_hash, author);
    const stretch = Math.floor(place * stretches);
    const steps = Math.min(stride, inner_steps - stretch * stride);
    if (chance >= (share * inner_steps) / steps) continue;
    drawn.push({ author, stretch, auditors: trainingAuditors(merge_hash, author, members) });
  }
  return drawn;
}
