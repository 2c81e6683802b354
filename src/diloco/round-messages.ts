/**
 * Messages and certified contents of a DiLoCo round (paper 10.3): announcement, collected
 * commitments, merge set; and the job they belong to. Bytes of pseudo-gradients are never in here:
 * they are fetched peer to peer by hash.
 */
import { z } from "zod";
import { defineMessage } from "../network/protocol.ts";
import {
  hashSchema,
  publicKeySchema,
  ROSTER_MAX,
  roundSchema,
  signatureSchema,
} from "../network/wire-types.ts";

/** Canonical JSON of a job is a few KiB; the model and the data are named by hash. */
const SPEC_MAX = 64 << 10;
/** Jobs known at one time, running and waiting; a further one is refused. */
export const JOBS_MAX = 16;
/** Ended jobs remembered; the oldest is forgotten first. */
export const FINISHED_MAX = 64;

/** A job as the round machine needs it; `spec` is the whole of it for the trainer. */
export const jobOfferSchema = z.strictObject({
  /** SHA-256 of `spec`. */
  job_id: hashSchema,
  rounds: z.int().min(1).max(100_000),
  /** H: inner steps per node and round. */
  inner_steps: z.int().min(1).max(100_000),
  /** Longest wait for one round's local training. */
  round_deadline_ms: z.int().min(100).max(86_400_000),
  seed: z
    .int()
    .min(0)
    .max(2 ** 32 - 1),
  /** Hash of the state that the first round starts from; every node checks it. */
  base_hash: hashSchema,
  /** Canonical JSON of the job. */
  spec: z.string().min(2).max(SPEC_MAX),
});
export type JobOffer = z.infer<typeof jobOfferSchema>;

/**
 * A job that ended with the promotion of `round`. It counts only for a node that has promoted that
 * round itself: until then the last merge may still have to be decided, and that needs the job.
 */
export const finishedJobSchema = z.strictObject({ job_id: hashSchema, round: roundSchema });
export type FinishedJob = z.infer<typeof finishedJobSchema>;

/** Content of step "announce". */
export const announcementSchema = z.strictObject({
  round: roundSchema,
  job_id: hashSchema,
  /** Round within the job, from 0. */
  job_round: z.int().min(0).max(100_000),
  inner_steps: z.int().min(1).max(100_000),
  /** Time for local training from the announcement on. */
  deadline_ms: z.int().min(100).max(86_400_000),
  base_hash: hashSchema,
  data_seed: z
    .int()
    .min(0)
    .max(2 ** 32 - 1),
  /** Members that train, in key order: the i-th takes slice i of slices.length. */
  slices: z.array(publicKeySchema).min(1).max(ROSTER_MAX),
});
export type Announcement = z.infer<typeof announcementSchema>;

/** A finite loss, or null where the node has no held-out data. */
const lossSchema = z.number().min(0).max(1e9).nullable();

/** A contributor's signed commitment: made before any pseudo-gradient can be seen. */
export const commitSchema = z.strictObject({
  announce_hash: hashSchema,
  public_key: publicKeySchema,
  /** SHA-256 over (tag, round, public key, delta hash, salt). */
  commitment: hashSchema,
  tokens: z
    .int()
    .min(1)
    .max(2 ** 48),
  /** Mean held-out loss of the base and after local training. */
  loss_before: lossSchema,
  loss_after: lossSchema,
  /**
   * SHA-256 of the trail of its inner steps, by which they can be audited; null where the node had no
   * room for what an audit needs.
   */
  trail_hash: hashSchema.nullable(),
  signature: signatureSchema,
});
export type Commit = z.infer<typeof commitSchema>;

/** Content of step "collect": who may contribute to this round. */
export const collectionSchema = z.strictObject({
  round: roundSchema,
  announce_hash: hashSchema,
  commits: z.array(commitSchema).min(1).max(ROSTER_MAX),
});
export type Collection = z.infer<typeof collectionSchema>;

/** An opened commitment. */
export const revealSchema = z.strictObject({
  announce_hash: hashSchema,
  delta_hash: hashSchema,
  salt: hashSchema,
  size_bytes: z
    .int()
    .min(1)
    .max(2 ** 40),
});
export type Reveal = z.infer<typeof revealSchema>;

/** One pseudo-gradient of the merge, with the proof that it was committed to. */
export const contributorSchema = z.strictObject({
  public_key: publicKeySchema,
  delta_hash: hashSchema,
  salt: hashSchema,
  size_bytes: z
    .int()
    .min(1)
    .max(2 ** 40),
  /** Tokens processed; the merge divides by the sum. */
  weight: z
    .int()
    .min(1)
    .max(2 ** 48),
});
export type Contributor = z.infer<typeof contributorSchema>;

/**
 * Content of step "merge". Its result is the hash of the merged state; with no contributors at all
 * (everyone who committed is gone) the round is void and the result is the base.
 */
export const mergePlanSchema = z.strictObject({
  round: roundSchema,
  job_id: hashSchema,
  job_round: z.int().min(0).max(100_000),
  /** Rounds of the job, so that a late joiner knows from the certificate alone whether it ended. */
  job_rounds: z.int().min(1).max(100_000),
  announce_hash: hashSchema,
  collect_hash: hashSchema,
  base_hash: hashSchema,
  /** In key order. */
  contributors: z.array(contributorSchema).max(ROSTER_MAX),
});
export type MergePlan = z.infer<typeof mergePlanSchema>;

export const jobsMessage = defineMessage({
  type: "round.jobs",
  schema: z.strictObject({
    /** Jobs running or waiting at the sender, in its order. */
    jobs: z.array(jobOfferSchema).max(JOBS_MAX),
    /** Jobs that ended lately: a node that was away must not start them again. */
    finished: z.array(finishedJobSchema).max(FINISHED_MAX),
  }),
  limit_bytes: JOBS_MAX * (SPEC_MAX + 1024) + FINISHED_MAX * 128,
  why: "every job known, each of at most 64 KiB, and the identities of ended ones",
});

export const jobsRequestMessage = defineMessage({
  type: "round.jobs_request",
  schema: z.strictObject({}),
  limit_bytes: 64,
  why: "an empty question",
});

export const commitMessage = defineMessage({
  type: "round.commit",
  schema: commitSchema,
  limit_bytes: 2048,
  why: "three hashes, three numbers, a key and a signature",
});

export const abstainMessage = defineMessage({
  type: "round.abstain",
  schema: z.strictObject({ announce_hash: hashSchema, reason: z.string().max(256) }),
  limit_bytes: 1024,
  why: "a hash and a sentence",
});

export const revealMessage = defineMessage({
  type: "round.reveal",
  schema: revealSchema,
  limit_bytes: 1024,
  why: "three hashes and a number; the bytes are fetched apart",
});

export const roundMessages = [
  jobsMessage,
  jobsRequestMessage,
  commitMessage,
  abstainMessage,
  revealMessage,
] as const;
