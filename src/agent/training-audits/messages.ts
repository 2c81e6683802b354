/**
 * What nodes say to each other about audits of training: for the text of a trail, for another member to
 * take an audit over, for a second look at what was found wrong, and what two of them agree on. The
 * bytes of weights and moments are fetched apart, by hash.
 */
import { z } from "zod";
import { defineMessage } from "../../network/protocol.ts";
import type { RequestSpec } from "../../network/transport-types.ts";
import {
  hashSchema,
  publicKeySchema,
  roundSchema,
  signatureSchema,
} from "../../network/wire-types.ts";
import { STRETCHES_MAX, TRAIL_BYTES_MAX } from "../trail/trail.ts";

/** A sentence for people. */
export const REASON_MAX = 250;

/** To a trail's author, or to whoever keeps it as evidence. */
export const trailRequest = {
  request: defineMessage({
    type: "audit.trail",
    schema: z.strictObject({ trail_hash: hashSchema }),
    limit_bytes: 128,
    why: "a hash",
  }),
  response: defineMessage({
    type: "audit.trail_text",
    schema: z.strictObject({ trail: z.string().min(2).max(TRAIL_BYTES_MAX).nullable() }),
    limit_bytes: TRAIL_BYTES_MAX + 64,
    why: "the points of one round's training, each of two hashes and a number",
  }),
} satisfies RequestSpec;

/** The drawn auditor cannot do it: the next in order may. */
export const takeOverRequest = {
  request: defineMessage({
    type: "audit.take_over",
    schema: z.strictObject({ round: roundSchema, author: publicKeySchema }),
    limit_bytes: 256,
    why: "a number and a key",
  }),
  response: defineMessage({
    type: "audit.taken_over",
    schema: z.strictObject({ taken: z.boolean() }),
    limit_bytes: 64,
    why: "yes or no",
  }),
} satisfies RequestSpec;

/** An auditor's signed word that a contribution is not what its trail says. */
export const claimSchema = z.strictObject({
  /** Of the certified merge plan that the contribution is in. */
  merge_hash: hashSchema,
  round: roundSchema,
  author: publicKeySchema,
  trail_hash: hashSchema,
  stretch: z
    .int()
    .min(0)
    .max(STRETCHES_MAX - 1),
  reason: z.string().min(1).max(REASON_MAX),
  claimer: publicKeySchema,
  signature: signatureSchema,
});
export type Claim = z.infer<typeof claimSchema>;

/** Asked again until the answer is another than "working". */
export const claimRequest = {
  request: defineMessage({
    type: "audit.claim",
    schema: z.strictObject({ claim: claimSchema }),
    limit_bytes: 2048,
    why: "three hashes, two keys, two numbers, a sentence and a signature",
  }),
  response: defineMessage({
    type: "audit.claim_answer",
    schema: z.strictObject({
      /** `unable`: nothing is said of the claim, another may look. */
      state: z.enum(["working", "confirmed", "refuted", "unable"]),
      reason: z.string().max(REASON_MAX),
      /** Of the verdict, where it is confirmed. */
      signature: signatureSchema.nullable(),
    }),
    limit_bytes: 1024,
    why: "a word, a sentence and a signature",
  }),
} satisfies RequestSpec;

/** A claim that a second auditor found true by its own audit. */
export const verdictSchema = z.strictObject({
  claim: claimSchema,
  second: publicKeySchema,
  signature: signatureSchema,
});
export type Verdict = z.infer<typeof verdictSchema>;

export const verdictMessage = defineMessage({
  type: "audit.verdict",
  schema: verdictSchema,
  limit_bytes: 3072,
  why: "a claim, a key and a signature",
});

export const trainingAuditRequests = [trailRequest, takeOverRequest, claimRequest] as const;
export const trainingAuditMessages = [verdictMessage] as const;
