/** Bindings of the model section of the C ABI (cpp/include/magnet.h): layout and initialisation. */
import { bind, bindAsync } from "./ffi.ts";

/** Calls that take microseconds, on the caller's thread. */
export const model = bind({
  mg_model_param_count: ["buffer", "buffer"],
  mg_model_tensor_count: ["buffer", "buffer"],
  mg_model_tensor_info: ["buffer", "u32", "buffer"],
});

/** Calls that touch every parameter, on the worker pool. */
export const modelAsync = bindAsync({
  mg_model_init: ["buffer", "u64", "buffer", "u64"],
});
