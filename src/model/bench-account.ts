/**
 * What a training step on a GPU has to do, computed from the sizes alone and never measured: for each part
 * of the profile (cpp/cpu/profile.hpp) its operations, the bytes that its kernels read and write (operands
 * of products once), its launches, and so the least time on a device of given rates. Held against a
 * profile it says which part is slow for what it does. Of models with ternary weights and sub-norms, in
 * bfloat16, one micro-batch a step, without recomputation.
 */
import { MagnetError } from "../core/errors.ts";
import type { BenchShape } from "./bench-shapes.ts";
import { paramCount, tensorInfos } from "./config.ts";

/** Of a device, as kernels are expected to reach them. */
export interface AccountRates {
  /** bf16 products with float32 sums; int8 ones are twice as fast. */
  tflops: number;
  /** Of its memory. */
  gbps: number;
}
/** What an H200's tensor cores give products that are large enough, and its memory: parts of both. */
export const H200_RATES: AccountRates = { tflops: 790 * 0.75, gbps: 4000 * 0.85 };

export interface AccountPart {
  kernel: string;
  site: string;
  /** Additions and multiplications counted separately; 0 where only memory counts. */
  operations: number;
  bytes: number;
  /** Kernels, copies and fills; a product that is cut along k takes one more. */
  launches: number;
  ms: number;
  bound_by: "arithmetic" | "memory";
}

/** Bytes of what lies in device memory. */
const [CODE, HALF, FLOAT] = [1, 2, 4];
/** Logits are made for that many bytes at a time, in whole tiles (head_chunk in storage.cu). */
const LOGIT_BYTES = 2 ** 30;
const CHUNK_MIN = 128;
/** Blocks of a norm's backward, each with a part of the weights' gradient. */
const NORM_BLOCKS = 512;

const padded = (columns: number) => Math.ceil(columns / 16) * 16;

class Account {
  readonly parts: AccountPart[] = [];
  constructor(private readonly rates: AccountRates) {}

  add(
    [kernel, site = ""]: [string, string?],
    { operations = 0, bytes, launches = 1, times = 1, speed = 1 }: Work & { times?: number },
  ): void {
    const arithmetic_ms = (times * operations) / (this.rates.tflops * speed) / 1e9;
    const memory_ms = (times * bytes) / this.rates.gbps / 1e6;
    const bound_by = arithmetic_ms > memory_ms ? "arithmetic" : "memory";
    const ms = Math.max(arithmetic_ms, memory_ms);
    const all = { operations: times * operations, bytes: times * bytes };
    this.parts.push({ kernel, site, ...all, launches: times * launches, ms, bound_by });
  }
}

interface Work {
  operations?: number;
  bytes: number;
  launches?: number;
  /** Of its operations, in those of bf16. */
  speed?: number;
}

/** c (m, n) of `out` bytes an element, which is also read where it is added to, from m x k and n x k. */
const product = (
  [m, n, k]: [number, number, number],
  { operands = HALF, out, added = 0 }: { operands?: number; out: number; added?: number },
): Work => ({
  operations: 2 * m * n * k,
  bytes: operands * (m * k + n * k) + (out + added) * m * n,
  speed: operands === CODE ? 2 : 1,
});

/** Rows of `width` elements. */
interface Widths {
  rows: number;
  d: number;
  q: number;
  kv: number;
  ff: number;
  layers: number;
}

function addForward(account: Account, { model: c, context }: BenchShape, w: Widths): void {
  const { rows, d, q, kv, ff, layers: times } = w;
  const quantised = CODE + HALF;
  const norm = (site: string, width: number, from: number) =>
    account.add(["norm_quantise", site], { bytes: rows * width * (from + quantised), times });
  const ternary = (site: string, n: number, k: number, out: { out: number; added?: number }) =>
    account.add(["ternary_product", site], {
      ...product([rows, n, k], { operands: CODE, ...out }),
      times,
    });
  account.add(["embed"], { bytes: rows * d * 2 * FLOAT });
  norm("attention_input", d, FLOAT);
  ternary("qkv", q + 2 * kv, d, { out: HALF });
  // Sums become two halves each, the second of what fp16 loses.
  account.add(["rope", "qkv"], { bytes: rows * (q + 2 * kv) * 3 * HALF, times });
  account.add(["attention_forward"], {
    operations: 3 * 2 * rows * context * q, // two products of halves, the causal half of each
    bytes: rows * (2 * HALF * (q + 2 * kv) + FLOAT * (q + c.n_heads)),
    times,
  });
  norm("attention_output", q, FLOAT);
  ternary("o", d, q, { out: FLOAT, added: FLOAT });
  norm("ffn_input", d, FLOAT);
  ternary("gate_up", 2 * ff, d, { out: HALF });
  account.add(["swiglu_norm_quantise", "ffn_hidden"], {
    bytes: rows * ff * (2 * HALF + quantised),
    times,
  });
  ternary("down", d, ff, { out: FLOAT, added: FLOAT });
  account.add(["norm_forward"], { bytes: rows * d * (FLOAT + HALF) });
}

/** Chunks of rows, one after the other: the embedding's gradient is written by the first. */
function addHead(account: Account, { model: c }: BenchShape, { rows, d }: Widths): void {
  const vocab = c.vocab_size;
  const fit = Math.floor(LOGIT_BYTES / (padded(vocab) * HALF) / CHUNK_MIN) * CHUNK_MIN;
  const times = Math.ceil(rows / Math.min(rows, Math.max(CHUNK_MIN, fit)));
  const chunk = rows / times;
  const forward = product([chunk, vocab, d], { out: HALF });
  account.add(["gemm_forward", "head"], { ...forward, times });
  // Largest and sum, then the gradient in place; and the sum of the losses.
  account.add(["cross_entropy"], {
    bytes: rows * vocab * 3 * HALF,
    launches: times + 1,
  });
  account.add(["gemm_dx", "head"], { ...product([chunk, d, vocab], { out: HALF }), times });
  account.add(["gemm_dw", "head"], {
    ...product([vocab, d, chunk], { out: FLOAT, added: (FLOAT * (times - 1)) / times }),
    times,
  });
}

