/**
 * The settings of a tokenizer.json that decide which ids a text gets. Only the byte-level BPE
 * family with the Llama-3 pattern passes; every other setting is refused by its name rather than
 * ignored.
 */
import { MagnetError } from "../core/errors.ts";

/** The pattern as tokenizer.json writes it. */
export const LLAMA3_PATTERN =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|" +
  " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** A parsed JSON object. */
export type Json = Record<string, unknown>;

/** The one refusal of a file of another family, with what does not fit. */
export function badTokenizer(message: string): MagnetError {
  return new MagnetError("BAD_TOKENIZER", message, {
    hint: "magnet reads tokenizer.json files of byte-level BPE with the Llama-3 pattern",
  });
}

/** The value as an object, or BAD_TOKENIZER. */
export function asObject(value: unknown, name: string): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw badTokenizer(`${name} is not an object`);
  return value as Json;
}

/** The pattern with its first part spelled out, as some exporters write it. */
const SPELLED_OUT = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";

function expect(value: unknown, allowed: readonly unknown[], name: string): void {
  if (!allowed.includes(value))
    throw badTokenizer(`${name} is ${JSON.stringify(value)?.slice(0, 80)}, which is not supported`);
}

function checkModel(model: Json): void {
  expect(model.type, ["BPE", undefined], "model.type");
  for (const name of ["dropout", "unk_token"])
    expect(model[name], [null, undefined], `model.${name}`);
  for (const name of ["continuing_subword_prefix", "end_of_word_suffix"])
    expect(model[name], [null, undefined, ""], `model.${name}`);
  expect(model.byte_fallback, [false, undefined], "model.byte_fallback");
  expect(model.ignore_merges, [true, false, undefined], "model.ignore_merges");
}

function checkPreTokenizer(value: unknown): void {
  const sequence = asObject(value, "pre_tokenizer");
  expect(sequence.type, ["Sequence"], "pre_tokenizer.type");
  const parts = sequence.pretokenizers;
  if (!Array.isArray(parts) || parts.length !== 2)
    throw badTokenizer("pre_tokenizer is not Split followed by ByteLevel");
  const split = asObject(parts[0], "pre_tokenizer.pretokenizers[0]");
  expect(split.type, ["Split"], "pre_tokenizer.pretokenizers[0].type");
  expect(split.behavior, ["Isolated"], "pre_tokenizer: Split.behavior");
  expect(split.invert, [false, undefined], "pre_tokenizer: Split.invert");
  const regex = asObject(split.pattern, "pre_tokenizer: Split.pattern").Regex;
  const spelledOut = SPELLED_OUT + LLAMA3_PATTERN.slice(LLAMA3_PATTERN.indexOf("|["));
  expect(regex, [LLAMA3_PATTERN, spelledOut], "pre_tokenizer: Split.pattern");
  const bytes = asObject(parts[1], "pre_tokenizer.pretokenizers[1]");
  expect(bytes.type, ["ByteLevel"], "pre_tokenizer.pretokenizers[1].type");
  expect(bytes.add_prefix_space, [false], "pre_tokenizer: ByteLevel.add_prefix_space");
  expect(bytes.use_regex, [false], "pre_tokenizer: ByteLevel.use_regex");
}

/** Only adds tokens around a text or trims offsets; the ids of the text itself stay the same. */
function checkPostProcessor(value: unknown): void {
  if (value === null || value === undefined) return;
  const post = asObject(value, "post_processor");
  if (post.type === "Sequence" && Array.isArray(post.processors)) {
    for (const part of post.processors)
      expect(
        asObject(part, "post_processor.processors").type,
        ["ByteLevel", "TemplateProcessing"],
        "post_processor.processors",
      );
    return;
  }
  expect(post.type, ["ByteLevel", "TemplateProcessing"], "post_processor.type");
}

/** Checks everything but the vocabulary, the merges and the added tokens. Throws BAD_TOKENIZER. */
export function checkSettings(file: Json): void {
  for (const name of ["normalizer", "truncation", "padding"])
    expect(file[name], [null, undefined], name);
  checkModel(asObject(file.model, "model"));
  checkPreTokenizer(file.pre_tokenizer);
  checkPostProcessor(file.post_processor);
  expect(asObject(file.decoder, "decoder").type, ["ByteLevel"], "decoder.type");
}
