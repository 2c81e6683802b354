/**
 * The trainer of one job on this node's device. On a GPU the memory is looked at before: a model that does
 * not fit is tried with recomputation (less memory, the same bits), then refused with both numbers. A GPU
 * node does not fall back to its CPU: it would hold up rounds, and its tier would be a false one.
 */
import { formatBytes } from "../core/bytes.ts";
import { MagnetError } from "../core/errors.ts";
import { paramCount } from "../model/config.ts";
import { requireHostMemory } from "../model/gpu-memory.ts";
import { availableMemoryBytes } from "../model/memory.ts";
import { Trainer } from "../model/trainer.ts";
import type { TrainerOptions } from "../model/trainer-types.ts";
import { compressedBytes } from "../native/codec.ts";
import { type ChosenDevice, chooseDevice } from "../native/device.ts";
import type { JobSpec } from "./job.ts";

/** Arrays of a round beside those of training: base, outer momentum, residual, sum. */
const ROUND_BYTES_PER_PARAMETER = 16;

/** What a job takes of a GPU's memory while it is trained and merged. */
export function jobBytes(job: JobSpec, options: TrainerOptions): number {
  const n = paramCount(job.model);
  const round = ROUND_BYTES_PER_PARAMETER * n + compressedBytes(job.compression, n);
  return Trainer.bytesNeeded(job.model, options) + round;
}

/** Of those the host has copies of two, in which states come and go. */
const ROUND_HOST_BYTES_PER_PARAMETER = 8;

/** What the same job takes of the host's memory beside a GPU's. */
export function jobHostBytes(job: JobSpec, options: TrainerOptions): number {
  const n = paramCount(job.model);
  const round = ROUND_HOST_BYTES_PER_PARAMETER * n + compressedBytes(job.compression, n);
  return Trainer.hostBytesNeeded(job.model, options) + round;
}

/** Throws NOT_ENOUGH_MEMORY, OUT_OF_MEMORY, NO_CUDA. */
export function openJobTrainer(
  job: JobSpec,
  threads: number,
  chosen: ChosenDevice,
  host_available_bytes = availableMemoryBytes(),
): Trainer {
  const { batch, model } = job;
  const { device } = chosen;
  const options = { batch, context: model.context, threads, device };
  if (device.kind === "cpu") return Trainer.create(model, options);
  const { free_bytes, memory_bytes } = chooseDevice(device).gpu!; // as it is now
  for (const recompute of [false, true]) {
    if (jobBytes(job, { ...options, recompute }) > free_bytes) continue;
    requireHostMemory("the job needs", jobHostBytes(job, options), host_available_bytes);
    return Trainer.create(model, { ...options, recompute });
  }
  const needed = formatBytes(jobBytes(job, { ...options, recompute: true }));
  const there = `${formatBytes(free_bytes)} of ${formatBytes(memory_bytes)} are free`;
  throw new MagnetError(
    "NOT_ENOUGH_MEMORY",
    `the job needs ${needed} on the GPU, ${there} on ${chosen.text}`,
    { hint: "free the GPU, or join again with --device cpu", exit: "hardware" },
  );
}
