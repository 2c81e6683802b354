/**
 * The three certified contents of a round: how the leader writes them, and what a member checks
 * before it acknowledges. A content is canonical JSON, so equal contents are equal texts. Each
 * check returns null or the reason for the refusal.
 */
import type { z } from "zod";
import { canonicalJson, sha256, sha256Hex } from "../core/bytes.ts";
import type { Hash, PublicKey } from "../core/types.ts";
import { contentHash } from "../network/ballot.ts";
import type { Proposal } from "../network/election-messages.ts";
import type { Signer, Verifier } from "../network/signer.ts";
import {
  type Announcement,
  announcementSchema,
  type Collection,
  type Commit,
  collectionSchema,
  type JobOffer,
  type MergePlan,
  mergePlanSchema,
} from "./round-messages.ts";

/** A content with its identity. */
export interface Content<T> {
  hash: Hash;
  value: T;
}

/** Reads a proposal's content; null if it is not canonical JSON of the schema. */
function reader<T>(schema: z.ZodType<T>): (proposal: Proposal) => Content<T> | null {
  // A proposal object never changes, so one is read once however often it is looked at.
  const known = new WeakMap<Proposal, Content<T> | null>();
  return (proposal) => {
    let content = known.get(proposal);
    if (content === undefined) {
      content = readContent(schema, proposal.content);
      known.set(proposal, content);
    }
    return content;
  };
}

function readContent<T>(schema: z.ZodType<T>, text: string): Content<T> | null {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return null;
  }
  const result = schema.safeParse(parsed);
  if (!result.success || canonicalJson(result.data) !== text) return null;
  return { hash: contentHash(text), value: result.data };
}

export const readAnnouncement = reader<Announcement>(announcementSchema);
export const readCollection = reader<Collection>(collectionSchema);
export const readMergePlan = reader<MergePlan>(mergePlanSchema);

/** What the next round starts from. */
export interface Next {
  job_id: Hash;
  job_round: number;
  base_hash: Hash;
}

/** Seed of a round's data order: a void round repeats its job round with the same data. */
export const dataSeed = (job: JobOffer, job_round: number): number =>
  Number.parseInt(sha256Hex(`${job.job_id}/${job.seed}/${job_round}`).slice(0, 8), 16);

export function announcement(
  round: number,
  next: Next,
  job: JobOffer,
  slices: readonly PublicKey[],
): Announcement {
  return {
    round,
    ...next,
    inner_steps: job.inner_steps,
    deadline_ms: job.round_deadline_ms,
    data_seed: dataSeed(job, next.job_round),
    slices: [...slices].sort(),
  };
}

/** Everything but the choice of slices follows from the job and the last promotion. */
export function refuseAnnouncement(
  given: Announcement,
  round: number,
  next: Next,
  job: JobOffer,
  isMember: (key: PublicKey) => boolean,
): string | null {
  if (!given.slices.every(isMember)) return "a slice is given to a stranger";
  const expected = announcement(round, next, job, given.slices);
  if (new Set(given.slices).size !== given.slices.length) return "a member has two slices";
  if (canonicalJson(expected) !== canonicalJson(given)) return "it does not follow the last round";
  return null;
}

/** Binds a contributor to its pseudo-gradient without showing it. */
export const commitmentOf = (
  round: number,
  public_key: PublicKey,
  delta_hash: Hash,
  salt: Hash,
): Hash =>
  sha256Hex(`magnet/commitment/1\n${round}\n${public_key}\n${delta_hash}\n${salt}`) as Hash;

const commitDigest = (commit: Omit<Commit, "signature">): Uint8Array => {
  const { announce_hash, public_key, commitment, tokens } = commit;
  const { loss_before, loss_after, trail_hash } = commit;
  const claims = { tokens, loss_before, loss_after, trail_hash };
  return sha256(
    "magnet/commit/2\n",
    canonicalJson({ announce_hash, public_key, commitment, ...claims }),
  );
};

export function signCommit(signer: Signer, fields: Omit<Commit, "signature">): Commit {
  return { ...fields, signature: signer.sign(commitDigest(fields)) };
}

export const checkCommit = (verifier: Verifier, commit: Commit): boolean =>
  verifier.verify(commitDigest(commit), commit.signature, commit.public_key);

/** True if the keys rise strictly: one order, nobody twice. */
const rising = (entries: readonly { public_key: PublicKey }[]): boolean =>
  entries.every((entry, i) => i === 0 || entries[i - 1]!.public_key < entry.public_key);

export function refuseCollection(
  given: Collection,
  announced: Content<Announcement>,
  verifier: Verifier,
): string | null {
  if (given.round !== announced.value.round) return "it is of another round";
  if (given.announce_hash !== announced.hash) return "it is of another announcement";
  if (!rising(given.commits)) return "commitments are not in key order";
  for (const commit of given.commits) {
    if (commit.announce_hash !== announced.hash) return "a commitment is of another round";
    if (!announced.value.slices.includes(commit.public_key)) return "a commitment has no slice";
    if (!checkCommit(verifier, commit)) return "a commitment is not signed by its owner";
  }
  return null;
}

export function refuseMergePlan(
  given: MergePlan,
  announced: Content<Announcement>,
  collected: Content<Collection>,
  job_rounds: number,
): string | null {
  const { round, job_id, job_round, base_hash } = announced.value;
  if (given.announce_hash !== announced.hash || given.collect_hash !== collected.hash)
    return "it is of another collection";
  if (given.round !== round || given.job_id !== job_id || given.job_round !== job_round)
    return "it is of another round";
  if (given.base_hash !== base_hash || given.job_rounds !== job_rounds)
    return "it does not follow the announcement";
  if (!rising(given.contributors)) return "contributors are not in key order";
  const commits = new Map(collected.value.commits.map((commit) => [commit.public_key, commit]));
  for (const { public_key, delta_hash, salt, weight } of given.contributors) {
    const commit = commits.get(public_key);
    if (!commit) return "a contributor has no commitment";
    if (commitmentOf(round, public_key, delta_hash, salt) !== commit.commitment)
      return "a pseudo-gradient is not the one committed to";
    if (weight !== commit.tokens) return "a weight is not the tokens committed to";
  }
  return null;
}
