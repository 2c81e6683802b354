/**
 * Messages of the election machine (paper 10.3, leader and quorum). A round is decided in three
 * steps; in each the leader of the view proposes one content, members acknowledge, and floor(N/2)+1
 * signed acknowledgements make a certificate, which proves itself to anyone who knows the roster.
 * The content is a canonical JSON text, opaque here: its SHA-256 is what is signed.
 */
import { z } from "zod";
import { defineMessage } from "./protocol.ts";
import {
  hashSchema,
  publicKeySchema,
  ROSTER_MAX,
  roundSchema,
  signatureSchema,
  viewSchema,
} from "./wire-types.ts";

/** The steps of a round, in order. */
export const STEPS = ["announce", "collect", "merge"] as const;
export type Step = (typeof STEPS)[number];
const stepSchema = z.enum(STEPS);

/** A collected set of 1,024 commitments is about 470 KB. */
const CONTENT_MAX = 512 << 10;

/** What the leader of (round, view) asks to be acknowledged; signed by that leader. */
export const proposalSchema = z.strictObject({
  roster_hash: hashSchema,
  round: roundSchema,
  view: viewSchema,
  step: stepSchema,
  content: z.string().min(1).max(CONTENT_MAX),
  signature: signatureSchema,
});
export type Proposal = z.infer<typeof proposalSchema>;

/**
 * One member's durable promise for one term; `result_hash` is what it computed from the content.
 */
export const ackSchema = z.strictObject({
  roster_hash: hashSchema,
  round: roundSchema,
  view: viewSchema,
  step: stepSchema,
  content_hash: hashSchema,
  /** Step merge: the hash of the merged state. Other steps: the content hash again. */
  result_hash: hashSchema,
  signature: signatureSchema,
});
export type Ack = z.infer<typeof ackSchema>;

/** A proposal with a quorum of acknowledgements of one result. */
export const certificateSchema = z.strictObject({
  proposal: proposalSchema,
  result_hash: hashSchema,
  acks: z
    .array(z.strictObject({ public_key: publicKeySchema, signature: signatureSchema }))
    .min(1)
    .max(ROSTER_MAX),
});
export type Certificate = z.infer<typeof certificateSchema>;

/** What a member acknowledged without having seen it certified. */
export const lockSchema = z.strictObject({ proposal: proposalSchema, result_hash: hashSchema });
export type Lock = z.infer<typeof lockSchema>;

/** "I acknowledge nothing below `view` any more, and this is what I have acknowledged so far." */
export const viewTimeoutSchema = z.strictObject({
  roster_hash: hashSchema,
  round: roundSchema,
  /** The view asked for. */
  view: viewSchema.min(1),
  /** Certificates of this round, in step order. */
  decided: z.array(certificateSchema).max(STEPS.length - 1),
  lock: lockSchema.nullable(),
  signature: signatureSchema,
});
export type ViewTimeout = z.infer<typeof viewTimeoutSchema>;

export const proposeMessage = defineMessage({
  type: "election.propose",
  schema: proposalSchema,
  limit_bytes: CONTENT_MAX + 1024,
  why: "one content and a signature",
});

export const ackMessage = defineMessage({
  type: "election.ack",
  schema: ackSchema,
  limit_bytes: 1024,
  why: "three hashes and a signature",
});

export const viewTimeoutMessage = defineMessage({
  type: "election.view_timeout",
  schema: viewTimeoutSchema,
  limit_bytes: 3 * CONTENT_MAX + (1 << 20),
  why: "at most two certificates and one proposal",
});

export const certificatesMessage = defineMessage({
  type: "election.certificates",
  schema: z.strictObject({ certificates: z.array(certificateSchema).min(1).max(STEPS.length) }),
  limit_bytes: 3 * CONTENT_MAX + (1 << 20),
  why: "the last promotion and at most two steps of the current round",
});

export const syncMessage = defineMessage({
  type: "election.sync",
  schema: z.strictObject({ round: roundSchema, decided: z.int().min(0).max(STEPS.length) }),
  limit_bytes: 256,
  why: "two numbers: how far the asker is",
});

export const electionMessages = [
  proposeMessage,
  ackMessage,
  viewTimeoutMessage,
  certificatesMessage,
  syncMessage,
] as const;
