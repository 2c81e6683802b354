/**
 * `magnet bench product`: the products of inference alone, on weights that no cache holds: decoding
 * (one token) beside the bandwidth of memory, prefill beside the peak of integer products.
 */
import { type BenchResult, benchResult } from "../core/bench-report.ts";
import type { MachineLimits } from "../native/machine.ts";
import { benchProduct, type ProductKind } from "../native/product.ts";
import { benchMachine } from "./bench-train.ts";
import type { ModelConfig } from "./config.ts";

export interface ProductBenchOptions {
  config: ModelConfig;
  threads: number;
  repeat: number;
  /** Tokens at once, one result for each. */
  tokens: readonly number[];
  onPart(done: number, total: number): void;
}

interface Matrix {
  name: string;
  kind: ProductKind;
  rows: number;
  cols: number;
}

function matricesOf({ d_model, d_ff, n_kv_heads, head_dim, vocab_size }: ModelConfig): Matrix[] {
  const ternary = (name: string, rows: number, cols: number): Matrix => ({
    ...{ name: `ternary_${name}`, kind: "ternary", rows, cols },
  });
  const heads: ProductKind[] = d_model % 256 === 0 ? ["q6k", "int8", "int4"] : ["int8", "int4"];
  return [
    ternary("gate", d_ff, d_model),
    ternary("down", d_model, d_ff),
    ternary("kv", 2 * n_kv_heads * head_dim, d_model),
    ...heads.map((kind) => ({ name: `head_${kind}`, kind, rows: vocab_size, cols: d_model })),
  ];
}

/** Rates of one matrix: bytes where memory binds, operations where the integer units do. */
async function measured(
  { name, kind, rows, cols }: Matrix,
  n: number,
  { threads, repeat }: ProductBenchOptions,
  limits: MachineLimits,
): Promise<BenchResult> {
  const { seconds, bytes } = await benchProduct({ kind, rows, cols, n, threads, repeat });
  // A head's activations are two planes of int8.
  const operations = 2 * rows * cols * n * (kind === "ternary" ? 1 : 2);
  const title = `${name}/${n}`;
  const by_memory = bytes / (limits.read_gbps * 1e9);
  const by_integer = operations / (limits.integer_gops * 1e9);
  if (by_memory >= by_integer) {
    const limit = { value: limits.read_gbps, name: "memory" };
    return benchResult(
      title,
      "GB/s",
      seconds.map((s) => bytes / s / 1e9),
      limit,
    );
  }
  const limit = { value: limits.integer_gops, name: "integer peak" };
  return benchResult(
    title,
    "GOP/s",
    seconds.map((s) => operations / s / 1e9),
    limit,
  );
}

/** The suite "product". */
export async function benchProducts(options: ProductBenchOptions) {
  const { machine, limits } = await benchMachine(options.threads);
  const matrices = matricesOf(options.config);
  const total = matrices.length * options.tokens.length;
  const results: BenchResult[] = [];
  for (const n of options.tokens)
    for (const matrix of matrices) {
      results.push(await measured(matrix, n, options, limits));
      options.onPart(results.length, total);
    }
  return { suite: "product", machine, shape: options.config, results };
}
export type ProductReport = Awaited<ReturnType<typeof benchProducts>>;
