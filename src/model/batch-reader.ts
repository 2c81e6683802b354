/**
 * Reads training batches: the windows of one token file, or of several sources mixed by weight, in
 * the order that position and seed give.
 */
import { canonicalJson, sha256Hex } from "../core/bytes.ts";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import type { Hash } from "../core/types.ts";
import { BatchOrder } from "./batch-order.ts";
import { MixtureOrder } from "./mixture-order.ts";
import type { TokenFile } from "./token-file.ts";

/** Copies the window at `position` of an order into a row of context + 1 tokens. */
function readWindow(file: TokenFile, order: BatchOrder, position: number, row: Int32Array): void {
  file.readInto(row, order.windowAt(position) * order.context);
}

export class BatchReader {
  constructor(
    readonly file: TokenFile,
    readonly order: BatchOrder,
  ) {}

  /**
   * Sequences [position, position + sequences) of this slice, (sequences, context + 1) row-major:
   * what `Trainer.step` takes.
   */
  read(position: number, sequences: number): Int32Array {
    const width = this.order.context + 1;
    const out = new Int32Array(sequences * width);
    for (let i = 0; i < sequences; i++)
      readWindow(this.file, this.order, position + i, out.subarray(i * width, (i + 1) * width));
    return out;
  }
}

/** A source of training data: prepared tokens and their share of the sequences. */
export interface DataSource {
  /** Appears in reports. */
  name: string;
  /** Above 0; only the proportion among the sources counts. */
  weight: number;
  train: TokenFile;
  /** null where nothing is held out. */
  heldout: TokenFile | null;
}

/** What a run has taken from a source. */
export interface SourceUse {
  name: string;
  /** Share of the sequences, 0 to 1. */
  share: number;
  /** Tokens in its training part. */
  tokens: number;
  /** Sequences taken from it by this slice. */
  sequences: number;
  /** Times this slice of it was read; above 1 it repeats. */
  data_passes: number;
}

/** The data of a run in its checkpoints. */
export interface DataState {
  /** Of the token file, or of all sources with their weights. */
  train_hash: Hash;
  /** Only where there is more than one; the weights in parts of WEIGHT_STEPS. */
  sources?: { train_hash: Hash; weight_parts: number; position: number }[];
}

/** Distinct sources get distinct orders; the first has that of a run of its own. */
const sourceSeed = (seed: bigint, index: number) =>
  BigInt.asUintN(64, seed + BigInt(index) * 0x9e3779b97f4a7c15n);

/** Batches of one or several sources. A source that is used up is begun again, in another order. */
export class MixedReader {
  readonly #mixture: MixtureOrder;
  readonly #orders: readonly BatchOrder[];
  readonly #context: number;

  /** Throws DATA_TOO_SMALL naming the source that holds no sequence for this slice. */
  constructor(
    readonly sources: readonly DataSource[],
    options: { context: number; seed: bigint; slice_index: number; slice_count: number },
  ) {
    this.#context = options.context;
    this.#mixture = new MixtureOrder(sources.map((s) => s.weight));
    this.#orders = sources.map(({ train, name }, i) => {
      const seed = sourceSeed(options.seed, i);
      try {
        return new BatchOrder({ ...options, seed, token_count: train.token_count });
      } catch (error) {
        const { code, message, hint } = toMagnetError(error);
        if (sources.length === 1 || code !== "DATA_TOO_SMALL") throw error;
        throw new MagnetError(code, `${name}: ${message}`, hint === undefined ? {} : { hint });
      }
    });
  }

  read(position: number, sequences: number): Int32Array {
    const width = this.#context + 1;
    const out = new Int32Array(sequences * width);
    for (let i = 0; i < sequences; i++) {
      const next = this.#mixture.at(position + i);
      const row = out.subarray(i * width, (i + 1) * width);
      readWindow(this.sources[next.source]!.train, this.#orders[next.source]!, next.position, row);
    }
    return out;
  }

  /**
   * What a checkpoint says about the data at a position. A single source is its content hash alone;
   * of several, all that decides which sequences come next.
   */
  state(position: number): DataState {
    const { parts } = this.#mixture;
    const hashes = this.sources.map(({ train }) => train.content_hash);
    if (hashes.length === 1) return { train_hash: hashes[0]! };
    const sources = this.#mixture.counts(position).map((count, i) => ({
      train_hash: hashes[i]!,
      weight_parts: parts[i]!,
      position: count,
    }));
    const fixed = sources.map(({ position: _, ...source }) => source);
    return { train_hash: sha256Hex(canonicalJson(fixed)) as Hash, sources };
  }

  /** What was taken from each source before `position`. */
  use(position: number): SourceUse[] {
    const { shares } = this.#mixture;
    return this.#mixture.counts(position).map((sequences, i) => ({
      name: this.sources[i]!.name,
      share: shares[i]!,
      tokens: this.sources[i]!.train.token_count,
      sequences,
      data_passes: sequences / this.#orders[i]!.windows_in_slice,
    }));
  }
}
