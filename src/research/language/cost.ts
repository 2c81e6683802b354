/**
 * What a configuration costs, as a formula: trials are compared at equal cost, and what decides may
 * not depend on how busy a machine was. The coefficients are microseconds of one core (AVX-512),
 * fitted to runs of 0.5M to 3.4M parameters; only their proportions matter.
 */
import { ffnWidth, type LanguageConfiguration } from "./configuration.ts";
import { sequencesOf } from "./training.ts";

/** A parameter of a block's matrices, forward and backward, for a token. */
const BLOCK_PARAM = 24e-6;
/** A parameter of the head: float32 both ways. */
const HEAD_PARAM = 50e-6;
/** A column of a block's residual stream: norms, quantisers; and of its feed-forward part. */
const COLUMN = 0.019;
const FFN_COLUMN = 0.011;
/** A column of the residual stream, for a token of the context: attention. */
const COLUMN_CONTEXT = 7.1e-5;
/** A parameter in a step of AdamW. */
const ADAMW_PARAM = 1e-3;
/** A floating-point operation of Muon's iterations. */
const MUON_FLOP = 6.8e-6;
const MUON_ITERATIONS = 5;

type Matrix = readonly [rows: number, cols: number];

function matricesOf(c: LanguageConfiguration): Matrix[] {
  const { d_model: d } = c;
  const kv = d / c.group;
  const ff = ffnWidth(c);
  return [
    [d, d],
    [d, d],
    [kv, d],
    [kv, d],
    [ff, d],
    [ff, d],
    [ff, d],
  ];
}

/** Of Newton and Schulz' iteration on one matrix. */
function muonFlops([rows, cols]: Matrix): number {
  const small = Math.min(rows, cols);
  const large = Math.max(rows, cols);
  return MUON_ITERATIONS * (4 * small * small * large + 2 * small * small * small);
}

export interface Cost {
  /** Microseconds of a token: all but the optimizer. */
  readonly token_us: number;
  /** Microseconds of an optimizer step. */
  readonly step_us: number;
  /** Both, for a token. */
  readonly us_per_token: number;
  /** Part of it that the optimizer takes. */
  readonly optimizer_share: number;
}

export function costOf(c: LanguageConfiguration): Cost {
  const matrices = matricesOf(c);
  const block = matrices.reduce((sum, [rows, cols]) => sum + rows * cols, 0) * c.n_layers;
  const head = c.vocab_size * c.d_model;
  const stream = c.d_model * (COLUMN + COLUMN_CONTEXT * c.context);
  const columns = c.n_layers * (stream + FFN_COLUMN * ffnWidth(c));
  const token_us = BLOCK_PARAM * block + HEAD_PARAM * head + columns;
  const by_adamw = c.optimizer === "muon" ? head : head + block;
  const flops = matrices.reduce((sum, matrix) => sum + muonFlops(matrix), 0) * c.n_layers;
  const step_us = ADAMW_PARAM * by_adamw + (c.optimizer === "muon" ? MUON_FLOP * flops : 0);
  const optimizer_us = step_us / (sequencesOf(c) * c.context);
  const us_per_token = token_us + optimizer_us;
  return { token_us, step_us, us_per_token, optimizer_share: optimizer_us / us_per_token };
}

/** Weights of the blocks and of the embedding. */
export function sizeOf(c: LanguageConfiguration): { block: number; head: number } {
  const block = matricesOf(c).reduce((sum, [rows, cols]) => sum + rows * cols, 0) * c.n_layers;
  return { block, head: c.vocab_size * c.d_model };
}
