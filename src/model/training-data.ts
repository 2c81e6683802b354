/**
 * The data of `magnet train`: opens what is prepared, prepares what is text (training a tokenizer
 * where none is given), and on resume finds the data of the run again.
 */
import path from "node:path";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import type { DataSource } from "./batch-reader.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { openData, prepareData, sampleTexts } from "./data.ts";
import {
  isPreparedSource,
  type OpenedData,
  openMixture,
  openPrepared,
  openSingle,
  prepareMixture,
} from "./mixed-data.ts";
import { weightParts } from "./mixture-order.ts";
import { mixtureTexts } from "./mixture-sample.ts";
import { splitSources } from "./mixture-split.ts";
import { type NamedSource, parseSources } from "./source-list.ts";
import { boundaryOf, partsOf } from "./text-reader.ts";
import { findInputs } from "./text-source.ts";
import { HELDOUT_FRACTION } from "./tokenise.ts";
import { Tokenizer } from "./tokenizer.ts";

export interface TrainingDataOptions {
  /**
   * One prepared folder or mixture; or text and JSONL files and folders, which are one corpus; or
   * sources with weights (PATH=WEIGHT).
   */
  data: readonly string[];
  /** null: the data's, or one is trained on the text. */
  tokenizer: Tokenizer | null;
  /** Size of a tokenizer that is trained. */
  vocab_size: () => number;
  heldout_fraction?: number | undefined;
  /** The field of JSONL that holds the text; "text" unless given. */
  text_field?: string | undefined;
  /** Gets data/ where text is prepared. */
  out_dir: string;
  /** The checkpoint that is resumed. */
  checkpoint: Checkpoint | null;
  signal?: AbortSignal | undefined;
  onPrepare?: ((progress: { done_bytes: number; total_bytes: number }) => void) | undefined;
}

/** Opens or prepares. Throws as `prepareData`, `openData`, `parseSources`, `Tokenizer.train`. */
export async function openTrainingData(options: TrainingDataOptions): Promise<OpenedData> {
  const { data: given, checkpoint, out_dir } = options;
  const own = path.join(out_dir, "data");
  const named = (await parseSources(given)) ?? (await preparedSources(given));
  if (named === null && given.length === 1) {
    const opened = await openPrepared(given[0]!);
    if (opened) return unlessForText(options, opened);
  }
  const old = checkpoint ? await openPrepared(own) : null;
  if (old) return sameSources(old, named, checkpoint!);
  if (given.length === 0)
    throw new MagnetError("DATA_EMPTY", "no data to train on is named", {
      hint: "name text, JSONL or a prepared folder: --data PATH",
      exit: "usage",
    });
  return named ? prepareSources(options, own, named) : prepareCorpus(options, own);
}

/** Options that say how text is prepared would be without effect on what is prepared already. */
function unlessForText(options: TrainingDataOptions, opened: OpenedData): OpenedData {
  const { heldout_fraction, text_field, checkpoint } = options;
  const flag = heldout_fraction !== undefined ? "--heldout" : text_field && "--text-field";
  if (!flag || checkpoint) return opened;
  opened.close();
  throw new MagnetError("BAD_TRAINING_CONFIG", `${options.data[0]} is prepared already`, {
    hint: `leave ${flag} out, or give the text itself`,
    exit: "usage",
  });
}

/**
 * What both kinds of preparing share. The text is read to see what is held out, then tokenised: each
 * is half of the progress. (A sample for a tokenizer is read between, without progress.)
 */
function preparing(options: TrainingDataOptions) {
  const { signal, onPrepare, heldout_fraction = HELDOUT_FRACTION, text_field } = options;
  let seen_bytes = 0;
  return {
    read: { text_field, signal },
    heldout_fraction,
    /** The first pass, of `size_bytes`. */
    splitting: (size_bytes: number) => (bytes: number) => {
      seen_bytes += bytes;
      onPrepare?.({ done_bytes: seen_bytes, total_bytes: 2 * size_bytes });
    },
    write: {
      text_field,
      heldout_fraction,
      ...(signal === undefined ? {} : { signal }),
      onProgress: ({ done_bytes, total_bytes }: { done_bytes: number; total_bytes: number }) =>
        onPrepare?.({ done_bytes: total_bytes + done_bytes, total_bytes: 2 * total_bytes }),
    },
  };
}

