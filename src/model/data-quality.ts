/**
 * How good a data set is (paper 13, the axis of data quality): the loss drop of a fixed reference run
 * with the set and without it, for three seeds. Everything is fixed here: model, recipe, seeds, byte
 * tokens, what is held out; all arithmetic gives the same bits on every machine. So whoever runs it
 * again on the same bytes finds the same numbers, to the last digit.
 *
 * Both runs take the same number of steps over the same number of tokens. Without the set all are of
 * the reference text, which is small and so read several times; with it every second sequence is of
 * the set. A set helps where it is more like the held-out text than the tenth reading of the
 * reference; noise, or the same line again and again, does harm. A set that contains the held-out
 * text itself measures nothing and is refused.
 */
import { sha256Hex } from "../core/bytes.ts";
import { MagnetError } from "../core/errors.ts";
import { BatchOrder } from "./batch-order.ts";
import type { ModelConfig } from "./config.ts";
import { InnerLoop } from "./inner-loop.ts";
import { sharedShare } from "./shared-text.ts";
import { Trainer } from "./trainer.ts";
import { IGNORED_TARGET } from "./trainer-types.ts";
import { hyperparametersOf, parseTrainingConfig, type TrainingConfig } from "./training-config.ts";

/** Named in every result: another model, step count or split is another recipe. */
export const RECIPE = "magnet.data_quality/1";
export const RECIPE_SEEDS = [1n, 2n, 3n] as const;
/** Bytes are the tokens: no tokenizer has to be agreed on. */
const MODEL: ModelConfig = {
  variant: "bitnet",
  vocab_size: 256,
  d_model: 64,
  n_layers: 2,
  n_heads: 4,
  n_kv_heads: 2,
  head_dim: 16,
  d_ff: 176,
  context: 128,
  rope_theta: 10_000,
  norm_eps: 1e-5,
  quant: "none",
};
const STEPS = 200;
const BATCH = 8;
/** Of the reference: 16 KiB to train on, read twelve times, and 16 KiB held out. */
export const REFERENCE_BYTES = 32 << 10;
const HELDOUT_BYTES = 16 << 10;
/** Less text than this is read too often to say anything. */
export const SET_BYTES_MIN = 16 << 10;
/** Of a larger set, evenly spaced pieces of this many bytes in all: 200 steps read no more. */
const SET_BYTES_READ = 512 << 10;
const PIECE_BYTES = 4 << 10;
/** Share of the held-out text that a set may contain: quotations, and nothing like a copy. */
const SHARED_MAX = 0.01;

export interface DataQuality {
  recipe: string;
  /** SHA-256 of the set, and of the reference text that was used. */
  content_hash: string;
  reference_hash: string;
  size_bytes: number;
  /** Share of the held-out text that lies in the set. */
  shared_with_heldout: number;
  runs: { seed: number; loss_without: number; loss_with: number }[];
  /** loss_without - loss_with of each seed, in whole micronats; negative where the set does harm. */
  loss_drops_micronats: [number, number, number];
}

export interface MeasureOptions {
  set: Uint8Array;
  /** At least REFERENCE_BYTES; the first so many are used. */
  reference: Uint8Array;
  /** 0: all; never changes a result. */
  threads?: number;
  /** Fewer steps than the recipe's, for a quick look: the result then names another recipe. */
  steps?: number;
  signal?: AbortSignal | undefined;
  onProgress?: (progress: { done: number; total: number }) => void;
}

/** Evenly spaced pieces of a large set, or all of it. */
function excerpt(set: Uint8Array): Uint8Array {
  if (set.length <= SET_BYTES_READ) return set;
  const pieces = SET_BYTES_READ / PIECE_BYTES;
  const step = Math.floor((set.length - PIECE_BYTES) / (pieces - 1));
  const parts = Array.from({ length: pieces }, (_, i) =>
    set.subarray(i * step, i * step + PIECE_BYTES),
  );
  return Buffer.concat(parts);
}

/** Sequences of one or two texts in turn, each in its own order. */
class Sequences {
  readonly #orders: BatchOrder[];

  constructor(
    private readonly texts: readonly Uint8Array[],
    seed: bigint,
  ) {
    const { context } = MODEL;
    this.#orders = texts.map(
      ({ length }, i) => new BatchOrder({ token_count: length, context, seed: seed + BigInt(i) }),
    );
  }

  read(position: number, count: number): Int32Array {
    const width = MODEL.context + 1;
    const tokens = new Int32Array(count * width);
    for (let row = 0; row < count; row++) {
      const place = position + row;
      const which = place % this.texts.length;
      const index = Math.floor(place / this.texts.length);
      const start = this.#orders[which]!.windowAt(index) * MODEL.context;
      tokens.set(this.texts[which]!.subarray(start, start + width), row * width);
    }
    return tokens;
  }
}

