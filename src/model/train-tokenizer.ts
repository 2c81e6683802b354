/**
 * Training a tokenizer on files and folders (text and JSONL, as `findInputs` reads them), a piece
 * at a time: memory grows with the number of distinct words, not with the corpus.
 */
import fs from "node:fs/promises";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import { jsonlSplitter, textSplitter } from "./text-parts.ts";
import { findInputs, type TextInput } from "./text-source.ts";
import { Tokenizer, type TrainOptions } from "./tokenizer.ts";

/** Bytes read, and handed to the trainer, at a time; text is cut at line ends. */
const PIECE_BYTES = 1 << 20;

export interface TrainFilesOptions extends TrainOptions {
  /** Called after every piece. */
  onProgress?: (progress: { done_bytes: number; total_bytes: number }) => void;
}

async function* textsOf(
  inputs: readonly TextInput[],
  signal: AbortSignal | undefined,
  onBytes: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(PIECE_BYTES);
  for (const input of inputs) {
    const splitter =
      input.kind === "jsonl" ? jsonlSplitter(input.path) : textSplitter(input.path, PIECE_BYTES);
    const handle = await fs.open(input.path, "r");
    try {
      for (;;) {
        if (signal?.aborted)
          throw new MagnetError("CANCELLED", "training the tokenizer was cancelled", {
            exit: "interrupted",
          });
        const { bytesRead } = await handle.read(buffer, 0, buffer.length, null);
        if (bytesRead === 0) break;
        for (const { bytes } of splitter.push(buffer.subarray(0, bytesRead))) yield bytes;
        onBytes(bytesRead);
      }
      for (const { bytes } of splitter.finish()) yield bytes;
    } finally {
      await handle.close();
    }
  }
}

/**
 * Trains on files and folders. Throws what `findInputs` and `Tokenizer.train` throw, and
 * DATA_NOT_TEXT or DATA_BAD_JSON with the place.
 */
export async function trainTokenizerFromFiles(
  paths: readonly string[],
  options: TrainFilesOptions,
): Promise<Tokenizer> {
  const { inputs, size_bytes } = await findInputs(paths);
  let done_bytes = 0;
  const texts = textsOf(inputs, options.signal, (bytes) => {
    done_bytes += bytes;
    options.onProgress?.({ done_bytes, total_bytes: size_bytes });
  });
  try {
    return await Tokenizer.train(texts, options);
  } catch (error) {
    throw toMagnetError(error);
  }
}
