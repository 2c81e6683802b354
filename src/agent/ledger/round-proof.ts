/**
 * Proof of one trained round that any node can check by itself: the quorum's certificate of the
 * merge, the announcement that it names and the job's specification. What training is worth is read
 * off it (contributors, inner steps, parameters), never off what a contributor says. Not proven:
 * that a pseudo-gradient came of honest steps; a useless one is still weighted by its tokens.
 */
import { z } from "zod";
import { sha256Hex } from "../../core/bytes.ts";
import { MagnetError, toMagnetError } from "../../core/errors.ts";
import type { Hash, PublicKey } from "../../core/types.ts";
import { readMergePlan } from "../../diloco/round-contents.ts";
import { type Announcement, announcementSchema } from "../../diloco/round-messages.ts";
import { paramCount } from "../../model/config.ts";
import { type Ballots, contentHash } from "../../network/ballot.ts";
import { certificateSchema } from "../../network/election-messages.ts";
import { defineMessage } from "../../network/protocol.ts";
import type { RequestSpec } from "../../network/transport-types.ts";
import { roundSchema } from "../../network/wire-types.ts";
import { type JobSpec, jobSpecSchema } from "../job.ts";
import { stateBytes } from "../model-state.ts";

/** As an announcement to 1,024 members, and as a job's specification may be. */
const ANNOUNCEMENT_MAX = 512 << 10;
const SPEC_MAX = 64 << 10;
/** The certificate with as many signatures, besides the two. */
const PROOF_MAX = 2 << 20;

export const roundProofSchema = z.strictObject({
  /** Of step "merge". */
  certificate: certificateSchema,
  /** Content of the announcement that the merge names by hash. */
  announcement: z.string().min(2).max(ANNOUNCEMENT_MAX),
  /** Canonical JSON of the job. */
  spec: z.string().min(2).max(SPEC_MAX),
});
export type RoundProof = z.infer<typeof roundProofSchema>;

/** Asks a peer for the proof of a round that this node was away for. */
export const roundProofRequest = {
  request: defineMessage({
    type: "ledger.round",
    schema: z.strictObject({ round: roundSchema }),
    limit_bytes: 64,
    why: "a number",
  }),
  response: defineMessage({
    type: "ledger.round_proof",
    schema: z.strictObject({ proof: roundProofSchema.nullable() }),
    limit_bytes: PROOF_MAX,
    why: "a certificate of 1,024 signatures, an announcement to as many, and a job of 64 KiB",
  }),
} satisfies RequestSpec;

/** What a proven round says. */
export interface CertifiedRound {
  round: number;
  /** Of the certified merge plan. */
  merge_hash: Hash;
  job_id: Hash;
  inner_steps: number;
  param_count: number;
  /** The promoted state, and the held-out set that it is evaluated on. */
  state_hash: Hash;
  heldout_hash: Hash;
  /** Length of the state's blob; 0 for a void round, which promotes nothing new. */
  state_bytes: number;
  /** Whose pseudo-gradients were merged; empty for a void round. */
  contributors: PublicKey[];
}

/** The error of a proof that does not hold. */
export const falseProof = (reason: string, cause?: unknown) =>
  new MagnetError("ROUND_PROOF_INVALID", `not the proof of a certified round: ${reason}`, {
    hint: "it is asked for again from another node",
    exit: "verification",
    cause,
  });

function parsed<T>(schema: z.ZodType<T>, text: string, what: string): T {
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    const issue = error instanceof z.ZodError ? error.issues[0]!.message : "it is not JSON";
    throw falseProof(`its ${what}: ${issue}`, toMagnetError(error));
  }
}

/** Checks every link from the quorum's signatures down. Throws ROUND_PROOF_INVALID. */
export function readRoundProof(proof: RoundProof, ballots: Ballots): CertifiedRound {
  const { certificate, announcement, spec } = proof;
  if (certificate.proposal.step !== "merge") throw falseProof("the certificate is of another step");
  if (!ballots.checkCertificate(certificate))
    throw falseProof("no quorum of this network signed it");
  const plan = readMergePlan(certificate.proposal)?.value;
  if (!plan) throw falseProof("the certified content is no merge plan");
  if (contentHash(announcement) !== plan.announce_hash) throw falseProof("another announcement");
  if (sha256Hex(spec) !== plan.job_id) throw falseProof("another job");
  const announced: Announcement = parsed(announcementSchema, announcement, "announcement");
  const job: JobSpec = parsed(jobSpecSchema, spec, "job");
  const job_id = plan.job_id as Hash;
  const n = paramCount(job.model);
  const isVoid = plan.contributors.length === 0;
  return {
    round: plan.round,
    merge_hash: contentHash(certificate.proposal.content),
    job_id,
    inner_steps: announced.inner_steps,
    param_count: n,
    state_hash: certificate.result_hash as Hash,
    heldout_hash: job.heldout_hash as Hash,
    state_bytes: isVoid ? 0 : stateBytes({ job_id, n, rounds_done: plan.job_round + 1 }),
    contributors: plan.contributors.map(({ public_key }) => public_key),
  };
}
