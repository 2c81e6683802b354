/**
 * Bindings of the inference section of the C ABI; layouts and rules in cpp/include/magnet_infer.h.
 */
import { bind, bindAsync } from "./ffi.ts";

/** Calls that are over in microseconds. */
export const infer = bind({
  mg_pack_size: ["u32", "u64", "u64", "buffer"],
  mg_gguf_free: ["buffer"],
  mg_gguf_counts: ["handle", "buffer", "buffer"],
  mg_gguf_value_at: ["handle", "u64", "buffer"],
  mg_gguf_tensor_at: ["handle", "u64", "buffer"],
  mg_gguf_tensor_read: ["handle", "u64", "buffer", "u64"],
  mg_infer_free: ["buffer"],
  mg_infer_config: ["handle", "buffer"],
  mg_infer_bytes: ["handle", "buffer"],
  mg_kv_create: ["handle", "u32", "u32", "buffer"],
  mg_kv_free: ["buffer"],
  mg_kv_block_bytes: ["handle", "buffer"],
  mg_kv_release: ["handle", "buffer", "u64"],
  mg_session_create: ["handle", "buffer", "buffer"],
  mg_session_free: ["buffer"],
  mg_session_length: ["handle", "buffer"],
  mg_session_truncate: ["handle", "u64"],
});

/** Model, pool, rounding, rows, tables and sequences of a batch. */
const BATCH = ["handle", "handle", "u32", "buffer", "u64", "buffer", "buffer", "u64"] as const;

/** Calls that read or compute whole tensors, on the worker pool. */
export const inferAsync = bindAsync({
  mg_pack_tensor: ["u32", "u32", "u32", "buffer", "u64", "u64", "buffer", "u64", "buffer"],
  mg_unpack_tensor: ["u32", "buffer", "u64", "u64", "u64", "buffer"],
  mg_gguf_open: ["buffer", "u64", "buffer"],
  mg_gguf_parse: ["buffer", "u64", "buffer"],
  mg_infer_from_params: ["buffer", "buffer", "u64", "u32", "buffer"],
  mg_infer_from_gguf: ["handle", "u32", "u32", "buffer"],
  mg_batch_eval: [...BATCH, "buffer", "buffer", "cancel"],
  mg_batch_step: [
    ...BATCH,
    "buffer",
    "u64",
    "buffer",
    "buffer",
    "buffer",
    "buffer",
    "buffer",
    "cancel",
  ],
  mg_bench_product: ["u32", "u32", "u32", "u32", "u32", "u32", "buffer", "buffer"],
  mg_session_eval: ["handle", "buffer", "u64", "u64", "buffer", "cancel"],
  mg_session_decode: ["buffer", "buffer", "u64", "buffer", "cancel"],
});
