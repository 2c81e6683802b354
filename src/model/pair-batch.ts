/** Batches of preference pairs for the trainer, padded at the end; and their order from a seed. */
import { invariant } from "../core/errors.ts";
import { BatchOrder } from "./batch-order.ts";
import type { LabelledTokens, PairTokens } from "./orpo.ts";
import type { EncodedPair } from "./pair-data.ts";
import { IGNORED_TARGET } from "./trainer-types.ts";

/** Tokens of the longer of a pair's two sequences. */
export const pairWidth = ({ prompt, chosen, rejected }: EncodedPair): number =>
  prompt.length + Math.max(chosen.length, rejected.length);

/** Sequences of pairs, the chosen one before the rejected one, as wide as the longest. */
export function packPairs(pairs: readonly EncodedPair[]): LabelledTokens {
  const width = pairs.reduce((most, pair) => Math.max(most, pairWidth(pair)), 0);
  const tokens = new Int32Array(2 * pairs.length * width);
  const labels = new Int32Array(tokens.length).fill(IGNORED_TARGET);
  for (const [i, { prompt, chosen, rejected }] of pairs.entries())
    for (const [k, response] of [chosen, rejected].entries()) {
      const start = (2 * i + k) * width;
      tokens.set(prompt, start);
      tokens.set(response, start + prompt.length);
      labels.set(response, start + prompt.length);
    }
  return { tokens, labels, width };
}

/** Reads training pairs in the order of a seed, all of them once a data pass. */
export class PairReader {
  private readonly order: BatchOrder;

  constructor(
    private readonly pairs: readonly EncodedPair[],
    private readonly options: { seed: bigint; batch: number; accumulate: number },
  ) {
    // The order of windows of one token each is one of pairs.
    this.order = new BatchOrder({
      token_count: pairs.length + 1,
      context: 1,
      seed: options.seed,
    });
  }

  /** Pairs [position, position + count) of the order: the micro-batches of one step. */
  read(position: number, count: number): PairTokens {
    const { batch, accumulate } = this.options;
    invariant(count === batch * accumulate, "a step's pairs");
    const chosen = Array.from({ length: count }, (_, i) => {
      return this.pairs[this.order.windowAt(position + i)]!;
    });
    return { ...packPairs(chosen), pairs: batch, accumulate };
  }
}
