/** What a trainer takes of its device's memory, and on a GPU of its host's, by what it is for. */
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

/** Of a GPU's host, page-locked; on the CPU 0, where all memory is the device's. */
export interface HostParts {
  /** Tokens, losses and figures of steps, pieces of what comes and goes between rounds. */
  steps: number;
  /** Parameters and moments, as checkpoints and snapshots show them. */
  copies: number;
}

export function memoryParts(
  native: TrainerBindings,
  packed_config: Uint8Array,
  packed_options: Uint8Array,
): { device: MemoryParts; host: HostParts } {
  const out = new BigUint64Array(6);
  native.mg_trainer_memory_parts(packed_config, packed_options, out);
  const parts = Array.from(out, Number);
  const [arenas, weights, activations, workspace, steps, copies] = parts as Six;
  return { device: { arenas, weights, activations, workspace }, host: { steps, copies } };
}
type Six = [number, number, number, number, number, number];

export const totalBytes = (parts: MemoryParts | HostParts): number =>
  Object.values(parts).reduce((sum: number, bytes: number) => sum + bytes, 0);
