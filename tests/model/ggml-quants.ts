/**
 * llama.cpp's own quantisers and unpackers (libggml-base of node-llama-cpp, through bun:ffi): peers
 * of ours, and makers of tensors in formats that we only read.
 */
import { dlopen, FFIType, type Pointer, ptr } from "bun:ffi";
import { createRequire } from "node:module";
import path from "node:path";

const PEERS = path.join(import.meta.dir, "../peers/package.json");
const folder = path.dirname(createRequire(PEERS).resolve("@node-llama-cpp/linux-x64/package.json"));
const { symbols } = dlopen(path.join(folder, "bins/linux-x64/libggml-base.so"), {
  ggml_quantize_chunk: {
    args: [
      FFIType.i32,
      FFIType.ptr,
      FFIType.ptr,
      FFIType.i64,
      FFIType.i64,
      FFIType.i64,
      FFIType.ptr,
    ],
    returns: FFIType.u64,
  },
  ggml_row_size: { args: [FFIType.i32, FFIType.i64], returns: FFIType.u64 },
  dequantize_row_q6_K: { args: [FFIType.ptr, FFIType.ptr, FFIType.i64], returns: FFIType.void },
  dequantize_row_q4_K: { args: [FFIType.ptr, FFIType.ptr, FFIType.i64], returns: FFIType.void },
  dequantize_row_q8_0: { args: [FFIType.ptr, FFIType.ptr, FFIType.i64], returns: FFIType.void },
  dequantize_row_q4_0: { args: [FFIType.ptr, FFIType.ptr, FFIType.i64], returns: FFIType.void },
  ggml_fp16_to_fp32_row: { args: [FFIType.ptr, FFIType.ptr, FFIType.i64], returns: FFIType.void },
  ggml_bf16_to_fp32_row: { args: [FFIType.ptr, FFIType.ptr, FFIType.i64], returns: FFIType.void },
});

const UNPACKERS: Record<number, (from: Pointer, to: Pointer, n: number | bigint) => void> = {
  1: symbols.ggml_fp16_to_fp32_row,
  2: symbols.dequantize_row_q4_0,
  8: symbols.dequantize_row_q8_0,
  12: symbols.dequantize_row_q4_K,
  14: symbols.dequantize_row_q6_K,
  30: symbols.ggml_bf16_to_fp32_row,
};

/** Rows of `cols` weights in a ggml type, as llama-quantize packs them. */
export function ggmlQuantise(type: number, weights: Float32Array, cols: number): Uint8Array {
  const rows = weights.length / cols;
  const out = new Uint8Array(rows * Number(symbols.ggml_row_size(type, cols)));
  symbols.ggml_quantize_chunk(type, ptr(weights), ptr(out), 0, rows, cols, null);
  return out;
}

/** And back. */
export function ggmlDequantise(type: number, packed: Uint8Array, n: number): Float32Array {
  const out = new Float32Array(n);
  UNPACKERS[type]!(ptr(packed), ptr(out), n);
  return out;
}
