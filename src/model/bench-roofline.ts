/**
 * Roofline of a training step: what each kernel has to compute and to move at least, and so which of
 * the machine's limits holds it back. Work is that of one whole step (all layers, forward and
 * backward); a kernel with several sites is parted by them as the profile is (cpp/cpu/profile.hpp).
 */
import type { MachineLimits } from "../native/machine.ts";
import type { BenchShape } from "./bench-shapes.ts";
import { type ModelConfig, paramCount, tensorInfos } from "./config.ts";

/** What one kernel does in a step. */
export interface Work {
  /** Products count in operations, everything else in bytes. */
  unit: "GFLOP/s" | "GOP/s" | "GB/s";
  /** float32 operations, or int8 ones where the unit is GOP/s. */
  operations: number;
  /** Bytes that have to be read and written if every operand is touched once. */
  bytes: number;
}

/** Rows and columns of a weight, or of several that one pass may do together. */
function matrixOf(site: string, c: ModelConfig): { rows: number; cols: number } | undefined {
  const [d, ff] = [c.d_model, c.d_ff];
  const q = c.n_heads * c.head_dim;
  const kv = c.n_kv_heads * c.head_dim;
  const shapes: Record<string, [number, number]> = {
    ...{ q: [q, d], k: [kv, d], v: [kv, d], qkv: [q + 2 * kv, d], o: [d, q] },
    ...{ gate: [ff, d], up: [ff, d], gate_up: [2 * ff, d], down: [d, ff] },
    head: [c.vocab_size, d],
  };
  const shape = shapes[site];
  return shape && { rows: shape[0], cols: shape[1] };
}

/** Width of the rows that a norm works on. */
const normWidth = (site: string, c: ModelConfig): number =>
  site === "attention_output" ? c.n_heads * c.head_dim : site === "ffn_hidden" ? c.d_ff : c.d_model;

function productWork(kernel: string, site: string, shape: BenchShape): Work | undefined {
  const matrix = matrixOf(site, shape.model);
  if (matrix === undefined) return undefined;
  const times = site === "head" ? 1 : shape.model.n_layers;
  const tokens = shape.batch * shape.context;
  const { rows, cols } = matrix;
  const operations = times * 2 * tokens * rows * cols;
  if (kernel === "ternary_product") {
    const bytes = times * (tokens * cols + rows * cols + 4 * tokens * rows);
    return { unit: "GOP/s", operations, bytes };
  }
  const bytes = times * 4 * (tokens * cols + rows * cols + tokens * rows);
  return { unit: "GFLOP/s", operations, bytes };
}

/** Operations an element, counted in the kernels' source; an exponential is 14, a division 1. */
function rowWork(kernel: string, site: string, shape: BenchShape): Work | undefined {
  const { model: c, batch, context } = shape;
  const tokens = batch * context;
  const layers = c.n_layers;
  const work = (elements: number, bytes: number, operations: number): Work => ({
    unit: "GB/s",
    operations: elements * operations,
    bytes: elements * bytes,
  });
  const heads = site === "k" ? c.n_kv_heads : c.n_heads;
  const final = site === "";
  const normed = tokens * normWidth(site, c) * (final ? 1 : layers);
  const ternary = tensorInfos(c)
    .filter(({ is_ternary }) => is_ternary)
    .reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  switch (kernel) {
    case "ternarise": // once for the mean, once for the codes
      return work(ternary, 9, 5);
    case "zero_gradient":
      return work(paramCount(c), 4, 0);
    case "embed":
      return work(tokens * c.d_model, 8, 0);
    case "embed_backward":
      return work(tokens * c.d_model, 12, 1);
    case "norm_quantise":
      return work(normed, 5, 9);
    case "norm_forward":
      return work(normed, 8, 4);
    case "norm_backward": // x, dy, and dx added to, where it is the residual stream's
      return work(normed, final ? 12 : 16, 12);
    case "rope": // forward and backward, in place
      return work(2 * layers * tokens * heads * c.head_dim, 8, 3);
    case "swiglu_norm_quantise":
      return work(layers * tokens * c.d_ff, 9, 29);
    case "swiglu_backward": // h made again for the sub-norm, then both gradients in place
      return work(layers * tokens * c.d_ff, c.variant === "bitnet" ? 32 : 20, 45);
    case "cross_entropy":
      return work(tokens * c.vocab_size, 8, 32);
    case "gradient_norm":
      return work(paramCount(c), 4, 2);
    case "optimizer":
      return work(paramCount(c), 28, 16);
    default:
      return undefined;
  }
}

/** Two products forward; backward makes the scores again, then four products. Causal half. */
function attentionWork(kernel: string, { model: c, batch, context }: BenchShape): Work | undefined {
  const products = { attention_forward: 2, attention_backward: 5 }[kernel];
  if (products === undefined) return undefined;
  const tokens = batch * context;
  const q = c.n_heads * c.head_dim;
  const kv = c.n_kv_heads * c.head_dim;
  const operations = c.n_layers * products * tokens * context * q;
  return { unit: "GFLOP/s", operations, bytes: c.n_layers * products * 4 * tokens * (q + kv) };
}

/** Work of an entry of the profile in one step; undefined where nothing is known (`other`). */
export function kernelWork(kernel: string, site: string, shape: BenchShape): Work | undefined {
  return (
    attentionWork(kernel, shape) ?? rowWork(kernel, site, shape) ?? productWork(kernel, site, shape)
  );
}

export interface Roof {
  /** In the unit of the work. */
  value: number;
  name: string;
}

/** Operands of one call that fit a cache are counted at its speed. */
function bandwidthFor(bytes: number, limits: MachineLimits): [number, string] {
  const { threads, cached_bytes, shared_bytes } = limits;
  if (bytes <= cached_bytes * threads) return [limits.cached_read_gbps, "L2 bandwidth"];
  if (bytes <= shared_bytes) return [limits.shared_read_gbps, "L3 bandwidth"];
  return [limits.read_gbps, "memory bandwidth"];
}

/**
 * The limit that binds: arithmetic or bandwidth, whichever takes longer for this work.
 */
export function roofOf(work: Work, limits: MachineLimits, bytes_per_call: number): Roof {
  const [bandwidth, bandwidth_name] = bandwidthFor(bytes_per_call, limits);
  const integer = work.unit === "GOP/s";
  const peak = integer ? limits.integer_gops : limits.fma_gflops;
  const compute_s = work.operations / peak;
  const memory_s = bandwidth > 0 ? work.bytes / bandwidth : 0;
  const amount = work.unit === "GB/s" ? work.bytes : work.operations;
  return compute_s >= memory_s
    ? { value: amount / compute_s, name: integer ? "integer peak" : "fma peak" }
    : { value: amount / memory_s, name: bandwidth_name };
}
