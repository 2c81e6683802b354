/**
 * Turns what a user names for a training run (one prepared folder, or plain text) into token files and a
 * tokenizer. Plain text is tokenised into `<out_dir>/data`, with the given tokenizer or one trained on
 * the part of the same text that is not held out.
 */
import fs from "node:fs/promises";
import path from "node:path";
import { MagnetError } from "../core/errors.ts";
import { isPrepared, openData, type PreparedData, prepareData, tokenizerSample } from "./data.ts";
import { tokenByteLengths } from "./evaluate.ts";
import { Tokenizer } from "./tokenizer.ts";

export interface InputOptions {
  /** A prepared folder, or text files and folders. */
  paths: readonly string[];
  out_dir: string;
  /** A tokenizer.json; one is trained unless given. */
  tokenizer_file?: string | undefined;
  /** Of the tokenizer that is trained. */
  vocab_size: number;
  signal?: AbortSignal;
  onProgress?: (progress: { done_bytes: number; total_bytes: number }) => void;
}

export interface TrainingInputs {
  data: PreparedData;
  tokenizer: Tokenizer;
  /** Bytes of text of each token id, as evaluation needs them. */
  byte_lengths: Uint16Array;
}

/** Where plain text of a run is prepared. */
export const dataFolderOf = (out_dir: string): string => path.join(out_dir, "data");

/**
 * Opens or makes the data of a run; the caller closes `data`. Throws DATA_*, NOT_FOUND, BAD_TOKENIZER,
 * CORPUS_TOO_SMALL, CANCELLED.
 */
export async function openTrainingInputs(options: InputOptions): Promise<TrainingInputs> {
  const { paths, out_dir } = options;
  const [first] = paths;
  const prepared = paths.length === 1 && (await isPreparedFolder(first!));
  if (prepared && options.tokenizer_file !== undefined)
    throw new MagnetError("TOKENIZER_TWICE", `${first} brings its own tokenizer`, {
      hint: "leave --tokenizer out, or name the text itself",
      exit: "usage",
    });
  const folder = prepared ? first! : dataFolderOf(out_dir);
  if (!prepared) await prepare(options, folder);
  return await openInputs(folder);
}

/** False also for a file, and for a path that is not there (which the search for text reports). */
async function isPreparedFolder(place: string): Promise<boolean> {
  const stat = await fs.stat(place).catch(() => undefined);
  return stat?.isDirectory() === true && (await isPrepared(place));
}

async function prepare(options: InputOptions, out_dir: string): Promise<void> {
  const { paths: inputs, tokenizer_file, vocab_size, signal, onProgress } = options;
  const cancel = signal === undefined ? {} : { signal };
  const tokenizer =
    tokenizer_file === undefined
      ? await Tokenizer.train(await tokenizerSample({ inputs, ...cancel }), {
          vocab_size,
          ...cancel,
        })
      : await Tokenizer.load(tokenizer_file);
  const progress = onProgress === undefined ? {} : { onProgress };
  await prepareData({ inputs, tokenizer, out_dir, ...cancel, ...progress });
}

/** Opens a prepared folder with its tokenizer. Throws DATA_NOT_PREPARED, TOKENS_CORRUPT. */
export async function openInputs(folder: string): Promise<TrainingInputs> {
  const data = await openData(folder);
  try {
    const tokenizer = Tokenizer.fromJson(data.tokenizer_json);
    return { data, tokenizer, byte_lengths: byteLengthsOf(tokenizer) };
  } catch (error) {
    data.close();
    throw error;
  }
}

/** Bytes of text of each id; special tokens have none. */
export const byteLengthsOf = (tokenizer: Tokenizer): Uint16Array =>
  tokenByteLengths({
    tokens: () => tokenizer.tokens(),
    special_ids: tokenizer.specials.map(({ id }) => id),
  });
