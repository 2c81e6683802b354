/**
 * Settings of an alignment run: those of a training run, with defaults for a model that has been
 * trained already, and what ORPO adds; and how they are carried by a checkpoint.
 */
import { z } from "zod";
import { MagnetError } from "../core/errors.ts";
import type { Hash } from "../core/types.ts";
import type { CheckpointManifest, CheckpointState } from "./checkpoint-manifest.ts";
import type { InnerState } from "./inner-loop.ts";
import {
  checkpointState,
  parseTrainingConfig,
  requireContinuation,
  settingsOf,
  type TrainingConfig,
  type TrainingSettings,
} from "./training-config.ts";

/**
 * Weight of the odds ratio in the loss. With the 0.1 of large models the win rate of models of a few
 * million parameters hardly moves; at 1 it rises and the language loss holds; from 3 on that gets
 * worse (tests/peers/align-text.ts).
 */
export const DEFAULT_BETA = 1;

/**
 * A third of the learning rate of training from scratch: the weights are to move little. No weight
 * decay, which would pull a finished model towards zero.
 */
export const ALIGN_DEFAULTS = {
  /** Pairs of a micro-batch. */
  batch: 8,
  optimizer: "adamw",
  lr: 5e-4,
  schedule: "cosine",
  weight_decay: 0,
  eval_interval: 0,
} as const satisfies Partial<TrainingSettings>;

export interface AlignConfig {
  training: TrainingConfig;
  /** Weight of the odds ratio in the loss. */
  beta: number;
  /** SHA-256 of the weights that alignment began with. */
  base_hash: Hash;
}
export type AlignSettings = Partial<Omit<TrainingSettings, "model">> & {
  beta?: number | undefined;
};

const betaSchema = z.number().min(0).max(1000);

function withoutUndefined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, v]) => v !== undefined)) as T;
}

/**
 * Settles the settings of a run: those given, else those of the checkpoint that is gone on from,
 * else the defaults; steps: one pass over the pairs. Throws BAD_TRAINING_CONFIG naming the fields.
 */
export function alignConfig(options: {
  given: AlignSettings;
  model: TrainingSettings["model"];
  resume: CheckpointManifest | null;
  base_hash: Hash;
  pairs: number;
}): AlignConfig {
  const { given, model, resume, pairs } = options;
  const { beta: given_beta, ...given_training } = withoutUndefined(given);
  const saved = resume ? settingsOf(resume) : ALIGN_DEFAULTS;
  const settings = { ...saved, ...given_training, model };
  const { batch = ALIGN_DEFAULTS.batch, accumulate = 1 } = settings as AlignSettings;
  const steps = Math.max(1, Math.ceil(pairs / (batch * accumulate)));
  const beta = betaSchema.safeParse(given_beta ?? resume?.alignment?.beta ?? DEFAULT_BETA);
  if (!beta.success)
    throw new MagnetError("BAD_TRAINING_CONFIG", `beta: ${beta.error.issues[0]?.message}`, {
      hint: "see the limits with: magnet align --help",
      exit: "config",
    });
  return {
    training: parseTrainingConfig({ steps, ...settings }),
    beta: beta.data,
    base_hash: (resume?.alignment?.base_hash as Hash | undefined) ?? options.base_hash,
  };
}

export interface AlignHashes {
  train_hash: Hash;
  tokenizer_hash: Hash;
}

/** The part of a checkpoint's manifest that an alignment run determines. */
export function alignmentState(
  { training, beta, base_hash }: AlignConfig,
  state: InnerState,
  hashes: AlignHashes,
): CheckpointState {
  const alignment = { method: "orpo" as const, beta, base_hash };
  return { ...checkpointState(training, state, hashes), alignment };
}

/** Throws RESUME_MISMATCH where a resumed run would not be the continuation of its checkpoint. */
export function requireAlignContinuation(
  manifest: CheckpointManifest,
  config: AlignConfig,
  hashes: AlignHashes,
): void {
  if (manifest.alignment === undefined)
    throw new MagnetError("RESUME_MISMATCH", "the checkpoint is not of an alignment run", {
      hint: "name it with --model and start a new run in another --out",
    });
  if (manifest.alignment.beta !== config.beta)
    throw new MagnetError(
      "RESUME_MISMATCH",
      `the checkpoint is of another run: beta is ${manifest.alignment.beta} there and ${config.beta} here`,
      { hint: "resume with the same data and settings, or start a new run in another --out" },
    );
  requireContinuation(manifest, config.training, hashes);
}
