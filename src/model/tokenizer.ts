/**
 * The tokenizer: byte-level BPE with the Llama-3 pattern, trained here or read from a
 * tokenizer.json. Invariants: decodeBytes(encodeBytes(x)) = x for every x; the text of a special
 * token becomes that token only where the caller asks for it. Ids equal those of
 * @huggingface/tokenizers and llama.cpp.
 */

import { canonicalJson, sha256Hex } from "../core/bytes.ts";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import { readSmallText } from "../core/read-file.ts";
import type { Hash } from "../core/types.ts";
import { NativeBpeTrainer, NativeTokenizer, VOCAB_MAX } from "../native/tokenizer.ts";
import { BYTES_IN_ORDER, toByteAlphabet } from "./byte-alphabet.ts";
import {
  parseTokenizerJson,
  type SpecialToken,
  TOKENIZER_JSON_BYTES_MAX,
  type TokenizerData,
  tokenizerJson,
} from "./tokenizer-json.ts";
import { badTokenizer } from "./tokenizer-settings.ts";

/** The last ids of a trained vocabulary, in this order. */
export const DEFAULT_SPECIAL_TOKENS: readonly string[] = [
  "<|begin_of_text|>",
  "<|end_of_text|>",
  "<|user|>",
  "<|assistant|>",
];
const BOS_NAMES = ["<|begin_of_text|>", "<|startoftext|>", "<s>", "<|endoftext|>"];
const EOS_NAMES = ["<|end_of_text|>", "<|endoftext|>", "</s>"];

/** Token types of GGUF's tokenizer.ggml.token_type. */
export const GGUF_TOKEN_NORMAL = 1;
export const GGUF_TOKEN_CONTROL = 3;

export interface TrainOptions {
  /** Tokens in all: 256 bytes, merges, special tokens. */
  vocab_size: number;
  special_tokens?: readonly string[];
  /** Pairs that occur less often are not joined. */
  min_count?: number;
  /**
   * What no token may span: a line (the default; the reference trainer reads files so, and gives
   * the same merges), or a text as it is handed over.
   */
  unit?: "line" | "text";
  signal?: AbortSignal;
}
/** What a model's files say about its vocabulary beside the tokens; no part of the hash. */
export interface TokenizerNotes {
  /** Stated ids; without them the special tokens of known names count. */
  bos_id?: number | undefined;
  eos_id?: number | undefined;
  /** The chat format as a Jinja program (see chat-format.ts). */
  chat_template?: string | undefined;
}
export interface EncodeOptions {
  /** The text of a special token becomes that token. Never for text of a user. */
  parse_special?: boolean;
}
export interface DecodeOptions {
  /** Leaves special tokens out. */
  skip_special?: boolean;
}

/** An Int32Array would wrap a larger number silently. */
function checkId(id: number): number {
  if ((id | 0) === id) return id;
  throw new MagnetError("BAD_TOKEN_ID", `${id} is outside the vocabulary`);
}

function nativeOf({ tokens, merges, specials, ignore_merges }: TokenizerData): NativeTokenizer {
  const special_ids = Uint32Array.from(specials, ({ id }) => id);
  try {
    return NativeTokenizer.create({ tokens, merges, special_ids, ignore_merges });
  } catch (error) {
    const failure = toMagnetError(error);
    throw failure.code === "BAD_FORMAT" ? badTokenizer(failure.message) : failure;
  }
}

function specialsOf(native: NativeTokenizer): SpecialToken[] {
  const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
  return Array.from(native.specialIds(), (id) => ({
    id,
    content: utf8.decode(native.decode(Int32Array.of(id), false)),
  }));
}

export class Tokenizer {
  readonly vocab_size: number;
  readonly specials: readonly SpecialToken[];
  /** Begin and end of text, where the vocabulary has a special token of a known name for it. */
  readonly bos_id: number | null;
  readonly eos_id: number | null;
  readonly chat_template: string | null;
  readonly notes: TokenizerNotes;
  /** A pre-token that is itself a token becomes it without merges; llama.cpp always does so. */
  readonly ignore_merges: boolean;
  readonly #native: NativeTokenizer;
  #parts: Pick<TokenizerData, "tokens" | "merges"> | undefined;
  readonly #special_ids: ReadonlySet<number>;
  #hash: Hash | undefined;
  #longest_token: number | undefined;

