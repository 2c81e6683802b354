/**
 * What nodes ask each other about research: whether one takes trials, to run one, to forget one.
 * Asking for a trial again is how its result is waited for: the job's text is its identity, so a
 * question that is asked twice, or after a restart, is never run twice.
 */
import { z } from "zod";
import { defineMessage } from "../../network/protocol.ts";
import type { RequestSpec } from "../../network/transport-types.ts";
import { hashSchema, signatureSchema } from "../../network/wire-types.ts";
import { JOB_BYTES_MAX, RESULT_BYTES_MAX } from "./limits.ts";

export const researchOffer = {
  request: defineMessage({
    type: "research.offer",
    schema: z.strictObject({}),
    limit_bytes: 64,
    why: "it asks without saying anything",
  }),
  response: defineMessage({
    type: "research.offered",
    schema: z.strictObject({
      /** Trials at once; 0: this node takes none. */
      workers: z.int().min(0).max(1024),
      /** CPU seconds that one trial may use here. */
      trial_cpu_s: z.number().min(0).max(1e9),
      version: z.string().max(64),
    }),
    limit_bytes: 512,
    why: "two numbers and a version",
  }),
} satisfies RequestSpec;

export const researchTrial = {
  request: defineMessage({
    type: "research.trial",
    schema: z.strictObject({
      /** Canonical JSON of the job (research-job.ts). */
      job: z.string().max(JOB_BYTES_MAX),
      signature: signatureSchema,
    }),
    limit_bytes: 2 * JOB_BYTES_MAX,
    why: "one job and its signature",
  }),
  response: defineMessage({
    type: "research.result",
    schema: z.discriminatedUnion("state", [
      z.strictObject({ state: z.literal("running") }),
      /** All places are taken. */
      z.strictObject({ state: z.literal("busy") }),
      z.strictObject({
        state: z.literal("ended"),
        /** Canonical JSON of the result, signed by the node that computed it. */
        result: z.string().max(RESULT_BYTES_MAX),
        signature: signatureSchema,
      }),
    ]),
    limit_bytes: 2 * RESULT_BYTES_MAX,
    why: "one result with its figures and its signature; outputs travel as a blob",
  }),
} satisfies RequestSpec;

export const researchDrop = {
  request: defineMessage({
    type: "research.drop",
    schema: z.strictObject({ job_id: hashSchema }),
    limit_bytes: 128,
    why: "a hash",
  }),
  response: defineMessage({
    type: "research.dropped",
    schema: z.strictObject({}),
    limit_bytes: 64,
    why: "it says nothing",
  }),
} satisfies RequestSpec;

export const researchRequests = [researchOffer, researchTrial, researchDrop] as const;
