/**
 * Hugging Face's tokenizer.json, the byte-level BPE family with the Llama-3 pattern: reading with
 * every setting checked (one that would change the ids is refused by name), and writing so that
 * transformers and @huggingface/tokenizers give the same ids.
 */
import { MagnetError } from "../core/errors.ts";
import { MERGES_MAX, TOKEN_BYTES_MAX, VOCAB_MAX } from "../native/tokenizer.ts";
import { fromByteAlphabet, toByteAlphabet } from "./byte-alphabet.ts";
import {
  asObject,
  badTokenizer,
  checkSettings,
  type Json,
  LLAMA3_PATTERN,
} from "./tokenizer-settings.ts";

/** A text longer than this is refused before it is parsed; Llama-3's file has 9 MB. */
export const TOKENIZER_JSON_BYTES_MAX = 1 << 27;

export interface SpecialToken {
  id: number;
  content: string;
}

/** A vocabulary: token i is the bytes tokens[i]; a special token's bytes are its text in UTF-8. */
export interface TokenizerData {
  tokens: Uint8Array[];
  /** Pairs of ids by rank, flat. */
  merges: Uint32Array;
  specials: SpecialToken[];
  ignore_merges: boolean;
}

function parseText(text: string): Json {
  if (text.length > TOKENIZER_JSON_BYTES_MAX)
    throw badTokenizer(`the file is longer than ${TOKENIZER_JSON_BYTES_MAX} characters`);
  try {
    return asObject(JSON.parse(text), "the file");
  } catch (error) {
    if (error instanceof MagnetError) throw error;
    throw badTokenizer(`not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function checkId(id: unknown, name: string): number {
  if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= VOCAB_MAX)
    throw badTokenizer(`${name} has the id ${JSON.stringify(id)}, not 0 to ${VOCAB_MAX - 1}`);
  return id as number;
}

function readSpecials(value: unknown): SpecialToken[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw badTokenizer("added_tokens is not a list");
  return value.map((entry, i) => {
    const token = asObject(entry, `added_tokens[${i}]`);
    const { content } = token;
    if (typeof content !== "string" || content.length === 0 || content.length > TOKEN_BYTES_MAX)
      throw badTokenizer(
        `added_tokens[${i}] has no content of at most ${TOKEN_BYTES_MAX} characters`,
      );
    const name = `added token ${JSON.stringify(content)}`;
    for (const flag of ["single_word", "lstrip", "rstrip"])
      if (token[flag]) throw badTokenizer(`${name} sets ${flag}, which is not supported`);
    if (token.special !== true)
      throw badTokenizer(`${name} is not special, which is not supported`);
    if (!content.isWellFormed()) throw badTokenizer(`${name} holds half a surrogate pair`);
    return { id: checkId(token.id, name), content };
  });
}

function readMerges(value: unknown, ids: Map<string, number>): Uint32Array {
  if (!Array.isArray(value)) throw badTokenizer("model.merges is not a list");
  if (value.length > MERGES_MAX) throw badTokenizer(`more than ${MERGES_MAX} merges`);
  const merges = new Uint32Array(2 * value.length);
  for (const [rank, merge] of value.entries()) {
    const pair: unknown[] = typeof merge === "string" ? merge.split(" ") : merge;
    if (!Array.isArray(pair) || pair.length !== 2)
      throw badTokenizer(`merge ${rank} is not a pair of tokens`);
    for (const side of [0, 1]) {
      const id = typeof pair[side] === "string" ? ids.get(pair[side]) : undefined;
      if (id === undefined)
        throw badTokenizer(`merge ${rank} names a token outside the vocabulary`);
      merges[2 * rank + side] = id;
    }
  }
  return merges;
}

/** Reads a tokenizer.json. Throws BAD_TOKENIZER with the setting or token that does not fit. */
export function parseTokenizerJson(text: string): TokenizerData {
  const file = parseText(text);
  checkSettings(file);
  const model = asObject(file.model, "model");
  const specials = readSpecials(file.added_tokens);
  const special_texts = new Map(specials.map(({ id, content }) => [content, id]));
  const ids = new Map<string, number>();
  const tokens: Uint8Array[] = [];
  const place = (id: number, name: string, bytes: Uint8Array) => {
    if (tokens[id] !== undefined) throw badTokenizer(`${name}: the id ${id} is taken`);
    tokens[id] = bytes;
  };
  for (const [key, value] of Object.entries(asObject(model.vocab, "model.vocab"))) {
    const name = `token ${JSON.stringify(key.slice(0, 40))}`;
    const id = checkId(value, name);
    const special_id = special_texts.get(key);
    if (special_id === id) continue; // listed in both places
    if (special_id !== undefined)
      throw badTokenizer(`${name} is also the added token ${special_id}`);
    if (key.length > TOKEN_BYTES_MAX) throw badTokenizer(`${name} is too long`);
    place(id, name, fromByteAlphabet(key));
    ids.set(key, id);
  }
  for (const { id, content } of specials)
    place(id, `added token ${JSON.stringify(content)}`, new TextEncoder().encode(content));
  for (let id = 0; id < tokens.length; id++)
    if (tokens[id] === undefined) throw badTokenizer(`no token has the id ${id}`);
  return {
    tokens,
    merges: readMerges(model.merges, ids),
    specials: specials.sort((a, b) => a.id - b.id),
    ignore_merges: model.ignore_merges === true,
  };
}

/** The tokenizer.json of a vocabulary, as a value; the same data gives the same value. */
export function tokenizerJson(data: TokenizerData): Json {
  const special_ids = new Set(data.specials.map(({ id }) => id));
  const names = data.tokens.map(toByteAlphabet);
  const vocab = Object.create(null) as Record<string, number>; // a token may be "__proto__"
  for (const [id, name] of names.entries()) if (!special_ids.has(id)) vocab[name] = id;
  const merges: string[] = [];
  for (let i = 0; i < data.merges.length; i += 2)
    merges.push(`${names[data.merges[i]!]} ${names[data.merges[i + 1]!]}`);
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: data.specials.map(({ id, content }) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Split", pattern: { Regex: LLAMA3_PATTERN }, behavior: "Isolated", invert: false },
        { ...byteLevel, use_regex: false },
      ],
    },
    post_processor: null,
    decoder: { ...byteLevel, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: data.ignore_merges,
      vocab,
      merges,
    },
  };
}
