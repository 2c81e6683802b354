/**
 * The machine's limits on the CPU path in force (cpp/cpu/machine_limits.cpp), and what a GPU reads of
 * its memory (cpp/cuda/api/read_rate.cu).
 */
import { cudaLibrary } from "./cuda.ts";
import { bindAsync } from "./ffi.ts";

const native = bindAsync({ mg_machine_limits: ["u32", "buffer"] });
const GPU_CALLS = { mg_gpu_read_rate: ["u32", "buffer"] } as const;

export interface MachineLimits {
  threads: number;
  /** float32 fused multiply-adds, 2 operations each. */
  fma_gflops: number;
  /** int8 times ternary, multiplication and addition. */
  integer_gops: number;
  /** Reading memory far beyond the caches. */
  read_gbps: number;
  /** Reading `shared_bytes` in all again and again. */
  shared_read_gbps: number;
  /** Reading `cached_bytes` a thread again and again. */
  cached_read_gbps: number;
  /** Bytes copied, counted once. */
  memcpy_gbps: number;
  /** What common third-level caches hold. */
  shared_bytes: number;
  /** Half of a core's second-level cache. */
  cached_bytes: number;
}

/** Takes about a second of all `threads`, and 256 MiB for that time. */
export async function machineLimits(threads: number): Promise<MachineLimits> {
  const out = new Float64Array(8);
  await native.mg_machine_limits(undefined, threads, out);
  const [fma_gflops, integer_gops, read_gbps, shared_read_gbps, cached_read_gbps, memcpy_gbps] =
    out;
  const [shared_bytes, cached_bytes] = new BigUint64Array(out.buffer, 48);
  return {
    threads,
    fma_gflops: fma_gflops!,
    integer_gops: integer_gops!,
    read_gbps: read_gbps!,
    shared_read_gbps: shared_read_gbps!,
    cached_read_gbps: cached_read_gbps!,
    memcpy_gbps: memcpy_gbps!,
    shared_bytes: Number(shared_bytes),
    cached_bytes: Number(cached_bytes),
  };
}

/** GB/s of reading far more than the GPU's cache holds; takes up to 1 GiB for a moment. Throws NO_CUDA. */
export async function gpuReadGbps(index: number): Promise<number> {
  const out = new Float64Array(1);
  await bindAsync(GPU_CALLS, cudaLibrary()).mg_gpu_read_rate(undefined, index, out);
  return out[0]! / 1e9;
}
