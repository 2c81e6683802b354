/**
 * From text files to token files: train.mgt, heldout.mgt, tokenizer.json and data.json in one folder,
 * each appearing whole. Every input is read twice (to choose what is held out, then to tokenise), a piece
 * at a time, so memory stays bounded. Texts in memory: see tokenise.ts.
 */
import fs from "node:fs/promises";
import path from "node:path";
import { z } from "zod";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import {
  CHUNK_BYTES,
  type FileSystem,
  hostFileSystem,
  type OutputFile,
  replaceFile,
} from "./file-system.ts";
import { bucketOf, HeldoutSplit } from "./heldout-split.ts";
import {
  jsonlSplitter,
  partBytesFor,
  type Splitter,
  type TextPart,
  textSplitter,
} from "./text-parts.ts";
import { findInputs, type TextInput } from "./text-source.ts";
import { TokenFile } from "./token-file.ts";
import type { TokenSink } from "./token-writer.ts";
import { HELDOUT_FRACTION, startWriter, type TextEncoding, writePart } from "./tokenise.ts";

export interface PrepareOptions {
  /** Files and folders (see `findInputs`). */
  inputs: readonly string[];
  tokenizer: TextEncoding;
  out_dir: string;
  /** Share of the text held out, 0 to 0.5; 0.05 unless given. */
  heldout_fraction?: number;
  disk?: FileSystem;
  signal?: AbortSignal;
  /** Called after every piece; bytes count both passes. */
  onProgress?: (progress: { done_bytes: number; total_bytes: number }) => void;
}

const sideSchema = z.strictObject({
  documents: z.int().nonnegative(),
  tokens: z.int().nonnegative(),
  text_bytes: z.int().nonnegative(),
  content_hash: z.string(),
});
const summarySchema = z.strictObject({
  schema: z.literal("magnet.data/1"),
  tokenizer_hash: z.string(),
  vocab_size: z.int(),
  files: z.int(),
  ignored_files: z.int(),
  heldout_fraction: z.number(),
  train: sideSchema,
  /** null where nothing was held out. */
  heldout: sideSchema.nullable(),
});
/** data.json: what a prepared folder holds. */
export type DataSummary = z.infer<typeof summarySchema>;

const splitterOf = (input: TextInput, only_file: boolean): Splitter =>
  input.kind === "jsonl"
    ? jsonlSplitter(input.path)
    : textSplitter(input.path, partBytesFor(input.size_bytes, only_file));

/** The parts of all inputs, in order. Throws DATA_NOT_TEXT, DATA_BAD_JSON, CANCELLED. */
async function* partsOf(
  inputs: readonly TextInput[],
  options: { signal?: AbortSignal | undefined; onBytes?: ((bytes: number) => void) | undefined },
): AsyncGenerator<TextPart> {
  const buffer = new Uint8Array(Math.min(CHUNK_BYTES, 1024 * 1024));
  for (const input of inputs) {
    const splitter = splitterOf(input, inputs.length === 1);
    const handle = await fs.open(input.path, "r");
    try {
      for (;;) {
        if (options.signal?.aborted)
          throw new MagnetError("CANCELLED", "preparing the data was cancelled", {
            exit: "interrupted",
          });
        const { bytesRead } = await handle.read(buffer, 0, buffer.length, null);
        if (bytesRead === 0) break;
        yield* splitter.push(buffer.subarray(0, bytesRead));
        options.onBytes?.(bytesRead);
      }
      yield* splitter.finish();
    } finally {
      await handle.close();
    }
  }
}

/** A token file under a temporary name until `commit`. */
async function fileSide(disk: FileSystem, target: string, tokenizer: TextEncoding) {
  const temporary = `${target}.tmp`;
  await disk.remove(temporary);
  const file: OutputFile = await disk.create(temporary);
  const sink: TokenSink = {
    append: (bytes) => file.write(bytes),
    header: (bytes) => file.overwrite(bytes, 0),
  };
  let open = true;
  const close = async () => {
    if (open) await file.close();
    open = false;
  };
  const discard = async () => {
    await close();
    await disk.remove(temporary);
  };
  const writer = await startWriter(sink, tokenizer).catch(async (error) => {
    await discard();
    throw error;
  });
  return {
    writer,
    discard,
    async commit() {
      await file.sync();
      await close();
      await disk.rename(temporary, target);
    },
  };
}

