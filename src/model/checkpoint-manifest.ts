/**
 * manifest.json of a checkpoint (schema magnet.checkpoint/1): everything that determines how
 * training continues, and its hash. Two runs of one configuration, seed and data have equal
 * checkpoint hashes at equal steps, whatever their threads, CPU, paths or time; a resumed run ends
 * with the hash of one that never stopped. Losses are recorded beside it, but do not enter the
 * hash.
 */
import { z } from "zod";
import { canonicalJson, sha256Hex } from "../core/bytes.ts";
import { MagnetError } from "../core/errors.ts";
import type { Hash } from "../core/types.ts";

/** Files of a checkpoint besides manifest.json; no other name is ever read. */
export const CHECKPOINT_FILES = [
  "model.safetensors",
  "optimizer.safetensors",
  "tokenizer.json",
] as const;
export type CheckpointFile = (typeof CHECKPOINT_FILES)[number];

const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const hash = z.string().regex(/^[0-9a-f]{64}$/);
const seed = z.string().regex(/^(0|[1-9][0-9]{0,19})$/);
const digest = z.strictObject({ size_bytes: count, sha256: hash });

const stateShape = {
  /** The model's configuration, as model/config.ts defines it. */
  model: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])),
  tokenizer_hash: hash,
  /** Optimizer steps done. */
  step: count,
  /** Seed of the initial weights, unsigned 64 bits. */
  init_seed: seed,
  /** Only of a run that started from given weights: SHA-256 of them as float32. */
  init_hash: hash.optional(),
  data: z.strictObject({
    /** Content hash of the training token file; of mixed data, hash over its sources. */
    train_hash: hash,
    /** Mixed data only: content hash, share in 2^-20 and sequences consumed of each source. */
    sources: z
      .array(z.strictObject({ train_hash: hash, weight_parts: count, position: count }))
      .min(2)
      .optional(),
    /** Sequences consumed by this slice. */
    position: count,
    order_seed: seed,
    slice_index: count,
    slice_count: count,
    batch: count,
    accumulate: count,
    context: count,
  }),
  optimizer: z.strictObject({
    name: z.enum(["adamw", "muon"]),
    beta1: z.number(),
    beta2: z.number(),
    eps: z.number(),
    weight_decay: z.number(),
    clip: z.number(),
    /** Of Muon only. */
    momentum: z.number().optional(),
    /** Left out where it is constant. */
    weight_decay_schedule: z.literal("two-stage").optional(),
  }),
  schedule: z.strictObject({
    kind: z.enum(["constant", "wsd", "cosine", "two-stage"]),
    peak_lr: z.number(),
    total_steps: count,
  }),
  /** Alignment runs only; data.batch then counts pairs. */
  alignment: z
    .strictObject({
      method: z.literal("orpo"),
      beta: z.number(),
      /** SHA-256 of the weights that alignment began with. */
      base_hash: hash,
    })
    .optional(),
  /** State of the divergence monitor: the smoothed training loss, null before the first step. */
  loss_average: z.number().nullable(),
};
const stateSchema = z.strictObject(stateShape);
/** What the caller of a save says about its run. */
export type CheckpointState = z.infer<typeof stateSchema>;

export const checkpointManifestSchema = z.strictObject({
  schema: z.literal("magnet.checkpoint/1"),
  checkpoint_hash: hash,
  ...stateShape,
  losses: z.strictObject({ train: z.number().nullable(), heldout: z.number().nullable() }),
  files: z.strictObject({
    "model.safetensors": digest,
    "optimizer.safetensors": digest,
    "tokenizer.json": digest,
  }),
});
export type CheckpointManifest = z.infer<typeof checkpointManifestSchema>;

/** Hash of all that determines the continuation: state and file contents, no losses. */
export function checkpointHash(manifest: Omit<CheckpointManifest, "checkpoint_hash">): Hash {
  const { losses: _losses, ...covered } = { ...manifest, checkpoint_hash: undefined };
  return sha256Hex(canonicalJson(covered)) as Hash;
}

/** The error of a checkpoint whose bytes are not what was saved. */
export function checkpointCorrupt(folder: string, file: string, what: string): MagnetError {
  return new MagnetError("CHECKPOINT_CORRUPT", `${folder}: ${file} ${what}`, {
    hint: "use an earlier checkpoint of the same run (the step-* folders beside it), or another copy",
    exit: "verification",
  });
}

/** Parses and checks manifest.json, its hash included. Throws CHECKPOINT_CORRUPT. */
export function parseManifest(folder: string, text: string): CheckpointManifest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw checkpointCorrupt(folder, "manifest.json", "is not JSON");
  }
  const schema = (value as { schema?: unknown } | null)?.schema;
  if (typeof schema === "string" && schema !== "magnet.checkpoint/1")
    throw new MagnetError(
      "UNSUPPORTED",
      `${folder}: manifest.json has schema ${schema.slice(0, 80)}`,
      {
        hint: "it was written by another version of magnet, or is no checkpoint",
      },
    );
  const parsed = checkpointManifestSchema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const where = issue?.path.join(".") || "the document";
    throw checkpointCorrupt(folder, "manifest.json", `is invalid at ${where}: ${issue?.message}`);
  }
  if (checkpointHash(parsed.data) !== parsed.data.checkpoint_hash)
    throw checkpointCorrupt(folder, "manifest.json", "does not match its checkpoint_hash");
  return parsed.data;
}