/** Mean loss over the held-out text, nats per byte. */
async function heldoutLoss(
  trainer: Trainer,
  heldout: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<number> {
  const { context } = MODEL;
  const width = context + 1;
  const windows = Math.ceil((heldout.length - 1) / context);
  let sum = 0;
  let counted = 0;
  for (let at = 0; at < windows; at += BATCH) {
    const rows = Math.min(BATCH, windows - at);
    const tokens = new Int32Array(rows * width).fill(IGNORED_TARGET);
    for (let row = 0; row < rows; row++) {
      const start = (at + row) * context;
      tokens.set(heldout.subarray(start, start + width), row * width);
    }
    const { nll_sum, count } = await trainer.evaluate(tokens, rows, signal);
    sum += nll_sum;
    counted += count;
  }
  return sum / counted;
}

const configFor = (seed: bigint, threads: number, steps: number): TrainingConfig =>
  parseTrainingConfig({ model: MODEL, steps, batch: BATCH, seed, threads });

/** One run of the recipe; texts: the reference, and perhaps the set. */
async function lossAfter(
  texts: readonly Uint8Array[],
  heldout: Uint8Array,
  seed: bigint,
  { threads = 0, signal, steps = STEPS }: MeasureOptions,
): Promise<number> {
  const config = configFor(seed, threads, steps);
  const { batch, context, optimizer } = config;
  const trainer = Trainer.create(MODEL, { batch, context, threads, optimizer });
  try {
    await trainer.initialise(seed);
    const loop = new InnerLoop(trainer, new Sequences(texts, seed), hyperparametersOf(config));
    for (let step = 0; step < steps; step++) await loop.next(signal);
    return await heldoutLoss(trainer, heldout, signal);
  } finally {
    trainer.close();
  }
}

const tooSmall = (what: string, bytes: number, least: number) =>
  new MagnetError("DATA_TOO_SMALL", `${what} has ${bytes} bytes, ${least} are needed`, {
    hint: "gather more text: the reference run reads about 100 KiB of it",
  });

/** Runs the recipe. Throws DATA_TOO_SMALL, DATA_SHARED, CANCELLED. */
export async function measureDataQuality(options: MeasureOptions): Promise<DataQuality> {
  const { set, onProgress, steps = STEPS } = options;
  if (set.length < SET_BYTES_MIN) throw tooSmall("the set", set.length, SET_BYTES_MIN);
  if (options.reference.length < REFERENCE_BYTES)
    throw tooSmall("the reference", options.reference.length, REFERENCE_BYTES);
  const reference = options.reference.subarray(0, REFERENCE_BYTES);
  const train = reference.subarray(0, REFERENCE_BYTES - HELDOUT_BYTES);
  const heldout = reference.subarray(REFERENCE_BYTES - HELDOUT_BYTES);
  const shared = sharedShare(heldout, set);
  if (shared > SHARED_MAX)
    throw new MagnetError(
      "DATA_SHARED",
      `the set contains ${(100 * shared).toFixed(1)} % of the held-out text`,
      {
        hint: "a set that holds the test measures nothing: take that text out",
        exit: "verification",
      },
    );
  const runs: DataQuality["runs"] = [];
  const total = 2 * RECIPE_SEEDS.length;
  for (const seed of RECIPE_SEEDS) {
    const loss_without = await lossAfter([train], heldout, seed, options);
    onProgress?.({ done: 2 * runs.length + 1, total });
    const loss_with = await lossAfter([train, excerpt(set)], heldout, seed, options);
    runs.push({ seed: Number(seed), loss_without, loss_with });
    onProgress?.({ done: 2 * runs.length, total });
  }
  const drops = runs.map((run) => Math.round((run.loss_without - run.loss_with) * 1e6));
  return {
    recipe: steps === STEPS ? RECIPE : `${RECIPE} in ${steps} steps`,
    content_hash: sha256Hex(set),
    reference_hash: sha256Hex(reference),
    size_bytes: set.length,
    shared_with_heldout: shared,
    runs,
    loss_drops_micronats: drops as [number, number, number],
  };
}
