/**
 * How far another arithmetic moves a model's answers: its next-token distributions beside those of
 * the reference, position by position, on the same tokens.
 */
import { invariant } from "../core/errors.ts";

export interface Fidelity {
  /** Mean Kullback-Leibler divergence of the reference from the other, in nats a token. */
  kl: number;
  /** Share of positions at which both find the same token the most likely. */
  top1: number;
}

/** Index of the largest value; the first of equals. */
function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}

/** log of the sum of exp, shifted by the largest value so that nothing overflows. */
function logSumExp(values: Float32Array, largest: number): number {
  let sum = 0;
  for (const value of values) sum += Math.exp(value - largest);
  return largest + Math.log(sum);
}

/** Of two distributions given by logits: KL(p || q), in double precision. */
function divergence(p: Float32Array, q: Float32Array, best_p: number, best_q: number): number {
  const [log_p, log_q] = [logSumExp(p, p[best_p]!), logSumExp(q, q[best_q]!)];
  let sum = 0;
  for (let i = 0; i < p.length; i++) {
    const log_probability = p[i]! - log_p;
    sum += Math.exp(log_probability) * (log_probability - (q[i]! - log_q));
  }
  return sum;
}

/** Compares logits (positions, vocab_size). */
export function fidelity(
  reference: Float32Array,
  other: Float32Array,
  vocab_size: number,
): Fidelity {
  invariant(reference.length === other.length, "logits of different shapes are compared");
  const positions = reference.length / vocab_size;
  let [kl, equal] = [0, 0];
  for (let at = 0; at < positions; at++) {
    const [p, q] = [reference, other].map((logits) =>
      logits.subarray(at * vocab_size, (at + 1) * vocab_size),
    ) as [Float32Array, Float32Array];
    const [best_p, best_q] = [argmax(p), argmax(q)];
    kl += divergence(p, q, best_p, best_q);
    equal += best_p === best_q ? 1 : 0;
  }
  return { kl: kl / positions, top1: equal / positions };
}
