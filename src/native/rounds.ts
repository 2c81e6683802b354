/**
 * Bindings of the calls for a round of training together: cpp/include/magnet_train.h, "a round of
 * training together". In the CPU's library and in that of GPUs.
 */
import type { Device } from "./device.ts";
import { bindAsync, type Declarations } from "./ffi.ts";
import { trainerLibrary } from "./train.ts";

const CALLS = {
  mg_trainer_copy: ["handle", "u32", "u32"],
  mg_trainer_release: ["handle", "u32"],
  mg_trainer_delta_compress: ["handle", "u32", "u32", "buffer", "u64", "cancel"],
  mg_trainer_delta_check: ["handle", "buffer", "u64", "cancel"],
  mg_trainer_outer_add: ["handle", "buffer", "u64", "f32", "cancel"],
  mg_trainer_outer_step: ["handle", "f32", "f32", "cancel"],
} as const satisfies Declarations;

const bindRounds = (file: string) => bindAsync(CALLS, file);
export type RoundBindings = ReturnType<typeof bindRounds>;

const bound = new Map<string, RoundBindings>();
/** Throws NO_CUDA where the device is a GPU and its library cannot be used. */
export function roundBindings(device: Device): RoundBindings {
  const file = trainerLibrary(device);
  const bindings = bound.get(file) ?? bindRounds(file);
  bound.set(file, bindings);
  return bindings;
}
