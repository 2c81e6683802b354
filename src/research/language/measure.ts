/**
 * How well a trained model predicts excerpts, all targets by themselves: bits of each document, and
 * the same bits by domain, by position in the context and by class of token. Every byte of an excerpt
 * is predicted exactly once, in windows of one fixed context, so the figures of all tokenizers and
 * all trained contexts are of the same bytes.
 */
import type { ModelConfig } from "../../model/config.ts";
import { Trainer } from "../../model/trainer.ts";
import type { StreamStats } from "../../model/trainer-types.ts";
import type { Excerpt } from "./excerpts.ts";
import type { MeasuringVocabulary } from "./text-data.ts";
import { TOKEN_CLASSES, tokenClasses } from "./token-classes.ts";

/** Windows of a batch. */
const BATCH = 16;
const IGNORED = -100;
/** Positions are told apart by eighths of the evaluation's context. */
export const POSITION_BUCKETS = 8;

export interface Loss {
  bits: number;
  bytes: number;
  tokens: number;
}

export interface Measurement {
  /** Bits of each excerpt, in order, and its bytes. */
  readonly bits: Float32Array;
  readonly bytes: Uint32Array;
  readonly by_class: readonly ({ name: string } & Loss)[];
  /** Nats of a token by eighth of the context, over the windows that are full. */
  readonly by_position: readonly { tokens: number; nats: number }[];
  /**
   * Full windows: nats of a token in the eighths before and after the trained context's end, where
   * the evaluation's is longer.
   */
  readonly beyond: readonly { inside: number; outside: number }[];
  readonly streams: readonly StreamStats[];
  /** Bits per byte under the frequencies of tokens in the training text alone, to six digits. */
  readonly unigram: number;
}

interface Window {
  readonly excerpt: number;
  /** context + 1 tokens, the rest ignored. */
  readonly tokens: Int32Array;
  readonly targets: number;
}

/** Windows of all excerpts: the first one begins with the begin token, which has no bytes. */
function windowsOf(excerpts: readonly Excerpt[], vocabulary: MeasuringVocabulary, context: number) {
  const { tokenizer } = vocabulary;
  const windows: Window[] = [];
  for (const [excerpt, { bytes }] of excerpts.entries()) {
    const ids = [tokenizer.bos_id!, ...tokenizer.encodeBytes(bytes)];
    for (let start = 0; start < ids.length - 1; start += context) {
      const piece = ids.slice(start, start + context + 1);
      const tokens = new Int32Array(context + 1).fill(IGNORED);
      tokens.set(piece);
      windows.push({ excerpt, tokens, targets: piece.length - 1 });
    }
  }
  return windows;
}

/** Rounded, as a host's logarithm may differ in its last bit. */
function unigramRate(
  windows: readonly Window[],
  { counts }: MeasuringVocabulary,
  excerpts: readonly Excerpt[],
): number {
  const total = counts.reduce((sum, count) => sum + count + 1, 0);
  const bits = Float64Array.from(counts, (count) => -Math.log2((count + 1) / total));
  let sum = 0;
  for (const { tokens, targets } of windows)
    for (let t = 1; t <= targets; t++) sum += bits[tokens[t]!]!;
  const bytes = excerpts.reduce((all, excerpt) => all + excerpt.bytes.length, 0);
  return Math.round((1e6 * sum) / bytes) / 1e6;
}

class Tally {
  readonly bits: Float64Array;
  readonly by_class: Loss[] = TOKEN_CLASSES.map(() => ({ bits: 0, bytes: 0, tokens: 0 }));
  readonly by_position = Array.from({ length: POSITION_BUCKETS }, () => ({ tokens: 0, nats: 0 }));
  readonly beyond: { inside: number; outside: number }[] = [];
  readonly #classes: Uint8Array;

  constructor(
    excerpts: number,
    readonly vocabulary: MeasuringVocabulary,
    readonly context: number,
    readonly trained_context: number,
  ) {
    this.bits = new Float64Array(excerpts);
    this.#classes = tokenClasses(vocabulary);
  }

  add({ excerpt, tokens, targets }: Window, losses: Float32Array): void {
    const { byte_lengths } = this.vocabulary;
    const isFull = targets === this.context;
    for (let t = 0; t < targets; t++) {
      const id = tokens[t + 1]!;
      const nats = losses[t]!;
      const bits = nats / Math.LN2;
      this.bits[excerpt]! += bits;
      const of_class = this.by_class[this.#classes[id]!]!;
      of_class.bits += bits;
      of_class.bytes += byte_lengths[id]!;
      of_class.tokens++;
      if (!isFull) continue;
      const place = this.by_position[Math.floor((t * POSITION_BUCKETS) / this.context)]!;
      place.tokens++;
      place.nats += nats;
    }
    if (isFull && this.trained_context < this.context) this.#splitWindow(losses);
  }

  /** The second half of the trained context against all that lies beyond it. */
  #splitWindow(losses: Float32Array): void {
    const end = this.trained_context;
    const mean = (from: number, to: number) => {
      let sum = 0;
      for (let t = from; t < to; t++) sum += losses[t]!;
      return sum / (to - from);
    };
    const inside = mean(Math.floor(end / 2), end);
    this.beyond.push({ inside, outside: mean(end, this.context) });
  }
}

export interface MeasureOptions {
  readonly model: ModelConfig;
  readonly params: Float32Array;
  readonly excerpts: readonly Excerpt[];
  readonly vocabulary: MeasuringVocabulary;
  /** The one fixed context that everything is measured on. */
  readonly context: number;
  readonly trained_context: number;
  readonly threads: number;
  readonly signal?: AbortSignal | undefined;
}

/** Measures a trained model. Throws NOT_A_NUMBER, CANCELLED. */
export async function measure(options: MeasureOptions): Promise<Measurement> {
  const { model, params, excerpts, vocabulary, context, threads, signal } = options;
  const windows = windowsOf(excerpts, vocabulary, context);
  const tally = new Tally(excerpts.length, vocabulary, context, options.trained_context);
  const judge = Trainer.create(model, { batch: BATCH, context, threads });
  let streams: readonly StreamStats[] = [];
  try {
    await judge.setParams(params);
    for (let at = 0; at < windows.length; at += BATCH) {
      const some = windows.slice(at, at + BATCH);
      const tokens = new Int32Array(some.length * (context + 1));
      for (const [row, window] of some.entries()) tokens.set(window.tokens, row * (context + 1));
      const result = await judge.tokenLosses(tokens, some.length, signal);
      if (at === 0) streams = result.streams;
      for (const [row, window] of some.entries())
        tally.add(window, result.losses.subarray(row * context, (row + 1) * context));
    }
  } finally {
    judge.close();
  }
  return {
    bits: Float32Array.from(tally.bits),
    bytes: Uint32Array.from(excerpts, ({ bytes }) => bytes.length),
    by_class: TOKEN_CLASSES.map((name, i) => ({ name, ...tally.by_class[i]! })),
    by_position: tally.by_position,
    beyond: tally.beyond,
    streams,
    unigram: unigramRate(windows, vocabulary, excerpts),
  };
}
