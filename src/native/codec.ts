/**
 * Codecs of the native library: pseudo-gradient compression with error feedback, their weighted sum
 * and the Nesterov outer step (paper 10), and, re-exported, the erasure code. Arrays may be
 * gigabytes: every call runs on a worker and they must not be touched until its promise settles.
 * All results are the same bits for every thread count and CPU. NaN or Inf: NOT_A_NUMBER, nothing
 * changed.
 */
import { invariant, MagnetError } from "../core/errors.ts";
import { bind, bindAsync } from "./ffi.ts";

export * from "./reed-solomon.ts";

const native = bind({ mg_delta_bytes: ["u32", "u64", "buffer"] });
const pooled = bindAsync({
  mg_delta_make: ["buffer", "buffer", "buffer", "u64", "u32", "cancel"],
  mg_delta_accumulate: ["buffer", "buffer", "f32", "u64", "u32", "cancel"],
  mg_delta_compare: ["buffer", "buffer", "u64", "u32", "cancel", "buffer"],
  mg_outer_step: ["buffer", "buffer", "buffer", "f32", "f32", "u64", "u32", "cancel"],
  mg_delta_compress: ["u32", "buffer", "buffer", "u64", "buffer", "u64", "u32", "cancel"],
  mg_delta_decompress: ["buffer", "u64", "buffer", "u64", "buffer", "u32", "cancel"],
});

/** How a pseudo-gradient is written; bits per element: 32, 16, 8.25, 4.25. */
export const DELTA_KINDS = ["fp32", "fp16", "int8", "int4"] as const;
export type DeltaKind = (typeof DELTA_KINDS)[number];

export interface DeltaOptions {
  /** 0 (the default) means all online CPUs. */
  threads?: number;
  signal?: AbortSignal;
}

function checkLengths(n: number, ...arrays: Float32Array[]): void {
  for (const a of arrays)
    if (a.length !== n)
      throw new MagnetError("SHAPE_MISMATCH", `arrays of ${n} and ${a.length} parameters`);
}

/** MG_DELTA_* of the library. */
export const kindNumber = (kind: DeltaKind): number => {
  const number = DELTA_KINDS.indexOf(kind);
  invariant(number >= 0, `unknown pseudo-gradient kind ${kind}`);
  return number;
};

/** Length in bytes of a compressed pseudo-gradient of n >= 1 elements. */
export function compressedBytes(kind: DeltaKind, n: number): number {
  const out = new BigUint64Array(1);
  native.mg_delta_bytes(kindNumber(kind), n, out);
  return Number(out[0]);
}

/** Pseudo-gradient: out = theta_prev - theta. Fills and returns `out` (which may be an input). */
export async function makeDelta(
  theta_prev: Float32Array,
  theta: Float32Array,
  options: DeltaOptions & { into?: Float32Array } = {},
): Promise<Float32Array> {
  const n = theta_prev.length;
  const out = options.into ?? new Float32Array(n);
  checkLengths(n, theta, out);
  await pooled.mg_delta_make(options.signal, theta_prev, theta, out, n, options.threads ?? 0);
  return out;
}

/** Two arrays beside each other; norms are L2. */
export interface DeltaDistance {
  norm_a: number;
  norm_b: number;
  /** |a - b|. */
  distance: number;
}

/** How far two arrays are apart, summed in float64. Throws NOT_A_NUMBER, CANCELLED. */
export async function compareDeltas(
  a: Float32Array,
  b: Float32Array,
  options: DeltaOptions = {},
): Promise<DeltaDistance> {
  checkLengths(a.length, b);
  const out = new Float64Array(3);
  const { signal, threads = 0 } = options;
  await pooled.mg_delta_compare(signal, a, b, a.length, threads, out);
  const [norm_a, norm_b, distance] = out.map(Math.sqrt);
  return { norm_a: norm_a!, norm_b: norm_b!, distance: distance! };
}

/**
 * Compresses delta + residual; what the compression loses is left in `residual` (error feedback:
 * the caller keeps it for the next round), which is in place. A magnitude that the kind cannot hold
 * (65504 for fp16, 2^120 for int8 and int4) is NOT_A_NUMBER.
 */
