/**
 * Texts in memory to tokens in memory, the same way as `prepareData` does files: parts of
 * documents, packed as begin token, text, end token, as far as the tokenizer has these tokens.
 */
import { MagnetError } from "../core/errors.ts";
import type { Hash } from "../core/types.ts";
import { bucketOf, HeldoutSplit } from "./heldout-split.ts";
import { partBytesFor, type TextPart, textSplitter } from "./text-parts.ts";
import type { TokenFile } from "./token-file.ts";
import { memorySink, type TokenSink, TokenWriter } from "./token-writer.ts";

/** What data needs of a tokenizer; `Tokenizer` is one. */
export interface TextEncoding {
  readonly vocab_size: number;
  /** SHA-256 of its canonical tokenizer.json. */
  readonly hash: Hash;
  readonly bos_id: number | null;
  readonly eos_id: number | null;
  encodeBytes(text: Uint8Array): Int32Array;
  /** The same off the main thread, for long texts. */
  encodeBytesAsync?(text: Uint8Array): Promise<Int32Array>;
  toJson(): string;
}

/** 0.05: enough targets for a stable loss, little lost for training. */
export const HELDOUT_FRACTION = 0.05;

/** A longer text would hold up timers and sockets by more than some milliseconds. */
const LONG_TEXT_BYTES = 64 * 1024;

/** Tokenises one part behind the tokens written so far. */
export async function writePart(
  writer: TokenWriter,
  part: TextPart,
  tokenizer: TextEncoding,
): Promise<void> {
  writer.startDocument();
  const { bos_id, eos_id } = tokenizer;
  if (part.starts && bos_id !== null) await writer.add(Int32Array.of(bos_id), 0);
  const isLong = part.bytes.length > LONG_TEXT_BYTES && tokenizer.encodeBytesAsync !== undefined;
  const tokens = isLong
    ? await tokenizer.encodeBytesAsync!(part.bytes)
    : tokenizer.encodeBytes(part.bytes);
  await writer.add(tokens, part.bytes.length);
  if (part.ends && eos_id !== null) await writer.add(Int32Array.of(eos_id), 0);
}

/** A token writer for this tokenizer. */
export const startWriter = (sink: TokenSink, { vocab_size, hash }: TextEncoding) =>
  TokenWriter.start(sink, { vocab_size, tokenizer_hash: hash });

/** A text in memory; `name` appears in errors. */
export interface NamedText {
  name: string;
  bytes: Uint8Array;
}
export interface SplitTexts {
  train: TextPart[];
  heldout: TextPart[];
}

/**
 * Splits texts in memory as `prepareData` does files: train a tokenizer on the train side only,
 * then call `tokeniseParts` for each side. Throws DATA_EMPTY, DATA_NOT_TEXT, DATA_TOO_SMALL.
 */
export function splitTexts(
  texts: readonly NamedText[],
  heldout_fraction: number = HELDOUT_FRACTION,
): SplitTexts {
  const parts = texts.flatMap(({ name, bytes }) => {
    const splitter = textSplitter(name, partBytesFor(bytes.length, texts.length === 1));
    return [...splitter.push(bytes), ...splitter.finish()];
  });
  if (parts.length === 0)
    throw new MagnetError("DATA_EMPTY", `${texts.length} text(s) without content`, {
      hint: "give text that is not only white space",
    });
  const split = new HeldoutSplit();
  for (const part of parts) split.add(part.bytes);
  const boundary = split.boundary(heldout_fraction);
  const isHeldout = (part: TextPart) => bucketOf(part.bytes) < boundary;
  return { train: parts.filter((p) => !isHeldout(p)), heldout: parts.filter(isHeldout) };
}

/** Tokenises parts into a token file in memory. */
export async function tokeniseParts(
  name: string,
  parts: readonly TextPart[],
  tokenizer: TextEncoding,
): Promise<TokenFile> {
  const sink = memorySink();
  const writer = await startWriter(sink, tokenizer);
  for (const part of parts) await writePart(writer, part, tokenizer);
  await writer.finish();
  return sink.open(name);
}

/** `splitTexts` and `tokeniseParts` in one, for a tokenizer that exists already. */
export async function prepareTexts(
  texts: readonly NamedText[],
  options: { tokenizer: TextEncoding; heldout_fraction?: number },
): Promise<{ train: TokenFile; heldout: TokenFile; parts: SplitTexts }> {
  const parts = splitTexts(texts, options.heldout_fraction);
  return {
    train: await tokeniseParts("train", parts.train, options.tokenizer),
    heldout: await tokeniseParts("heldout", parts.heldout, options.tokenizer),
    parts,
  };
}
