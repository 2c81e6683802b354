/**
 * Bindings of the inference and sampling sections of the C ABI; layouts and rules in
 * cpp/include/magnet_infer.h and magnet_sample.h. The same calls are in the CPU's library and in that
 * of GPUs, and each has tables of handles of its own: an object's address is only ever given for calls
 * of the library that it lives in (`requireLibrary`).
 */
import { invariant } from "../core/errors.ts";
import { cudaLibrary } from "./cuda.ts";
import { CPU, type Device } from "./device.ts";
import { bind, bindAsync, type Declarations } from "./ffi.ts";
import { libraryFile } from "./loader.ts";

/** Calls that are over in microseconds; a draw, or a constraint's mask, takes up to milliseconds. */
const CALLS = {
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
  mg_sampler_create: ["u64", "buffer", "buffer", "buffer", "u64", "buffer", "buffer"],
  mg_sampler_free: ["buffer"],
  mg_sampler_prompt: ["handle", "buffer", "u64"],
  mg_sampler_draw: ["handle", "buffer", "buffer", "buffer", "buffer", "buffer"],
  mg_vocabulary_create: ["buffer", "u64", "buffer", "u64", "buffer", "u64", "buffer"],
  mg_vocabulary_free: ["buffer"],
  mg_grammar_create: ["handle", "buffer", "u64", "buffer"],
  mg_grammar_free: ["buffer"],
  mg_grammar_inspect: ["handle", "buffer", "u64", "u32", "buffer", "buffer", "buffer"],
  mg_live_handles: ["buffer"],
} as const satisfies Declarations;

/** Model, pool, rounding, rows, tables and sequences of a batch. */
const BATCH = ["handle", "handle", "u32", "buffer", "u64", "buffer", "buffer", "u64"] as const;

/** Calls that read or compute whole tensors, on the worker pool. */
const LONG_CALLS = {
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
  mg_session_eval: ["handle", "buffer", "u64", "u64", "buffer", "cancel"],
  mg_session_decode: ["buffer", "buffer", "u64", "buffer", "cancel"],
} as const satisfies Declarations;

const bindInfer = (file: string) => ({ ...bind(CALLS, file), async: bindAsync(LONG_CALLS, file) });
export type InferLibrary = ReturnType<typeof bindInfer>;

const bound = new Map<string, InferLibrary>();
/** One object for a library. Throws NO_CUDA where the device is a GPU and its library cannot be used. */
export function inferLibrary(device: Device): InferLibrary {
  const file = device.kind === "cuda" ? cudaLibrary() : libraryFile;
  const library = bound.get(file) ?? bindInfer(file);
  bound.set(file, library);
  return library;
}

export const cpuInfer: InferLibrary = inferLibrary(CPU);

/** Before an object's address is given away: a call of another library would read it as its own. */
export function requireLibrary(called: InferLibrary, own: InferLibrary, what: string): void {
  invariant(called === own, `${what} is of another library than what uses it`);
}

/** Of the CPU's library alone. */
export const packing = bind({ mg_pack_size: ["u32", "u64", "u64", "buffer"] });
export const packingAsync = bindAsync({
  mg_pack_tensor: ["u32", "u32", "u32", "buffer", "u64", "u64", "buffer", "u64", "buffer"],
  mg_unpack_tensor: ["u32", "buffer", "u64", "u64", "u64", "buffer"],
  mg_bench_product: ["u32", "u32", "u32", "u32", "u32", "u32", "buffer", "buffer"],
});
