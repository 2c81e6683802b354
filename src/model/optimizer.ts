/** The optimizers of training, and the numbers of one of their steps. */
import { type ModelConfig, type TensorInfo, tensorInfos } from "./config.ts";

/** `muon`: the matrices of the blocks by Muon; embedding and norms by AdamW. */
export const OPTIMIZERS = ["adamw", "muon"] as const;
export type OptimizerKind = (typeof OPTIMIZERS)[number];

/**
 * Parameters of one optimizer step (formulas: tests/golden/bitnet/README.md, cpp/cpu/muon.hpp). One
 * learning rate serves both: Muon's update has about the RMS of AdamW's.
 */
export interface OptimizerStep {
  /** adamw unless given; that of the trainer's options. */
  kind?: OptimizerKind;
  lr: number;
  beta1: number;
  beta2: number;
  eps: number;
  /** Applies to matrices only (embedding included). */
  weight_decay: number;
  /** Global-norm limit of the gradient; 0 = off. */
  clip: number;
  /** Of Muon; unused by AdamW. */
  momentum?: number;
  /** 1-based number of this optimizer step, for the bias correction. */
  step: number;
}

/** The 48 bytes of mg_optimizer. */
export function packOptimizer(o: OptimizerStep): Uint8Array {
  const bytes = new Uint8Array(48);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, OPTIMIZERS.indexOf(o.kind ?? "adamw"), true);
  const floats = [o.lr, o.beta1, o.beta2, o.eps, o.weight_decay, o.clip, o.momentum ?? 0];
  for (const [i, value] of floats.entries()) view.setFloat32(4 + 4 * i, value, true);
  view.setBigUint64(32, BigInt(o.step), true);
  return bytes;
}

/** Tensors that have a second moment: all, or those that Muon leaves to AdamW. */
export function secondMoments(config: ModelConfig, optimizer?: OptimizerKind): TensorInfo[] {
  return tensorInfos(config).filter((t) => optimizer !== "muon" || !t.is_ternary);
}
