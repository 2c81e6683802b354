/**
 * Settings of a training run and their defaults (paper 4, 8: beta2 0.98, global-norm clip 1, WSD
 * schedule), and how they are carried by a checkpoint. Paper: AdamW. We take Muon for the matrices
 * of the blocks and no weight decay in the second half, because ternary models of this size end at
 * a clearly lower loss with them (docs/proof.md).
 */
import { z } from "zod";
import { MagnetError } from "../core/errors.ts";
import type { Hash } from "../core/types.ts";
import type { DataState } from "./batch-reader.ts";
import type { CheckpointManifest, CheckpointState } from "./checkpoint-manifest.ts";
import { type ModelConfig, modelConfigSchema, parseModelConfig } from "./config.ts";
import type { Hyperparameters, InnerState } from "./inner-loop.ts";
import { OPTIMIZERS } from "./optimizer.ts";
import { DECAY_SCHEDULES, SCHEDULES } from "./schedule.ts";
import type { TrainerOptions } from "./trainer-types.ts";

/**
 * Peak learning rate unless given. AdamW: BitNet's for 700M parameters. Muon: between the best of a
 * scan at 1.7M parameters, 0.016 (docs/proof.md), and that.
 */
export const DEFAULT_LR = { adamw: 1.5e-3, muon: 4e-3 } as const;

const seed = z
  .union([
    z.int().nonnegative(),
    z
      .bigint()
      .nonnegative()
      .max(2n ** 64n - 1n),
  ])
  .transform(BigInt);

export const trainingConfigSchema = z
  .strictObject({
    model: modelConfigSchema,
    /** Optimiser steps of the whole run; the schedule spans them. */
    steps: z
      .int()
      .min(1)
      .max(2 ** 40),
    /** Sequences of a micro-batch. */
    batch: z.int().min(1).max(65_536).default(16),
    /** Micro-batches of an optimiser step. */
    accumulate: z.int().min(1).max(65_536).default(1),
    /** Tokens of a sequence, at most the model's context; its context unless given. */
    context: z.int().min(1).optional(),
    /** Peak learning rate; DEFAULT_LR of the optimizer unless given. */
    lr: z.number().positive().max(10).optional(),
    schedule: z.enum(SCHEDULES).default("wsd"),
    /** Of matrices; norms have none. */
    weight_decay: z.number().min(0).max(1).default(0.1),
    weight_decay_schedule: z.enum(DECAY_SCHEDULES).default("two-stage"),
    /** "muon": for the matrices of the blocks; embedding and norms stay with AdamW. */
    optimizer: z.enum(OPTIMIZERS).default("muon"),
    /** Of Muon. */
    momentum: z.number().min(0).lt(1).default(0.95),
    beta1: z.number().min(0).lt(1).default(0.9),
    beta2: z.number().min(0).lt(1).default(0.98),
    eps: z.number().positive().max(1).default(1e-8),
    /** Global-norm limit of the gradient; 0 = off. */
    clip: z.number().min(0).max(1e9).default(1),
    /** Seed of the initial weights and of the order of the data, unsigned 64 bits. */
    seed: seed.default(1n),
    /** This node's part of the data: slice_index of slice_count disjoint ones. */
    slice_index: z.int().min(0).default(0),
    slice_count: z.int().min(1).max(65_536).default(1),
    /** 0 = all CPUs; never changes a result. */
    threads: z.int().min(0).max(64).default(0),
    /** Less memory for about a tenth more time; never changes a result. */
    recompute: z.boolean().default(false),
    /** Steps between checkpoints; one is always saved at the end. */
    checkpoint_interval: z.int().min(1).default(500),
    /** Checkpoints kept. */
    keep: z.int().min(1).max(1000).default(3),
    /** Steps between held-out evaluations; 0 = at the start and the end only. */
    eval_interval: z.int().min(0).default(500),
    /** Held-out targets of an evaluation. */
    eval_tokens: z.int().min(1).default(65_536),
  })
  .refine((c) => c.slice_index < c.slice_count, {
    path: ["slice_index"],
    message: "must be below slice_count",
  })
  .transform((c) => ({
    ...c,
    context: c.context ?? c.model.context,
    lr: c.lr ?? DEFAULT_LR[c.optimizer],
  }))
  .refine((c) => c.context <= c.model.context, {
    path: ["context"],
    message: "must be at most the model's context",
  });
/** What a caller gives; everything but `model` and `steps` has a default. */
export type TrainingSettings = z.input<typeof trainingConfigSchema>;
export type TrainingConfig = z.output<typeof trainingConfigSchema>;

/** Checks settings and fills in defaults. Throws BAD_TRAINING_CONFIG naming the fields. */
export function parseTrainingConfig(settings: TrainingSettings): TrainingConfig {
  const result = trainingConfigSchema.safeParse(settings);
  if (result.success) return result.data;
  const problems = result.error.issues.map((i) => `${i.path.join(".") || "value"}: ${i.message}`);
  throw new MagnetError("BAD_TRAINING_CONFIG", problems.slice(0, 5).join("; "), {
    hint: "see the limits with: magnet train --help",
    exit: "config",
  });
}

