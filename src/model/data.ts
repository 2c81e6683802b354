/**
 * From text files to token files: train.mgt, heldout.mgt, tokenizer.json and data.json in one
 * folder, each appearing whole. Every input is read twice (to choose what is held out, then to
 * tokenise), a piece at a time, so memory stays bounded. Texts in memory: see tokenise.ts.
 */
import { toMagnetError } from "../core/errors.ts";
import {
  type FileSystem,
  hostFileSystem,
  type OutputFile,
  replaceFile,
  temporaryBeside,
} from "./file-system.ts";
import { type SourceSplit, sideOf } from "./heldout-split.ts";
import { type DataSummary, dataPaths, openTokenFiles, summarise } from "./prepared-data.ts";
import { boundaryOf, partsOf } from "./text-reader.ts";
import { findInputs, type TextInput } from "./text-source.ts";
import type { TokenSink } from "./token-writer.ts";
import { HELDOUT_FRACTION, startWriter, type TextEncoding, writePart } from "./tokenise.ts";

export {
  type DataSummary,
  dataPaths,
  isPrepared,
  openData,
  type PreparedData,
} from "./prepared-data.ts";
export { readParts, sampleTexts, tokenizerSample } from "./text-reader.ts";

export interface PrepareOptions {
  /** Files and folders (see `findInputs`). */
  inputs: readonly string[];
  tokenizer: TextEncoding;
  out_dir: string;
  /** Share of the text held out, 0 to 0.5; 0.05 unless given. */
  heldout_fraction?: number;
  /** The field of JSONL that holds the text; "text" unless given. */
  text_field?: string | undefined;
  /** What is held out, where that is known; computed in a first pass unless given. */
  split?: SourceSplit | undefined;
  disk?: FileSystem;
  signal?: AbortSignal;
  /** Called after every piece; bytes count all passes. */
  onProgress?: (progress: { done_bytes: number; total_bytes: number }) => void;
}

/** A token file under a temporary name until `commit`. */
async function fileSide(disk: FileSystem, target: string, tokenizer: TextEncoding) {
  const temporary = temporaryBeside(target);
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

/**
 * Tokenises files and folders into `out_dir`. Throws NOT_FOUND, DATA_EMPTY, DATA_NOT_TEXT,
 * DATA_BAD_JSON, DATA_TOO_SMALL, DISK_FULL, CANCELLED; nothing is then replaced in `out_dir`.
 */
export async function prepareData(options: PrepareOptions): Promise<DataSummary> {
  const { tokenizer, out_dir, disk = hostFileSystem, signal, text_field } = options;
  const heldout_fraction = options.heldout_fraction ?? HELDOUT_FRACTION;
  const sides: Awaited<ReturnType<typeof fileSide>>[] = [];
  try {
    const found = await findInputs(options.inputs);
    const passes = options.split ? 1 : 2;
    let done_bytes = 0;
    const onBytes = (bytes: number) => {
      done_bytes += bytes;
      options.onProgress?.({ done_bytes, total_bytes: passes * found.size_bytes });
    };
    const parts = () => partsOf(found.inputs, { signal, text_field, onBytes });
    const split: SourceSplit = options.split ?? {
      boundary: await boundaryOf(parts(), options.inputs, heldout_fraction),
    };
    await disk.makeFolder(out_dir);
    const paths = dataPaths(out_dir);
    const train = await fileSide(disk, paths.train, tokenizer);
    sides.push(train);
    const heldout = split.boundary > 0 ? await fileSide(disk, paths.heldout, tokenizer) : null;
    if (heldout) sides.push(heldout);
    for await (const part of parts()) {
      const side = sideOf(split, part.bytes);
      if (side !== null)
        await writePart((side === "heldout" ? heldout! : train).writer, part, tokenizer);
    }
    for (const side of sides) await side.writer.finish();
    for (const side of sides) await side.commit();
    if (!heldout) await disk.remove(paths.heldout);
    await disk.remove(paths.mixture); // a folder holds one kind of data
    const summary = await summaryOf(out_dir, tokenizer, found, heldout_fraction);
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

async function summaryOf(
  out_dir: string,
  tokenizer: TextEncoding,
  found: { inputs: readonly TextInput[]; ignored_files: number },
  heldout_fraction: number,
): Promise<DataSummary> {
  const { train, heldout } = await openTokenFiles(out_dir);
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
