/**
 * Bindings of the training section of the C ABI; shapes and units in cpp/include/magnet_train.h. The
 * same calls are in the CPU's library and in that of GPUs.
 */
import { cudaLibrary } from "./cuda.ts";
import type { Device } from "./device.ts";
import { bind, bindAsync, type Declarations } from "./ffi.ts";
import { libraryFile } from "./loader.ts";

/** Calls that are over in microseconds (or, for `mg_trainer_create`, as long as an allocation). */
const CALLS = {
  mg_trainer_create: ["buffer", "buffer", "buffer"],
  mg_trainer_free: ["buffer"],
  mg_trainer_arena: ["handle", "u32", "buffer"],
  mg_trainer_profile: ["handle", "u32", "buffer", "u64"],
  mg_trainer_tensor_stats: ["handle", "buffer"],
  mg_trainer_memory_parts: ["buffer", "buffer", "buffer"],
} as const satisfies Declarations;

/** Forward and backward passes and copies of whole arenas, on the worker pool. */
const LONG_CALLS = {
  mg_trainer_pull: ["handle", "u32"],
  mg_trainer_push: ["handle", "u32"],
  mg_trainer_snapshot: ["handle"],
  mg_trainer_snapshot_wait: ["handle"],
  mg_trainer_step: ["handle", "buffer", "u32", "buffer", "cancel", "buffer"],
  mg_trainer_gradient: ["handle", "buffer", "cancel", "buffer"],
  mg_trainer_eval: ["handle", "buffer", "u32", "cancel", "buffer", "buffer"],
  mg_trainer_token_losses: ["handle", "buffer", "u32", "cancel", "buffer", "buffer"],
  mg_trainer_orpo: [
    "handle",
    "buffer",
    "buffer",
    "u32",
    "u32",
    "u32",
    "f32",
    "buffer",
    "cancel",
    "buffer",
  ],
  mg_trainer_logps: ["handle", "buffer", "buffer", "u32", "u32", "cancel", "buffer", "buffer"],
  mg_trainer_logits: ["handle", "buffer", "u32", "buffer"],
} as const satisfies Declarations;

const bindTrainer = (file: string) => ({
  ...bind(CALLS, file),
  async: bindAsync(LONG_CALLS, file),
});
export type TrainerBindings = ReturnType<typeof bindTrainer>;

/** Throws NO_CUDA where the device is a GPU and its library cannot be used. */
export const trainerLibrary = (device: Device): string =>
  device.kind === "cuda" ? cudaLibrary() : libraryFile;

const bound = new Map<string, TrainerBindings>();
/** Throws NO_CUDA as `trainerLibrary`. */
export function trainerBindings(device: Device): TrainerBindings {
  const file = trainerLibrary(device);
  const bindings = bound.get(file) ?? bindTrainer(file);
  bound.set(file, bindings);
  return bindings;
}

/** Of the CPU's library alone. */
export const schedules = bind({
  mg_schedule: ["u32", "u64", "u64", "f32", "buffer"],
  mg_decay_schedule: ["u32", "u64", "u64", "f32", "buffer"],
});