/** How the native trainer is to be made. */
export const trainerOptions = (c: TrainingConfig): TrainerOptions => ({
  batch: c.batch,
  context: c.context,
  threads: c.threads,
  recompute: c.recompute,
  optimizer: c.optimizer,
});

export const hyperparametersOf = (c: TrainingConfig): Hyperparameters => ({
  optimizer: c.optimizer,
  momentum: c.momentum,
  weight_decay_schedule: c.weight_decay_schedule,
  lr: c.lr,
  schedule: c.schedule,
  total_steps: c.steps,
  weight_decay: c.weight_decay,
  beta1: c.beta1,
  beta2: c.beta2,
  eps: c.eps,
  clip: c.clip,
  accumulate: c.accumulate,
});

/** The part of a checkpoint's manifest that a run determines. */
export function checkpointState(
  c: TrainingConfig,
  state: InnerState,
  hashes: DataState & { tokenizer_hash: Hash; init_hash?: Hash | undefined },
): CheckpointState {
  const { beta1, beta2, eps, weight_decay, weight_decay_schedule, clip, momentum } = c;
  const adamw = { beta1, beta2, eps, weight_decay, clip };
  return {
    model: { ...c.model },
    tokenizer_hash: hashes.tokenizer_hash,
    step: state.step,
    init_seed: String(c.seed),
    ...(hashes.init_hash === undefined ? {} : { init_hash: hashes.init_hash }),
    data: {
      train_hash: hashes.train_hash,
      ...(hashes.sources ? { sources: hashes.sources } : {}),
      position: state.position,
      order_seed: String(c.seed),
      slice_index: c.slice_index,
      slice_count: c.slice_count,
      batch: c.batch,
      accumulate: c.accumulate,
      context: c.context,
    },
    optimizer: {
      name: c.optimizer,
      ...adamw,
      ...(c.optimizer === "muon" ? { momentum } : {}),
      // Left out where it is constant: checkpoints from before it was a choice keep their hash.
      ...(weight_decay_schedule === "constant" ? {} : { weight_decay_schedule }),
    },
    schedule: { kind: c.schedule, peak_lr: c.lr, total_steps: c.steps },
    loss_average: state.loss_average,
  };
}

/** The settings that a checkpoint was trained with. Throws BAD_MODEL_CONFIG. */
export function settingsOf(
  manifest: CheckpointManifest,
): TrainingSettings & { model: ModelConfig } {
  const { name: optimizer, ...rates } = manifest.optimizer;
  const { batch, accumulate, context, slice_index, slice_count } = manifest.data;
  return {
    model: parseModelConfig(manifest.model, "the checkpoint's model"),
    steps: manifest.schedule.total_steps,
    lr: manifest.schedule.peak_lr,
    schedule: manifest.schedule.kind,
    seed: BigInt(manifest.init_seed),
    ...{ batch, accumulate, context, slice_index, slice_count },
    optimizer,
    ...rates,
    weight_decay_schedule: rates.weight_decay_schedule ?? "constant",
  };
}

export const innerStateOf = (manifest: CheckpointManifest): InnerState => ({
  step: manifest.step,
  position: manifest.data.position,
  loss_average: manifest.loss_average,
});

/**
 * Throws RESUME_MISMATCH naming every setting, besides the number of steps, in which a resumed run
 * would not be the continuation of its checkpoint.
 */
export function requireContinuation(
  manifest: CheckpointManifest,
  config: TrainingConfig,
  hashes: DataState & { tokenizer_hash: Hash },
): void {
  const wanted = checkpointState(config, innerStateOf(manifest), hashes);
  const flat = (value: object, prefix = ""): [string, unknown][] =>
    Object.entries(value).flatMap(([key, v]) =>
      typeof v === "object" && v !== null ? flat(v, `${prefix}${key}.`) : [[prefix + key, v]],
    );
  const here = new Map(flat(wanted));
  const there = new Map(flat(manifest));
  // A choice at its default is left out: the keys of both sides count, but for what only a whole
  // manifest holds (file hashes, losses).
  const keys = new Set([
    ...here.keys(),
    ...[...there.keys()].filter((k) => /^(model|optim)/.test(k)),
  ]);
  const differing = [...keys]
    .filter((key) => key !== "schedule.total_steps" && there.get(key) !== here.get(key))
    .map(
      (key) => `${key} is ${there.get(key) ?? "not set"} there, ${here.get(key) ?? "not set"} here`,
    );
  if (differing.length === 0) return;
  throw new MagnetError(
    "RESUME_MISMATCH",
    `the checkpoint is of another run: ${differing.slice(0, 5).join("; ")}`,
    { hint: "resume with the same data and settings, or start a new run in another --out" },
  );
}
