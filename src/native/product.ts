/** Times of single products of inference (cpp/cpu/product_bench.cpp). */
import { packingAsync } from "./infer.ts";

/** In the order of the C ABI's numbers. */
const KINDS = ["ternary", "q6k", "int8", "int4"] as const;
export type ProductKind = (typeof KINDS)[number];

export interface ProductShape {
  kind: ProductKind;
  rows: number;
  cols: number;
  /** Rows of activations. */
  n: number;
  threads: number;
  repeat: number;
}

/** Seconds of one product in every round, and the bytes of its weights. Takes 256 MiB meanwhile. */
export async function benchProduct(shape: ProductShape) {
  const { kind, rows, cols, n, threads, repeat } = shape;
  const seconds = new Float64Array(repeat);
  const bytes = new BigUint64Array(1);
  const number = KINDS.indexOf(kind);
  const out = [seconds, bytes] as const;
  await packingAsync.mg_bench_product(undefined, number, rows, cols, n, threads, repeat, ...out);
  return { seconds: [...seconds], bytes: Number(bytes[0]) };
}