async function prepareSources(
  options: TrainingDataOptions,
  out_dir: string,
  named: readonly NamedSource[],
): Promise<OpenedData> {
  const { read, write, splitting, heldout_fraction } = preparing(options);
  const prepared = await Promise.all(named.map((source) => isPreparedSource(source.path)));
  const sources = named.filter((_, i) => !prepared[i]);
  const paths = sources.map((source) => source.path);
  const sizes = await Promise.all(paths.map(async (p) => (await findInputs([p])).size_bytes));
  const onBytes = splitting(sizes.reduce((sum, bytes) => sum + bytes, 0));
  const splits = await splitSources(paths, heldout_fraction, { ...read, onBytes });
  const sample = () => mixtureTexts({ sources, splits, ...read });
  const tokenizer = await tokenizerFor(options, sample, named);
  await prepareMixture({ ...write, out_dir, sources: named, splits, tokenizer });
  return openMixture(out_dir);
}

async function prepareCorpus(options: TrainingDataOptions, out_dir: string): Promise<OpenedData> {
  const { read, write, splitting, heldout_fraction } = preparing(options);
  const paths = options.data;
  const { inputs, size_bytes } = await findInputs(paths);
  const onBytes = splitting(size_bytes);
  const parts = partsOf(inputs, { ...read, onBytes });
  const boundary = await boundaryOf(parts, paths, heldout_fraction).catch((error) => {
    throw toMagnetError(error);
  });
  const split = { boundary };
  const sample = () => sampleTexts({ inputs: paths, split, ...read });
  const tokenizer = await tokenizerFor(options, sample);
  await prepareData({ ...write, out_dir, inputs: paths, split, tokenizer });
  return openSingle(out_dir);
}

/**
 * Several prepared folders without weights: each has the share of its tokens. null where none is
 * prepared. Throws BAD_DATA_SOURCE where only some are, as text has no share before it is
 * tokenised.
 */
async function preparedSources(given: readonly string[]): Promise<NamedSource[] | null> {
  if (given.length < 2) return null;
  const prepared = await Promise.all(given.map(isPreparedSource));
  if (!prepared.includes(true)) return null;
  const text = given[prepared.indexOf(false)];
  if (text !== undefined)
    throw new MagnetError("BAD_DATA_SOURCE", `${text} is text, another source is prepared`, {
      hint: "give every source a weight (PATH=NUMBER)",
      exit: "usage",
    });
  const tokens = await Promise.all(
    given.map(async (folder) => {
      const data = await openData(folder);
      data.close();
      return data.train.token_count;
    }),
  );
  return parseSources(given.map((folder, i) => `${folder}=${tokens[i]}`));
}

/** On resume the weights may be given again, but only as they were. */
function sameSources(
  old: OpenedData,
  named: readonly NamedSource[] | null,
  checkpoint: Checkpoint,
): OpenedData {
  const weightsOf = (sources: readonly Pick<DataSource, "weight">[]) =>
    weightParts(sources.map((s) => s.weight)).join();
  if (named === null || weightsOf(named) === weightsOf(old.sources)) return old;
  old.close();
  throw new MagnetError(
    "RESUME_MISMATCH",
    `${checkpoint.folder} was trained with other sources or weights: ${old.sources
      .map(({ name, weight }) => `${name}=${weight}`)
      .join(" ")}`,
    { hint: "leave --data out, or start a new run in another --out" },
  );
}

/** The given tokenizer, the checkpoint's, that of a prepared source, or one trained on the texts. */
async function tokenizerFor(
  options: TrainingDataOptions,
  texts: () => AsyncIterable<Uint8Array>,
  named: readonly NamedSource[] = [],
): Promise<Tokenizer> {
  const { checkpoint, signal } = options;
  if (options.tokenizer) return options.tokenizer;
  if (checkpoint) return Tokenizer.fromJson(await checkpoint.tokenizerJson());
  for (const source of named) {
    if (!(await isPreparedSource(source.path))) continue;
    const data = await openData(source.path);
    data.close();
    return Tokenizer.fromJson(data.tokenizer_json);
  }
  const vocab_size = options.vocab_size();
  return Tokenizer.train(texts(), { vocab_size, ...(signal === undefined ? {} : { signal }) });
}
