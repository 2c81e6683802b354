/**
 * Evaluation of mixed data: each source's held-out part by itself, and together the figures of a
 * text that is drawn as training draws it.
 */
import type { DataSource } from "./batch-reader.ts";
import { type EvaluateOptions, type Evaluation, evaluateTokens } from "./evaluate.ts";

/** Held-out figures of one source. */
export interface SourceEvaluation extends Evaluation {
  name: string;
  /** Share of the sequences, among the sources that hold something out. */
  share: number;
}
/** Held-out figures of a run; `sources` is there where it has more than one. */
export interface HeldoutEvaluation extends Evaluation {
  sources?: SourceEvaluation[];
}

type Options = Omit<EvaluateOptions, "file"> & { sources: readonly DataSource[] };

/**
 * Evaluates all sources that hold something out, each with an equal part of `tokens_max`, as each
 * one's figure is wanted equally sharp. null where none does. Throws as `evaluateTokens`.
 */
export async function evaluateSources(options: Options): Promise<HeldoutEvaluation | null> {
  const { sources, tokens_max, ...rest } = options;
  const held = sources.flatMap(({ heldout, ...s }) => (heldout ? [{ ...s, heldout }] : []));
  if (held.length === 0) return null;
  const total_weight = held.reduce((sum, { weight }) => sum + weight, 0);
  const limit = tokens_max === undefined ? {} : { tokens_max: Math.ceil(tokens_max / held.length) };
  const results: SourceEvaluation[] = [];
  for (const { name, weight, heldout } of held) {
    const evaluation = await evaluateTokens({ ...rest, ...limit, file: heldout });
    results.push({ name, share: weight / total_weight, ...evaluation });
  }
  if (sources.length > 1) return { ...mixtureOf(results), sources: results };
  const { name: _name, share: _share, ...only } = results[0]!;
  return only;
}

/**
 * Nats and bytes of a token of source i count with its share: the mean loss of a training target,
 * and the bits of such a text by its bytes.
 */
function mixtureOf(results: readonly SourceEvaluation[]): Evaluation {
  const sum = (f: (r: SourceEvaluation) => number) => results.reduce((s, r) => s + f(r), 0);
  const loss = sum((r) => r.share * r.loss);
  const bytes_per_token = sum((r) => (r.share * r.text_bytes) / r.tokens);
  return {
    loss,
    perplexity: Math.exp(loss),
    bits_per_byte: loss / Math.LN2 / bytes_per_token,
    tokens: sum((r) => r.tokens),
    text_bytes: sum((r) => r.text_bytes),
  };
}