function summarise(file: TokenFile): z.infer<typeof sideSchema> {
  const { document_count, token_count, text_bytes } = file.header;
  const content_hash = file.content_hash;
  return { documents: document_count, tokens: token_count, text_bytes, content_hash };
}

async function boundaryOf(
  parts: AsyncIterable<TextPart>,
  inputs: readonly string[],
  heldout_fraction: number,
): Promise<number> {
  const split = new HeldoutSplit();
  for await (const part of parts) split.add(part.bytes);
  if (split.total_bytes === 0)
    throw new MagnetError("DATA_EMPTY", `${inputs.join(", ")}: only white space`, {
      hint: "name a text file, a JSONL file with a text field, or a folder of them",
    });
  return split.boundary(heldout_fraction);
}

/**
 * Tokenises files and folders into `out_dir`. Throws NOT_FOUND, DATA_EMPTY, DATA_NOT_TEXT,
 * DATA_BAD_JSON, DATA_TOO_SMALL, DISK_FULL, CANCELLED; nothing is then replaced in `out_dir`.
 */
export async function prepareData(options: PrepareOptions): Promise<DataSummary> {
  const { tokenizer, out_dir, disk = hostFileSystem, signal } = options;
  const heldout_fraction = options.heldout_fraction ?? HELDOUT_FRACTION;
  const sides: Awaited<ReturnType<typeof fileSide>>[] = [];
  try {
    const found = await findInputs(options.inputs);
    let done_bytes = 0;
    const onBytes = (bytes: number) => {
      done_bytes += bytes;
      options.onProgress?.({ done_bytes, total_bytes: 2 * found.size_bytes });
    };
    const parts = () => partsOf(found.inputs, { signal, onBytes });
    const boundary = await boundaryOf(parts(), options.inputs, heldout_fraction);
    await disk.makeFolder(out_dir);
    const paths = dataPaths(out_dir);
    const train = await fileSide(disk, paths.train, tokenizer);
    sides.push(train);
    const heldout = boundary > 0 ? await fileSide(disk, paths.heldout, tokenizer) : null;
    if (heldout) sides.push(heldout);
    for await (const part of parts()) {
      const side = heldout && bucketOf(part.bytes) < boundary ? heldout : train;
      await writePart(side.writer, part, tokenizer);
    }
    for (const side of sides) await side.writer.finish();
    for (const side of sides) await side.commit();
    if (!heldout) await disk.remove(paths.heldout);
    const summary = summaryOf(out_dir, tokenizer, found, heldout_fraction);
    await writeText(disk, paths.tokenizer, tokenizer.toJson());
    await writeText(disk, paths.summary, `${JSON.stringify(summary, null, 2)}\n`);
    return summary;
  } catch (error) {
    for (const side of sides) await side.discard().catch(() => undefined); // the first failure counts
    throw toMagnetError(error);
  }
}

const writeText = (disk: FileSystem, file: string, text: string) =>
  replaceFile(disk, file, (out) => out.write(new TextEncoder().encode(text)));

function summaryOf(
  out_dir: string,
  tokenizer: TextEncoding,
  found: { inputs: readonly TextInput[]; ignored_files: number },
  heldout_fraction: number,
): DataSummary {
  const { train, heldout } = openTokenFiles(out_dir);
  try {
    return {
      schema: "magnet.data/1",
      tokenizer_hash: tokenizer.hash,
      vocab_size: tokenizer.vocab_size,
      files: found.inputs.length,
      ignored_files: found.ignored_files,
      heldout_fraction,
      train: summarise(train),
      heldout: heldout && summarise(heldout),
    };
  } finally {
    train.close();
    heldout?.close();
  }
}

