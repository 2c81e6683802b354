/** What the trainer is made of and what its calls give back: plain data, nothing native. */
import type { Device } from "../native/device.ts";
import type { OptimizerKind } from "./optimizer.ts";

/** Target id of a position that is not counted in the loss. */
export const IGNORED_TARGET = -100;

export interface TrainerOptions {
  /** Sequences per micro-batch. */
  batch: number;
  /** Tokens per sequence, at most the model's context. */
  context: number;
  /** 0 = all online CPUs. The result does not depend on it. */
  threads: number;
  /**
   * Keep each block's input only and compute the rest again in backward: less memory, a tenth more
   * time, the same bits.
   */
  recompute?: boolean;
  /** What `step` will be given; adamw unless said. Muon takes memory for one moment less. */
  optimizer?: OptimizerKind;
  /** The CPU unless given. */
  device?: Device;
  /** Unless given the backend's own: float32 on the CPU, bfloat16 operands on a GPU. */
  precision?: Precision;
}

/** `float32`: on a GPU too, where it is slow; for audits and tests. */
export const PRECISIONS = ["backend", "float32"] as const;
export type Precision = (typeof PRECISIONS)[number];

export interface StepResult {
  /** Mean cross-entropy over the counted targets, nats. */
  loss: number;
  /** L2 norm of the whole gradient before clipping. */
  grad_norm: number;
  /** Targets counted. */
  tokens: number;
}

/** A residual stream over the positions of a batch. */
export interface StreamStats {
  rms: number;
  /** Largest magnitude. */
  largest: number;
}

/** `scale` (mean magnitude) and `zero_share` (codes that are 0) are of ternary tensors, else 0. */
export interface TensorStats {
  name: string;
  is_ternary: boolean;
  weight_rms: number;
  gradient_rms: number;
  scale: number;
  zero_share: number;
}

/** What a GPU's matrix product of one shape was measured to take, in microseconds by path. */
export interface MeasuredProduct {
  m: number;
  n: number;
  k: number;
  operands: string;
  /** The one that is taken. */
  path: string;
  us: Record<string, number>;
}

/**
 * Wall time of the steps since the last reset, on a GPU time of the device; the entries are disjoint and
 * add up to the steps.
 */
export interface StepProfile {
  steps: number;
  /** Of a GPU. */
  products?: MeasuredProduct[];
  /** Packing of operands, counted within the entries. */
  packing_ns: number;
  /** Names in cpp/cpu/profile.cpp; `site` is empty where a kernel has only one. */
  entries: { kernel: string; site: string; ns: number; calls: number }[];
}
