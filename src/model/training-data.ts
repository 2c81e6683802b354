/**
 * The data of `magnet train`: opens what is prepared, prepares what is text (training a tokenizer
 * where none is given), and on resume finds the data of the run again.
 */
import path from "node:path";
import { MagnetError } from "../core/errors.ts";
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
    if (opened) return opened;
  }
  const old = checkpoint ? await openPrepared(own) : null;
  if (old) return sameSources(old, named, checkpoint!);
  if (given.length === 0)
    throw new MagnetError("DATA_EMPTY", "no data to train on is named", {
      hint: "name text, JSONL or a prepared folder: --data PATH",
      exit: "usage",
    });
  const { signal, onPrepare: onProgress, heldout_fraction, text_field } = options;
  const common = {
    out_dir: own,
    text_field,
    ...(heldout_fraction === undefined ? {} : { heldout_fraction }),
    ...(signal === undefined ? {} : { signal }),
    ...(onProgress === undefined ? {} : { onProgress }),
  };
  if (named) {
    const prepared = await Promise.all(named.map((source) => isPreparedSource(source.path)));
    const texts = named.filter((_, i) => !prepared[i]);
    const paths = texts.map((source) => source.path);
    const splits = await splitSources(paths, heldout_fraction ?? HELDOUT_FRACTION, {
      text_field,
      signal,
    });
    const sample = () => mixtureTexts({ sources: texts, splits, text_field, signal });
    const tokenizer = await tokenizerFor(options, sample, named);
    await prepareMixture({ ...common, sources: named, splits, tokenizer });
    return openMixture(own);
  }
  const texts = () => sampleTexts({ inputs: given, heldout_fraction, text_field, signal });
  await prepareData({ ...common, inputs: given, tokenizer: await tokenizerFor(options, texts) });
  return openSingle(own);
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
  const partsOf = (sources: readonly Pick<DataSource, "weight">[]) =>
    weightParts(sources.map((s) => s.weight)).join();
  if (named === null || partsOf(named) === partsOf(old.sources)) return old;
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
