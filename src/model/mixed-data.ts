/**
 * A folder of mixed data: mixture.json and, for every source that was text, a prepared folder
 * (source-1, source-2, ...); a source that was prepared already stays where it is and is named by
 * its path. Each source has its own held-out part, so that a model is judged on each; all share one
 * tokenizer. Opened only if every token file is the one that mixture.json names.
 */
import path from "node:path";
import { z } from "zod";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import { readSmallText } from "../core/read-file.ts";
import type { Hash } from "../core/types.ts";
import type { DataSource } from "./batch-reader.ts";
import { type DataSummary, dataPaths, isPrepared, openData, prepareData } from "./data.ts";
import { type FileSystem, hostFileSystem, replaceFile } from "./file-system.ts";
import type { SourceSplit } from "./heldout-split.ts";
import { SOURCES_MAX } from "./mixture-order.ts";
import { splitSources } from "./mixture-split.ts";
import type { NamedSource } from "./source-list.ts";
import { findInputs } from "./text-source.ts";
import { HELDOUT_FRACTION, type TextEncoding } from "./tokenise.ts";

const hash = z.string().regex(/^[0-9a-f]{64}$/);
const mixtureSchema = z.strictObject({
  schema: z.literal("magnet.mixture/1"),
  tokenizer_hash: hash,
  sources: z
    .array(
      z.strictObject({
        name: z.string().min(1),
        weight: z.number().positive(),
        /** Of a prepared folder: below the mixture's, or absolute. */
        folder: z.string().min(1),
        train_hash: hash,
        heldout_hash: hash.nullable(),
      }),
    )
    .min(1)
    .max(SOURCES_MAX),
});
/** mixture.json: what a folder of mixed data is made of. */
export type MixtureSummary = z.infer<typeof mixtureSchema>;

/** 1024 sources with long paths. */
const MIXTURE_BYTES_MAX = 8 * 1024 * 1024;

/** True for a folder that `prepareMixture` has written. */
export const isMixture = (folder: string): Promise<boolean> =>
  hostFileSystem.exists(dataPaths(folder).mixture);

/** Training data, open: one source or several of one tokenizer. */
export interface OpenedData {
  sources: DataSource[];
  /** Of each source, in order. */
  summaries: DataSummary[];
  tokenizer_json: string;
  close(): void;
}

/** A prepared folder as the only source. Throws as `openData`. */
export async function openSingle(folder: string): Promise<OpenedData> {
  const { summary, train, heldout, tokenizer_json, close } = await openData(folder);
  const name = path.basename(path.resolve(folder));
  return {
    sources: [{ name, weight: 1, train, heldout }],
    summaries: [summary],
    tokenizer_json,
    close,
  };
}

function readMixture(folder: string): MixtureSummary {
  const file = dataPaths(folder).mixture;
  let value: unknown;
  try {
    value = JSON.parse(readSmallText(file, MIXTURE_BYTES_MAX));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw toMagnetError(error);
  }
  const parsed = mixtureSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw broken(folder, "mixture.json is damaged");
}

const broken = (folder: string, what: string) =>
  new MagnetError("TOKENS_CORRUPT", `${folder}: ${what}`, {
    hint: "make it again with: magnet data prepare",
    exit: "verification",
  });

/**
 * Opens a folder of mixed data. Throws TOKENS_CORRUPT where a source is no longer what it was, and
 * as `openData`.
 */
export async function openMixture(folder: string): Promise<OpenedData> {
  const mixture = readMixture(folder);
  const opened: Awaited<ReturnType<typeof openData>>[] = [];
  const close = () => {
    for (const data of opened) data.close();
  };
  try {
    for (const source of mixture.sources) {
      const data = await openData(path.resolve(folder, source.folder));
      opened.push(data);
      const same =
        data.train.content_hash === source.train_hash &&
        (data.heldout?.content_hash ?? null) === source.heldout_hash;
      if (!same) throw broken(folder, `the source "${source.name}" holds other tokens than before`);
      data.train.expectTokenizer(mixture.tokenizer_hash as Hash);
    }
    const sources = mixture.sources.map(({ name, weight }, i) => {
      const { train, heldout } = opened[i]!;
      return { name, weight, train, heldout };
    });
    const { tokenizer_json } = opened[0]!;
    return { sources, summaries: opened.map((data) => data.summary), tokenizer_json, close };
  } catch (error) {
    close();
    throw toMagnetError(error);
  }
}

/** A prepared folder or a mixture, or null where it is neither. */
export async function openPrepared(folder: string): Promise<OpenedData | null> {
  if (await isMixture(folder)) return openMixture(folder);
  return (await isPrepared(folder)) ? openSingle(folder) : null;
}