/** Files of a prepared folder. */
export const dataPaths = (folder: string) => ({
  train: path.join(folder, "train.mgt"),
  heldout: path.join(folder, "heldout.mgt"),
  tokenizer: path.join(folder, "tokenizer.json"),
  summary: path.join(folder, "data.json"),
});

function openTokenFiles(folder: string): { train: TokenFile; heldout: TokenFile | null } {
  const paths = dataPaths(folder);
  const train = TokenFile.open(paths.train);
  try {
    return { train, heldout: TokenFile.open(paths.heldout) };
  } catch (error) {
    if (toMagnetError(error).code === "NOT_FOUND") return { train, heldout: null };
    train.close();
    throw error;
  }
}

/** A prepared folder, open. */
export interface PreparedData {
  summary: DataSummary;
  train: TokenFile;
  /** null where nothing was held out. */
  heldout: TokenFile | null;
  tokenizer_json: string;
  close(): void;
}

/** True for a folder that `prepareData` has written. */
export const isPrepared = (folder: string): Promise<boolean> =>
  hostFileSystem.exists(dataPaths(folder).summary);

/**
 * Opens a prepared folder; every file must be the one that data.json names. Throws NOT_FOUND,
 * DATA_NOT_PREPARED, TOKENS_CORRUPT (exit kind verification), UNSUPPORTED.
 */
export async function openData(folder: string): Promise<PreparedData> {
  const paths = dataPaths(folder);
  const broken = (what: string) =>
    new MagnetError("TOKENS_CORRUPT", `${folder}: ${what}`, {
      hint: "make it again with: magnet data prepare",
      exit: "verification",
    });
  try {
    await fs.stat(folder);
    if (!(await isPrepared(folder)))
      throw new MagnetError("DATA_NOT_PREPARED", `${folder} holds no data.json`, {
        hint: "make it with: magnet data prepare",
      });
    const parsed = summarySchema.safeParse(parseJson(await fs.readFile(paths.summary, "utf8")));
    if (!parsed.success) throw broken("data.json is damaged");
    const summary = parsed.data;
    const tokenizer_json = await fs.readFile(paths.tokenizer, "utf8");
    const { train, heldout } = openTokenFiles(folder);
    const close = () => {
      train.close();
      heldout?.close();
    };
    const isSame =
      train.content_hash === summary.train.content_hash &&
      heldout?.content_hash === summary.heldout?.content_hash;
    if (isSame) return { summary, train, heldout, tokenizer_json, close };
    close();
    throw broken("data.json belongs to other token files");
  } catch (error) {
    throw toMagnetError(error);
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // the schema refuses it
  }
}

/**
 * Texts to train a tokenizer on: the parts that are not held out, at most `sample_bytes_max` of them,
 * chosen by content (the same for every order of the files). Errors as `prepareData`.
 */
export async function tokenizerSample(options: {
  inputs: readonly string[];
  heldout_fraction?: number;
  /** 64 MiB unless given: more text hardly changes the merges. */
  sample_bytes_max?: number;
  signal?: AbortSignal;
}): Promise<Uint8Array[]> {
  const { signal, sample_bytes_max = 64 * 1024 * 1024 } = options;
  try {
    const found = await findInputs(options.inputs);
    const parts = () => partsOf(found.inputs, { signal });
    const fraction = options.heldout_fraction ?? HELDOUT_FRACTION;
    const boundary = await boundaryOf(parts(), options.inputs, fraction);
    const wanted = Math.min(1, sample_bytes_max / found.size_bytes);
    const above = boundary + wanted * (65_536 - boundary);
    const sample: Uint8Array[] = [];
    for await (const { bytes } of parts()) {
      const bucket = bucketOf(bytes);
      if (bucket >= boundary && bucket < above) sample.push(bytes);
    }
    return sample;
  } catch (error) {
    throw toMagnetError(error);
  }
}
