/** What training takes of a GPU's memory, and what would fit where that is more than it has. */
import { type Gpu, requireGpuMemory } from "../native/device.ts";
import type { ModelConfig } from "./config.ts";
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

/** Bytes that training takes. Throws NOT_ENOUGH_MEMORY with what would fit. */
export function requireTrainingFits(model: ModelConfig, options: TrainerOptions, gpu: Gpu): number {
  const bytes = needs(model, options);
  if (bytes > gpu.free_bytes)
    requireGpuMemory(bytes, gpu, {
      what: "training needs",
      hint: hintFor(model, options, gpu.free_bytes),
    });
  return bytes;
}
