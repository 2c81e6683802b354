/**
 * Reads the parts of text and JSONL files from disk, a piece at a time, and what is decided over
 * all of them: which are held out, and which a tokenizer is trained on.
 */
import { MagnetError, toMagnetError } from "../core/errors.ts";
import { bucketOf, HeldoutSplit, type SourceSplit, sideOf } from "./heldout-split.ts";
import { jsonlSplitter } from "./jsonl-parts.ts";
import { partBytesFor, type Splitter, type TextPart, textSplitter } from "./text-parts.ts";
import { piecesOf } from "./text-pieces.ts";
import { findInputs, type TextInput } from "./text-source.ts";
import { HELDOUT_FRACTION } from "./tokenise.ts";

/** How files are read. */
export interface ReadOptions {
  /** The field of JSONL that holds the text; "text" unless given. */
  text_field?: string | undefined;
  signal?: AbortSignal | undefined;
  /** Called with the bytes read from disk since the last call. */
  onBytes?: ((bytes: number) => void) | undefined;
}

const splitterOf = (input: TextInput, only_file: boolean, options: ReadOptions): Splitter =>
  input.kind === "jsonl"
    ? jsonlSplitter(input.path, options.text_field)
    : textSplitter(input.path, partBytesFor(input.size_bytes, only_file, input.packed));

/** The parts of all inputs, in order. Throws DATA_NOT_TEXT, DATA_BAD_JSON, CANCELLED. */
export async function* partsOf(
  inputs: readonly TextInput[],
  options: ReadOptions = {},
): AsyncGenerator<TextPart> {
  for (const input of inputs) {
    const splitter = splitterOf(input, inputs.length === 1, options);
    for await (const piece of piecesOf(input, options.onBytes)) {
      if (options.signal?.aborted)
        throw new MagnetError("CANCELLED", "reading the data was cancelled", {
          exit: "interrupted",
        });
      yield* splitter.push(piece);
    }
    yield* splitter.finish();
  }
}

/** Gathers the sizes of parts. Throws DATA_EMPTY naming the inputs. */
export async function splitOf(
  parts: AsyncIterable<TextPart>,
  inputs: readonly string[],
): Promise<HeldoutSplit> {
  const split = new HeldoutSplit();
  for await (const part of parts) split.add(part.bytes);
  if (split.total_bytes === 0)
    throw new MagnetError("DATA_EMPTY", `${inputs.join(", ")}: only white space`, {
      hint: "name a text file, a JSONL file with a text field, or a folder of them",
    });
  return split;
}

/**
 * The first bucket that is trained on (see `HeldoutSplit`). Throws DATA_EMPTY, DATA_TOO_SMALL.
 */
export const boundaryOf = async (
  parts: AsyncIterable<TextPart>,
  inputs: readonly string[],
  heldout_fraction: number,
): Promise<number> => (await splitOf(parts, inputs)).boundary(heldout_fraction);

/** All parts of files and folders, in memory. Errors as `prepareData`. */
export async function readParts(
  inputs: readonly string[],
  options: Pick<ReadOptions, "signal" | "text_field"> = {},
): Promise<TextPart[]> {
  try {
    const parts: TextPart[] = [];
    const found = await findInputs(inputs);
    for await (const part of partsOf(found.inputs, options)) parts.push(part);
    return parts;
  } catch (error) {
    throw toMagnetError(error);
  }
}

export interface SampleOptions {
  inputs: readonly string[];
  heldout_fraction?: number | undefined;
  /** What is held out, where that is known; computed unless given. */
  split?: SourceSplit | undefined;
  text_field?: string | undefined;
  /** 64 MiB unless given: more text hardly changes the merges. */
  sample_bytes_max?: number;
  signal?: AbortSignal | undefined;
}

/** Bytes of text that a tokenizer is trained on at most. */
export const SAMPLE_BYTES_MAX = 64 * 1024 * 1024;

/**
 * Texts to train a tokenizer on, one at a time: the parts that are not held out, about
 * `sample_bytes_max` of them, chosen by content (the same for every order of the files). Errors as
 * `prepareData`.
 */
export async function* sampleTexts(options: SampleOptions): AsyncGenerator<Uint8Array> {
  const { signal, text_field, sample_bytes_max = SAMPLE_BYTES_MAX } = options;
  try {
    const found = await findInputs(options.inputs);
    const parts = () => partsOf(found.inputs, { signal, text_field });
    const fraction = options.heldout_fraction ?? HELDOUT_FRACTION;
    const split = options.split ?? {
      boundary: await boundaryOf(parts(), options.inputs, fraction),
    };
    const { boundary } = split;
    const wanted = Math.min(1, sample_bytes_max / found.size_bytes);
    const above = boundary + wanted * (65_536 - boundary);
    for await (const { bytes } of parts()) {
      if (sideOf(split, bytes) === "train" && bucketOf(bytes) < above) yield bytes;
    }
  } catch (error) {
    throw toMagnetError(error);
  }
}

/** `sampleTexts` in memory. */
export async function tokenizerSample(options: SampleOptions): Promise<Uint8Array[]> {
  const sample: Uint8Array[] = [];
  for await (const bytes of sampleTexts(options)) sample.push(bytes);
  return sample;
}
