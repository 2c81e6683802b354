/**
 * What ORPO (odds-ratio preference optimization, paper 8.4) takes and gives: preference pairs as
 * token and label arrays, and the figures of a step. The arithmetic is native (trainer_orpo.cpp).
 */
import { MagnetError } from "../core/errors.ts";

/**
 * Sequences of `width` tokens, row-major. A label equals the token at its place where that counts
 * and is IGNORED_TARGET elsewhere (prompt, padding at the end).
 */
export interface LabelledTokens {
  tokens: Int32Array;
  labels: Int32Array;
  width: number;
}
/** (accumulate, pairs, 2, width): the chosen sequence of a pair before the rejected one. */
export interface PairTokens extends LabelledTokens {
  /** Pairs of a micro-batch. */
  pairs: number;
  accumulate: number;
}

export interface OrpoResult {
  /** nll + beta * odds_loss. */
  loss: number;
  /** Mean over the chosen responses' tokens, nats. */
  nll: number;
  /** Mean over the pairs of -log sigmoid(log odds ratio). */
  odds_loss: number;
  /** Mean log odds ratio. */
  log_odds: number;
  /** Mean over the pairs of a response's mean log-prob. */
  logp_chosen: number;
  logp_rejected: number;
  /** L2 norm of the whole gradient before clipping. */
  grad_norm: number;
  /** Pairs whose chosen response has the higher mean log-prob. */
  wins: number;
  /** Labels counted, of both responses. */
  tokens: number;
}

/** Size of mg_orpo_result. */
export const ORPO_RESULT_BYTES = 72;

export function unpackOrpoResult(bytes: Uint8Array): OrpoResult {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const double = (at: number) => view.getFloat64(at, true);
  const integer = (at: number) => Number(view.getBigUint64(at, true));
  return {
    loss: double(0),
    nll: double(8),
    odds_loss: double(16),
    log_odds: double(24),
    logp_chosen: double(32),
    logp_rejected: double(40),
    grad_norm: double(48),
    wins: integer(56),
    tokens: integer(64),
  };
}

/** Throws SHAPE_MISMATCH where the arrays do not hold so many sequences. */
export function checkLabelled(batch: LabelledTokens, sequences: number): void {
  const expected = sequences * batch.width;
  if (batch.tokens.length === expected && batch.labels.length === expected) return;
  throw new MagnetError(
    "SHAPE_MISMATCH",
    `${batch.tokens.length} tokens and ${batch.labels.length} labels given, ${sequences} sequences of ${batch.width} need ${expected}`,
  );
}