function addBackward(account: Account, { model: c, context }: BenchShape, w: Widths): void {
  const { rows, d, q, kv, ff, layers: times } = w;
  /** x, dy and what is written; and the parts of the weights' gradient, written and read. */
  const norm = (site: string, width: number, bytes: number, repeats = times) =>
    account.add(["norm_backward", site], {
      bytes: rows * width * bytes + 2 * FLOAT * NORM_BLOCKS * width,
      launches: 2,
      times: repeats,
    });
  const linear = (site: string, n: number, k: number) => {
    account.add(["gemm_dw", site], { ...product([n, k, rows], { out: FLOAT }), times });
    account.add(["gemm_dx", site], { ...product([rows, k, n], { out: HALF }), times });
  };
  // Of the residual stream: added to its gradient, which is written once more as an operand.
  const residual = FLOAT + HALF + 2 * FLOAT + HALF;
  norm("", d, residual - FLOAT, 1);
  linear("down", d, ff);
  account.add(["swiglu_backward", "ffn_hidden"], {
    bytes: rows * ff * 5 * HALF + 2 * FLOAT * NORM_BLOCKS * ff,
    launches: 2,
    times,
  });
  linear("gate_up", 2 * ff, d);
  norm("ffn_input", d, residual);
  linear("o", d, q);
  norm("attention_output", q, FLOAT + 2 * HALF);
  const operands = HALF * (2 * q + 2 * kv);
  account.add(["attention_backward"], {
    // Scores and their gradients are made for dq and again for dk and dv: 3 + 4 products.
    operations: 7 * rows * context * q,
    bytes:
      rows *
      ((FLOAT + HALF) * q +
        3 * FLOAT * c.n_heads + // o, d_o, the statistics of every query
        2 * operands +
        HALF * (q + 2 * kv)),
    launches: 3,
    times,
  });
  linear("qkv", q + 2 * kv, d);
  norm("attention_input", d, residual);
  const tokens = Math.min(rows, c.vocab_size); // at most
  account.add(["embed_backward"], { bytes: rows * d * FLOAT + tokens * d * 2 * FLOAT });
}

/** What is done once a step, however many micro-batches it has. */
function addOnce(account: Account, { model: c }: BenchShape): void {
  const n = paramCount(c);
  const tensors = tensorInfos(c);
  const ternary = tensors.filter(({ is_ternary }) => is_ternary);
  const weights = ternary.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  const embedding = c.vocab_size * c.d_model;
  const vectors = n - weights - embedding;
  // Of the norms alone: products write theirs in the first micro-batch.
  account.add(["zero_gradient"], { bytes: FLOAT * vectors, launches: 2 });
  // The mean, then codes as bytes and as bf16; the embedding as bf16.
  account.add(["ternarise"], {
    bytes: weights * (2 * FLOAT + CODE + HALF) + embedding * (FLOAT + HALF),
    launches: 3 + 1,
  });
  account.add(["gradient_norm"], { bytes: FLOAT * n, launches: 2 });
  account.add(["optimizer"], { bytes: 7 * FLOAT * n, launches: 2 });
}

/** Parts of one kernel and site are one. */
function joined(parts: readonly AccountPart[]): AccountPart[] {
  const found = new Map<string, AccountPart>();
  for (const part of parts) {
    const name = `${part.kernel}/${part.site}`;
    const sum = found.get(name);
    if (!sum) found.set(name, { ...part });
    else
      for (const figure of ["operations", "bytes", "launches", "ms"] as const)
        sum[figure] += part[figure];
  }
  return [...found.values()];
}

export const hasAccount = ({ model }: BenchShape): boolean =>
  model.variant === "bitnet" && model.quant !== "none";

/** Parts by falling time. Throws BAD_SHAPE for a model whose steps are others. */
export function accountOf(shape: BenchShape, rates = H200_RATES): AccountPart[] {
  const { model: c } = shape;
  if (!hasAccount(shape))
    throw new MagnetError("BAD_SHAPE", "only of ternary models with sub-norms is there an account");
  const account = new Account(rates);
  const widths = {
    ...{ rows: shape.batch * shape.context, d: c.d_model, ff: c.d_ff, layers: c.n_layers },
    ...{ q: c.n_heads * c.head_dim, kv: c.n_kv_heads * c.head_dim },
  };
  addOnce(account, shape);
  addForward(account, shape, widths);
  addHead(account, shape, widths);
  addBackward(account, shape, widths);
  return joined(account.parts).sort((x, y) => y.ms - x.ms);
}

/** The account with its sums. The times add up where no part runs beside another. */
export function accountReport(shape: BenchShape, rates = H200_RATES) {
  const parts = accountOf(shape, rates);
  const sum = (figure: "operations" | "bytes" | "launches" | "ms") =>
    parts.reduce((all, part) => all + part[figure], 0);
  const ms = sum("ms");
  const total = {
    ...{ operations: sum("operations"), bytes: sum("bytes"), launches: sum("launches"), ms },
    tokens_per_s: (1000 * shape.batch * shape.context) / ms,
  };
  const { model, batch, context } = shape;
  return { suite: "account", shape: { ...model, batch, context }, rates, total, parts };
}
