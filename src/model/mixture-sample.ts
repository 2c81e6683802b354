/**
 * The text that the one tokenizer of mixed data is trained on: each source in proportion to its
 * weight, so that a language that is drawn often is also cut into few tokens. A source that has
 * less text than its part is counted several times, as training will read it several times.
 */
import type { SourceSplit } from "./heldout-split.ts";
import type { NamedSource } from "./source-list.ts";
import { SAMPLE_BYTES_MAX, sampleTexts } from "./text-reader.ts";
import { findInputs } from "./text-source.ts";

/**
 * A source is counted at most this often: beyond it whole phrases of a small text would become
 * tokens.
 */
const REPEATS_MAX = 4;

export interface SourceSample {
  path: string;
  /** Bytes of it to take. */
  sample_bytes: number;
  /** How often they are counted. */
  repeats: number;
}

/**
 * Splits `total_bytes` (at most what there is) by weight. A source with less gives all it has,
 * `repeats` times.
 */
export function sampleParts(
  sources: readonly { path: string; weight: number; size_bytes: number }[],
  total_bytes_max: number,
): SourceSample[] {
  const total_weight = sources.reduce((sum, { weight }) => sum + weight, 0);
  const size_bytes = sources.reduce((sum, s) => sum + s.size_bytes, 0);
  const total_bytes = Math.min(size_bytes, total_bytes_max);
  return sources.map(({ path, weight, size_bytes: own_bytes }) => {
    const part_bytes = (total_bytes * weight) / total_weight;
    const repeats = Math.max(1, Math.min(REPEATS_MAX, Math.round(part_bytes / own_bytes)));
    return { path, sample_bytes: Math.min(own_bytes, part_bytes), repeats };
  });
}

/** Texts of all sources, one at a time. Errors as `prepareData`. */
export async function* mixtureTexts(options: {
  sources: readonly NamedSource[];
  /** Of each source (see `splitSources`). */
  splits: readonly SourceSplit[];
  text_field?: string | undefined;
  signal?: AbortSignal | undefined;
}): AsyncGenerator<Uint8Array> {
  const { splits, text_field, signal } = options;
  const sized = await Promise.all(
    options.sources.map(async (source) => {
      const { size_bytes } = await findInputs([source.path]);
      return { ...source, size_bytes };
    }),
  );
  for (const [index, part] of sampleParts(sized, SAMPLE_BYTES_MAX).entries())
    for (let i = 0; i < part.repeats; i++)
      yield* sampleTexts({
        inputs: [part.path],
        split: splits[index],
        text_field,
        sample_bytes_max: part.sample_bytes,
        signal,
      });
}
