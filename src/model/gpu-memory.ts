/**
 * What training takes of a GPU's memory and of its host's, and what would fit where that is more than
 * there is.
 */
import { type Gpu, requireGpuMemory } from "../native/device.ts";
import type { ModelConfig } from "./config.ts";
import { availableMemoryBytes, requireMemory } from "./memory.ts";
import { Trainer } from "./trainer.ts";
import type { TrainerOptions } from "./trainer-types.ts";

const needs = (model: ModelConfig, options: TrainerOptions) => Trainer.bytesNeeded(model, options);

/** The largest batch up to that of the options that fits into so many bytes; 0: not even one does. */
export function largestBatch(model: ModelConfig, options: TrainerOptions, bytes: number): number {
  let [fits, too_many] = [0, options.batch + 1];
  while (fits + 1 < too_many) {
    const batch = (fits + too_many) >> 1;
    if (needs(model, { ...options, batch }) <= bytes) fits = batch;
    else too_many = batch;
  }
  return fits;
}

function hintFor(model: ModelConfig, options: TrainerOptions, bytes: number): string {
  const again = { ...options, recompute: true };
  const batch = largestBatch(model, options, bytes);
  const recomputed = options.recompute ? 0 : largestBatch(model, again, bytes);
  const ways = [
    ...(recomputed === options.batch ? ["--recompute fits as it is"] : []),
    ...(batch > 0 ? [`--batch ${batch} fits (--accumulate makes up for it)`] : []),
    ...(recomputed > batch && recomputed < options.batch
      ? [`--recompute --batch ${recomputed} fits`]
      : []),
  ];
  return ways.length > 0
    ? ways.join("; ")
    : "not even --batch 1 fits: choose a smaller --model or --context, or --device cpu";
}

/** What training takes, and what there is for it: null = unknown. */
export interface TrainingMemory {
  /** The device's. */
  memory_bytes: number;
  memory_available_bytes: number | null;
  /** On a GPU: of its host, beside it. */
  host?: { memory_bytes: number; memory_available_bytes: number | null };
}

/** Throws NOT_ENOUGH_MEMORY where a GPU's host has not what training on the GPU takes of it. */
export function requireHostMemory(what: string, bytes: number, available: number | null): void {
  requireMemory(bytes, available, {
    what: `${what} of the host's memory`,
    hint: "it holds copies of parameters and moments: close other programs, or choose a smaller --model",
  });
}

/** Throws NOT_ENOUGH_MEMORY, on a GPU with what would fit unless a hint is given. */
export function requireTrainingFits(
  model: ModelConfig,
  options: TrainerOptions,
  {
    gpu,
    host_bytes,
    hint,
  }: { gpu: Gpu | null; host_bytes?: number | null | undefined; hint?: string },
): TrainingMemory {
  const memory_bytes = needs(model, options);
  const there = host_bytes === undefined ? availableMemoryBytes() : host_bytes;
  if (gpu === null) {
    requireMemory(memory_bytes, there);
    return { memory_bytes, memory_available_bytes: there };
  }
  const { free_bytes } = gpu;
  if (memory_bytes > free_bytes)
    requireGpuMemory(memory_bytes, gpu, {
      what: "training needs",
      hint: hint ?? hintFor(model, options, free_bytes),
    });
  const host = { memory_bytes: Trainer.hostBytesNeeded(model, options) };
  requireHostMemory("training on a GPU needs", host.memory_bytes, there);
  return {
    ...{ memory_bytes, memory_available_bytes: free_bytes },
    host: { ...host, memory_available_bytes: there },
  };
}