export async function compressDelta(
  delta: Float32Array,
  kind: DeltaKind,
  options: DeltaOptions & { residual?: Float32Array } = {},
): Promise<Uint8Array> {
  const n = delta.length;
  const residual = options.residual ?? null;
  if (residual) checkLengths(n, residual);
  const out = new Uint8Array(compressedBytes(kind, n));
  const { signal, threads = 0 } = options;
  const number = kindNumber(kind);
  await pooled.mg_delta_compress(signal, number, delta, residual, n, out, out.length, threads);
  return out;
}

/**
 * The pseudo-gradient in bytes from a peer, which must have exactly `elements` finite elements:
 * anything else is BAD_FORMAT, and `into` is left as it was.
 */
export async function decompressDelta(
  bytes: Uint8Array,
  elements: number,
  options: DeltaOptions & { into?: Float32Array } = {},
): Promise<{ delta: Float32Array; kind: DeltaKind }> {
  const out = options.into ?? new Float32Array(elements);
  checkLengths(elements, out);
  const kind = new Uint32Array(1);
  const { signal, threads = 0 } = options;
  await pooled.mg_delta_decompress(signal, bytes, bytes.length, out, elements, kind, threads);
  return { delta: out, kind: DELTA_KINDS[kind[0]!]! };
}

/**
 * Weights w_i / sum(w) as float32: summed in order in float64, divided, rounded once. Throws
 * BAD_WEIGHTS unless all are finite, none negative, and the sum is positive and finite.
 */
export function normaliseWeights(weights: readonly number[]): Float32Array {
  const total = weights.reduce((sum, w) => sum + w, 0);
  const isUsable = weights.every((w) => Number.isFinite(w) && w >= 0);
  if (!isUsable || !(total > 0) || !Number.isFinite(total))
    throw new MagnetError(
      "BAD_WEIGHTS",
      "merge weights must be finite, not negative, and not all zero",
    );
  return Float32Array.from(weights, (w) => w / total);
}

/** sum += weight * delta, fused, in place. The order of the calls is the order of the summation. */
export async function accumulateDelta(
  sum: Float32Array,
  delta: Float32Array,
  weight: number,
  options: DeltaOptions = {},
): Promise<void> {
  checkLengths(sum.length, delta);
  const { signal, threads = 0 } = options;
  await pooled.mg_delta_accumulate(signal, sum, delta, weight, sum.length, threads);
}

/**
 * sum_i w_i delta_i with normalised weights, accumulated in float32 in the given order from zero.
 * For deltas that do not fit memory together: normaliseWeights, then accumulateDelta one by one.
 */
export async function weightedSum(
  deltas: readonly Float32Array[],
  weights: readonly number[],
  options: DeltaOptions & { into?: Float32Array } = {},
): Promise<Float32Array> {
  invariant(deltas.length === weights.length, "one weight for each delta");
  const normalised = normaliseWeights(weights);
  const n = deltas[0]!.length;
  const sum = options.into ?? new Float32Array(n);
  checkLengths(n, sum, ...deltas);
  sum.fill(0);
  for (const [i, delta] of deltas.entries())
    await accumulateDelta(sum, delta, normalised[i]!, options);
  return sum;
}

export interface OuterStep {
  /** Outer learning rate, >= 0; the paper's 0.7. */
  lr: number;
  /** Outer momentum in [0, 1); the paper's 0.9. */
  mu: number;
}

/** Nesterov in place: m = mu m + delta; theta = theta - lr (delta + mu m), each line fused. */
export async function outerStep(
  theta: Float32Array,
  momentum: Float32Array,
  delta: Float32Array,
  { lr, mu }: OuterStep,
  options: DeltaOptions = {},
): Promise<void> {
  const n = theta.length;
  checkLengths(n, momentum, delta);
  const { signal, threads = 0 } = options;
  await pooled.mg_outer_step(signal, theta, momentum, delta, lr, mu, n, threads);
}
