/** Float formats of weights on disk (cpp/cpu/convert.cpp), on the worker pool. */
import { invariant } from "../core/errors.ts";
import { bindAsync } from "./ffi.ts";

const native = bindAsync({ mg_floats_from: ["u32", "buffer", "u64", "buffer"] });

/** MG_FLOAT32, MG_FLOAT16, MG_BFLOAT16 by their names in safetensors, with the bytes of a value. */
const FORMATS = { F32: [0, 4], F16: [1, 2], BF16: [2, 2] } as const;
export type FloatFormat = keyof typeof FORMATS;

export const isFloatFormat = (name: string): name is FloatFormat => Object.hasOwn(FORMATS, name);

/**
 * Writes the values in `bytes` to `target` as float32; both may be the same memory for F32. Throws
 * NOT_A_NUMBER with the index of the first value that is not finite.
 */
export async function floatsFrom(
  format: FloatFormat,
  bytes: Uint8Array,
  target: Float32Array,
): Promise<void> {
  const [code, size] = FORMATS[format];
  invariant(bytes.length === size * target.length, "as many values as there is room for");
  await native.mg_floats_from(undefined, code, bytes, target.length, target);
}
