/**
 * A training job as the network agrees on it: everything that decides the result, by value or by
 * hash, so that two nodes with the same JobSpec compute the same bits. What only one node decides
 * (threads, folders) is not in it.
 */
import { z } from "zod";
import { canonicalJson, sha256Hex } from "../core/bytes.ts";
import type { Hash } from "../core/types.ts";
import { modelConfigSchema } from "../model/config.ts";

const hashSchema = z.string().regex(/^[0-9a-f]{64}$/, "a SHA-256 in lower-case hexadecimal");

export const jobSpecSchema = z.strictObject({
  schema: z.literal("magnet.job/1"),
  /** Label for people. */
  name: z.string().min(1).max(64),
  model: modelConfigSchema,
  /** Blobs: tokenizer.json, training tokens, held-out tokens. */
  tokenizer_hash: hashSchema,
  train_hash: hashSchema,
  heldout_hash: hashSchema,
  rounds: z.int().min(1).max(100_000),
  /** H: inner steps per node and round. */
  inner_steps: z.int().min(1).max(100_000),
  /** Sequences per inner step; their length is model.context. */
  batch: z.int().min(1).max(4096),
  inner: z.strictObject({
    lr: z.number().positive().max(1),
    schedule: z.enum(["constant", "wsd", "cosine"]),
    beta1: z.number().min(0).lt(1),
    beta2: z.number().min(0).lt(1),
    eps: z.number().positive(),
    weight_decay: z.number().min(0).max(1),
    clip: z.number().min(0),
  }),
  outer: z.strictObject({
    lr: z.number().positive().max(10),
    momentum: z.number().min(0).lt(1),
  }),
  /** Encoding of pseudo-gradients on the wire. */
  compression: z.enum(["fp32", "fp16", "int8", "int4"]),
  /** Longest wait for one round's local training. */
  round_deadline_ms: z.int().min(1000).max(86_400_000),
  /** How many held-out sequences every node evaluates its own and the merged model on. */
  heldout_sequences: z.int().min(1).max(65_536),
  /** Seeds the initial weights and the data order. */
  seed: z
    .int()
    .min(0)
    .max(2 ** 32 - 1),
});
export type JobSpec = z.infer<typeof jobSpecSchema>;

/** AdamW as the paper's recipe has it, but for the learning rate. */
export const INNER_DEFAULTS = {
  schedule: "wsd",
  beta1: 0.9,
  beta2: 0.98,
  eps: 1e-8,
  weight_decay: 0.1,
  clip: 1,
} as const satisfies Partial<JobSpec["inner"]>;

/** Identity of a job: the hash of its canonical JSON. */
export const jobId = (job: JobSpec): Hash => sha256Hex(canonicalJson(job)) as Hash;
