/**
 * Bindings of the training section of the C ABI; shapes and units in cpp/include/magnet_train.h.
 */
import { bind, bindAsync } from "./ffi.ts";

/** Calls that are over in microseconds (or, for `mg_trainer_create`, as long as an allocation). */
export const trainer = bind({
  mg_trainer_create: ["buffer", "buffer", "buffer"],
  mg_trainer_free: ["buffer"],
  mg_trainer_arena: ["handle", "u32", "buffer"],
  mg_trainer_profile: ["handle", "u32", "buffer", "u64"],
  mg_trainer_tensor_stats: ["handle", "buffer"],
  mg_trainer_bytes: ["buffer", "buffer", "buffer"],
  mg_schedule: ["u32", "u64", "u64", "f32", "buffer"],
  mg_decay_schedule: ["u32", "u64", "u64", "f32", "buffer"],
});

/** Forward and backward passes, on the worker pool. */
export const trainerAsync = bindAsync({
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
});
