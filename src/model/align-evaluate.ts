/**
 * How well a model tells chosen from rejected responses on held-out pairs: the share of pairs whose
 * chosen response has the higher mean log-prob, and by how much.
 */
import { MagnetError } from "../core/errors.ts";
import { packPairs, pairWidth } from "./pair-batch.ts";
import type { EncodedPair } from "./pair-data.ts";
import type { Trainer } from "./trainer.ts";

export interface PairEvaluation {
  pairs: number;
  /** Share of pairs whose chosen response has the higher mean log-prob. */
  win_rate: number;
  /** Standard error of the win rate over the pairs. */
  win_rate_error: number;
  /** Mean log-prob of the chosen response less that of the rejected one, nats per token. */
  margin: number;
  /** Standard error of the margin over the pairs. */
  margin_error: number;
  /** Negative log-likelihood of the chosen responses, nats per token. */
  chosen_nll: number;
}

export interface EvaluatePairsOptions {
  trainer: Pick<Trainer, "logProbs" | "options">;
  pairs: readonly EncodedPair[];
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: { done: number; total: number }) => void) | undefined;
}

/** Mean and its standard error. */
function meanOf(values: readonly number[]): { mean: number; error: number } {
  const n = values.length;
  const mean = values.reduce((sum, x) => sum + x, 0) / n;
  const squares = values.reduce((sum, x) => sum + (x - mean) ** 2, 0);
  return { mean, error: n < 2 ? 0 : Math.sqrt(squares / (n - 1) / n) };
}

/** Evaluates a model on pairs. Throws PAIRS_EMPTY, CANCELLED. */
export async function evaluatePairs(options: EvaluatePairsOptions): Promise<PairEvaluation> {
  const { trainer, pairs, signal, onProgress } = options;
  const total = pairs.length;
  if (total === 0)
    throw new MagnetError("PAIRS_EMPTY", "no pair is held out", {
      hint: "give more pairs, or a larger --heldout",
    });
  const batch = Math.max(1, Math.floor(trainer.options.batch / 2));
  // Pairs of like lengths together, so that little is padded.
  const sorted = [...pairs].sort((a, b) => pairWidth(b) - pairWidth(a));
  const margins: number[] = [];
  let chosen_sum = 0;
  let chosen_tokens = 0;
  for (let done = 0; done < total; done += batch) {
    const some = sorted.slice(done, done + batch);
    const { sums, counts } = await trainer.logProbs(packPairs(some), 2 * some.length, signal);
    for (let i = 0; i < sums.length; i += 2) {
      margins.push(sums[i]! / counts[i]! - sums[i + 1]! / counts[i + 1]!);
      chosen_sum += sums[i]!;
      chosen_tokens += counts[i]!;
    }
    onProgress?.({ done: done + some.length, total });
  }
  const win_rate = margins.filter((margin) => margin > 0).length / total;
  const { mean, error } = meanOf(margins);
  return {
    pairs: total,
    win_rate,
    win_rate_error: Math.sqrt((win_rate * (1 - win_rate)) / total),
    margin: mean,
    margin_error: error,
    chosen_nll: -chosen_sum / chosen_tokens,
  };
}