export interface PrepareMixtureOptions {
  sources: readonly NamedSource[];
  tokenizer: TextEncoding;
  out_dir: string;
  heldout_fraction?: number;
  /** What is held out of each source that is text, in order; computed unless given. */
  splits?: readonly SourceSplit[] | undefined;
  text_field?: string | undefined;
  disk?: FileSystem;
  signal?: AbortSignal;
  /** Bytes count all passes over all sources. */
  onProgress?: (progress: { done_bytes: number; total_bytes: number }) => void;
}

/**
 * Prepares every source that is text into `out_dir` and writes mixture.json last. Throws
 * TOKENIZER_MISMATCH for a prepared source of another tokenizer, BAD_DATA_SOURCE for a mixture as a
 * source, and as `prepareData`.
 */
export async function prepareMixture(options: PrepareMixtureOptions): Promise<MixtureSummary> {
  const { tokenizer, out_dir, disk = hostFileSystem } = options;
  const paths = dataPaths(out_dir);
  const folders = await foldersOf(options.sources);
  // Without these no half-made mixture is taken for what was here before.
  for (const file of [paths.mixture, paths.summary]) await disk.remove(file);
  const texts = options.sources.filter((_, i) => !path.isAbsolute(folders[i]!));
  const progress = await totalProgress(options, texts);
  const splits = [...(options.splits ?? (await splitTexts(options, texts, progress)))];
  const sources: MixtureSummary["sources"] = [];
  for (const [i, { name, weight, path: given }] of options.sources.entries()) {
    const folder = folders[i]!;
    if (!path.isAbsolute(folder))
      await prepareOne({ ...options, split: splits.shift()! }, given, folder, progress);
    const data = await openData(path.resolve(out_dir, folder));
    const { train, heldout } = data;
    data.close();
    train.expectTokenizer(tokenizer.hash);
    const hashes = {
      train_hash: train.content_hash,
      heldout_hash: heldout?.content_hash ?? null,
    };
    sources.push({ name, weight, folder, ...hashes });
  }
  const mixture: MixtureSummary = {
    schema: "magnet.mixture/1",
    tokenizer_hash: tokenizer.hash,
    sources,
  };
  const text = `${JSON.stringify(mixture, null, 2)}\n`;
  await disk.makeFolder(out_dir);
  await replaceFile(disk, paths.mixture, (file) => file.write(new TextEncoder().encode(text)));
  return mixture;
}

/** Where the tokens of each source are: its own folder if it is prepared, else one of ours. */
const foldersOf = (sources: readonly NamedSource[]): Promise<string[]> =>
  Promise.all(
    sources.map(async (source, i) =>
      (await isPreparedSource(source.path)) ? path.resolve(source.path) : `source-${i + 1}`,
    ),
  );

const splitTexts = (
  { heldout_fraction = HELDOUT_FRACTION, text_field, signal }: PrepareMixtureOptions,
  texts: readonly NamedSource[],
  onBytes: (bytes: number) => void,
): Promise<SourceSplit[]> =>
  splitSources(
    texts.map((source) => source.path),
    heldout_fraction,
    { text_field, signal, onBytes },
  );

async function prepareOne(
  options: PrepareMixtureOptions & { split: SourceSplit },
  given: string,
  folder: string,
  onBytes: (done_bytes: number) => void,
): Promise<void> {
  const { tokenizer, out_dir, heldout_fraction, split, text_field, disk, signal } = options;
  let seen_bytes = 0;
  await prepareData({
    inputs: [given],
    tokenizer,
    out_dir: path.join(out_dir, folder),
    text_field,
    split,
    ...(heldout_fraction === undefined ? {} : { heldout_fraction }),
    ...(disk === undefined ? {} : { disk }),
    ...(signal === undefined ? {} : { signal }),
    onProgress({ done_bytes }) {
      onBytes(done_bytes - seen_bytes);
      seen_bytes = done_bytes;
    },
  });
}

/** Adds up what is done over all sources that are text. */
async function totalProgress(
  { splits, onProgress }: PrepareMixtureOptions,
  texts: readonly NamedSource[],
): Promise<(bytes: number) => void> {
  const sizes = await Promise.all(texts.map(async (s) => (await findInputs([s.path])).size_bytes));
  const passes = splits ? 1 : 2;
  const total_bytes = passes * sizes.reduce((sum, bytes) => sum + bytes, 0);
  let done_bytes = 0;
  return (bytes) => {
    done_bytes += bytes;
    onProgress?.({ done_bytes, total_bytes });
  };
}

/** True for a prepared folder. Throws BAD_DATA_SOURCE for a mixture: weights do not nest. */
export async function isPreparedSource(given: string): Promise<boolean> {
  if (await isMixture(given))
    throw new MagnetError("BAD_DATA_SOURCE", `${given} is itself a mixture`, {
      hint: "name it alone, or name its sources with their weights",
      exit: "usage",
    });
  return isPrepared(given);
}
