/**
 * The recipe that the search starts from and that the study is held against: what the paper arrives
 * at (8.3, 8.4) and engine.md lists, at the scale of one machine. AdamW with the learning rate of
 * BitNet b1.58, beta2 0.98, weight decay 0.1 until half way, clipping at 1, WSD with 1% warm-up and
 * 15% decay, no accumulation, grouped queries 4:1, feed-forward 2.67 times the width, the training
 * context that is measured on. It was written down before the study was run and is not tuned.
 */
import type { Configuration } from "../types.ts";

export const RECIPE: Configuration = {
  vocab_size: 2048,
  d_model: 128,
  n_layers: 4,
  head_dim: 32,
  group: 4,
  ffn: 2.67,
  context: 256,
  batch: 8,
  accumulate: 1,
  optimizer: "adamw",
  lr: 1.5e-3,
  schedule: "wsd",
  warmup: 0.01,
  decay: 0.15,
  weight_decay: 0.1,
  weight_decay_schedule: "two-stage",
  beta1: 0.9,
  beta2: 0.98,
  momentum: 0.95,
  clip: 1,
  mixture: {},
};