  /**
   * Over data, or over a vocabulary that the library has read (whose merges are ignored for tokens).
   * Throws BAD_TOKENIZER where the vocabulary breaks a rule (see mg_tokenizer_create).
   */
  constructor(source: TokenizerData | NativeTokenizer, notes: TokenizerNotes = {}) {
    const is_native = source instanceof NativeTokenizer;
    this.#native = is_native ? source : nativeOf(source);
    this.specials = is_native ? specialsOf(source) : source.specials;
    this.ignore_merges = is_native || source.ignore_merges;
    this.vocab_size = this.#native.sizes().tokens;
    this.#special_ids = new Set(this.specials.map(({ id }) => id));
    this.bos_id = this.#stated(notes.bos_id) ?? this.#firstOf(BOS_NAMES);
    this.eos_id = this.#stated(notes.eos_id) ?? this.#firstOf(EOS_NAMES);
    this.chat_template = notes.chat_template ?? null;
    this.notes = notes;
  }

  /**
   * Trains on documents. The result has exactly vocab_size tokens: the bytes, the merges, the
   * special tokens. Throws CORPUS_TOO_SMALL where the texts do not give that many.
   */
  static async train(
    texts: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
    options: TrainOptions,
  ): Promise<Tokenizer> {
    const special_tokens = options.special_tokens ?? DEFAULT_SPECIAL_TOKENS;
    const limit = options.vocab_size - special_tokens.length;
    if (!Number.isInteger(limit) || limit < 256 || options.vocab_size > VOCAB_MAX)
      throw new MagnetError("BAD_VOCAB_SIZE", `vocab_size ${options.vocab_size} is out of range`, {
        hint: `choose ${256 + special_tokens.length} to ${VOCAB_MAX}`,
        exit: "config",
      });
    const trainer = new NativeBpeTrainer();
    try {
      const by_line = options.unit !== "text";
      for await (const text of texts) await trainer.feed(text, by_line, options.signal);
      const { made, merges } = await trainer.run(limit, options.min_count ?? 1, options.signal);
      const tokens = BYTES_IN_ORDER.map((byte) => Uint8Array.of(byte));
      for (let i = 0; i < made.length; i += 2)
        tokens.push(Buffer.concat([tokens[made[i]!]!, tokens[made[i + 1]!]!]));
      if (tokens.length < limit)
        throw new MagnetError(
          "CORPUS_TOO_SMALL",
          `the texts give ${tokens.length} tokens where ${limit} are wanted`,
          { hint: `lower --vocab-size to ${tokens.length + special_tokens.length}, or add text` },
        );
      const specials = special_tokens.map((content, i) => ({ id: limit + i, content }));
      tokens.push(...special_tokens.map((content) => new TextEncoder().encode(content)));
      return new Tokenizer({ tokens, merges, specials, ignore_merges: true });
    } finally {
      trainer.free();
    }
  }

  /** Reads a tokenizer.json of this family; anything else is BAD_TOKENIZER with its name. */
  static fromJson(text: string, notes: TokenizerNotes = {}): Tokenizer {
    return new Tokenizer(parseTokenizerJson(text), notes);
  }

  static async load(path: string, notes: TokenizerNotes = {}): Promise<Tokenizer> {
    try {
      return Tokenizer.fromJson(readSmallText(path, TOKENIZER_JSON_BYTES_MAX), notes);
    } catch (error) {
      throw toMagnetError(error);
    }
  }

  /** Bytes of the longest token: a text of n bytes has at least n / longest_token tokens. */
  get longest_token(): number {
    this.#longest_token ??= this.#native.longestToken();
    return this.#longest_token;
  }

  encode(text: string, options: EncodeOptions = {}): Int32Array {
    return this.encodeBytes(new TextEncoder().encode(text), options);
  }
  /** Any bytes; those that are not UTF-8 come back as they are from decodeBytes. */
  encodeBytes(bytes: Uint8Array, options: EncodeOptions = {}): Int32Array {
    return this.#native.encode(bytes, options.parse_special ?? false);
  }
  /** As encodeBytes, on a worker thread; the bytes must not change meanwhile. */
  encodeBytesAsync(
    bytes: Uint8Array,
    options: EncodeOptions & { signal?: AbortSignal } = {},
  ): Promise<Int32Array> {
    return this.#native.encodeAsync(bytes, options.parse_special ?? false, options.signal);
  }

