/**
 * Training a tokenizer on files and folders (text and JSONL, as `findInputs` reads them), a piece
 * at a time: memory grows with the number of distinct words, not with the corpus.
 */
import { toMagnetError } from "../core/errors.ts";
import { partsOf } from "./text-reader.ts";
import { findInputs } from "./text-source.ts";
import { Tokenizer, type TrainOptions } from "./tokenizer.ts";

/** Bytes read, and handed to the trainer, at a time; text is cut at line ends. */
const PIECE_BYTES = 1 << 20;

export interface TrainFilesOptions extends TrainOptions {
  /** Called after every piece. */
  onProgress?: (progress: { done_bytes: number; total_bytes: number }) => void;
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
  const onBytes = (bytes: number) => {
    done_bytes += bytes;
    options.onProgress?.({ done_bytes, total_bytes: size_bytes });
  };
  const { signal } = options;
  const texts = async function* () {
    for await (const { bytes } of partsOf(inputs, { part_bytes: PIECE_BYTES, signal, onBytes }))
      yield bytes;
  };
  try {
    return await Tokenizer.train(texts(), options);
  } catch (error) {
    throw toMagnetError(error);
  }
}
