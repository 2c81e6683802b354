/** What a trainer takes of its device's memory, by what it is for. */
import type { TrainerBindings } from "../native/train.ts";

/** Bytes. */
export interface MemoryParts {
  /** Parameters, moments, gradient. */
  arenas: number;
  /** What products take of the parameters. */
  weights: number;
  /** What forward keeps for backward. */
  activations: number;
  /** All else: gradients of activations, logits, sums. */
  workspace: number;
}

export function memoryParts(
  native: TrainerBindings,
  packed_config: Uint8Array,
  packed_options: Uint8Array,
): MemoryParts {
  const out = new BigUint64Array(4);
  native.mg_trainer_memory_parts(packed_config, packed_options, out);
  const [arenas, weights, activations, workspace] = Array.from(out, Number);
  return { arenas: arenas!, weights: weights!, activations: activations!, workspace: workspace! };
}

export const totalBytes = (parts: MemoryParts): number =>
  parts.arenas + parts.weights + parts.activations + parts.workspace;