  /** Text of ids; bytes that are not UTF-8 become U+FFFD. */
  decode(ids: ArrayLike<number>, options: DecodeOptions = {}): string {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    return decoder.decode(this.decodeBytes(ids, options));
  }
  decodeBytes(ids: ArrayLike<number>, options: DecodeOptions = {}): Uint8Array {
    const array = ids instanceof Int32Array ? ids : Int32Array.from(ids, checkId);
    return this.#native.decode(array, options.skip_special ?? false);
  }

  /** Id of a special token by its text, or null. */
  specialId(content: string): number | null {
    return this.specials.find((special) => special.content === content)?.id ?? null;
  }
  isSpecial(id: number): boolean {
    return this.#special_ids.has(id);
  }

  /** Made when first asked for: inference does without. */
  get #vocabulary(): Pick<TokenizerData, "tokens" | "merges"> {
    if (this.#parts === undefined) {
      const { tokens, merges } = this.#native.vocabulary();
      this.#parts = { tokens: [...tokens], merges };
    }
    return this.#parts;
  }
  get #data(): TokenizerData {
    const { specials, ignore_merges } = this;
    return { ...this.#vocabulary, specials: [...specials], ignore_merges };
  }
  /** Bytes of every token, by id. Do not modify. */
  tokens(): Uint8Array[] {
    return this.#vocabulary.tokens;
  }
  /** Pairs of ids, by rank. */
  merges(): [number, number][] {
    const { merges } = this.#vocabulary;
    return Array.from({ length: merges.length / 2 }, (_, i) => [
      merges[2 * i]!,
      merges[2 * i + 1]!,
    ]);
  }

  /** tokenizer.json; the same vocabulary gives the same text. */
  toJson(): string {
    return `${JSON.stringify(tokenizerJson(this.#data))}\n`;
  }
  /** SHA-256 of the canonical JSON of tokenizer.json: what identifies a tokenizer. */
  get hash(): Hash {
    this.#hash ??= this.#computeHash();
    return this.#hash;
  }

  /** The two large parts come from the library, in place of the empty ones of a frame. */
  #computeHash(): Hash {
    const { specials, ignore_merges } = this;
    const none = { tokens: [], merges: new Uint32Array(0) };
    const frame = canonicalJson(tokenizerJson({ ...none, specials: [...specials], ignore_merges }));
    const [start, rest] = frame.split('"merges":[]');
    const [middle, end] = rest!.split('"vocab":{}');
    return sha256Hex(
      `${start}"merges":`,
      this.#native.json("merges"),
      `${middle}"vocab":`,
      this.#native.json("vocab"),
      end!,
    ) as Hash;
  }

  /** tokenizer.ggml.tokens: GPT-2's byte alphabet, special tokens as their text. */
  ggufTokens(): string[] {
    const names = this.tokens().map(toByteAlphabet);
    for (const { id, content } of this.specials) names[id] = content;
    return names;
  }
  /** tokenizer.ggml.token_type: normal or control. */
  ggufTokenTypes(): Int32Array {
    const types = new Int32Array(this.vocab_size).fill(GGUF_TOKEN_NORMAL);
    for (const { id } of this.specials) types[id] = GGUF_TOKEN_CONTROL;
    return types;
  }
  /** tokenizer.ggml.merges: "left right" in the byte alphabet, by rank. */
  ggufMerges(): string[] {
    const names = this.tokens().map(toByteAlphabet);
    return this.merges().map(([left, right]) => `${names[left]} ${names[right]}`);
  }

  /**
   * Only special tokens count: text must not be able to give such an id, and folders state ids that
   * belong to no token (transformers writes 1 and 2 where nobody chose).
   */
  #stated(id: number | undefined): number | null {
    return id !== undefined && this.#special_ids.has(id) ? id : null;
  }

  #firstOf(names: readonly string[]): number | null {
    for (const name of names) {
      const id = this.specialId(name);
      if (id !== null) return id;
    }
    return null;
  }
}
