/**
 * Bindings of the tokenizer section (cpp/include/magnet_tokenizer.h). Text goes in as bytes; every
 * check of the vocabulary is the library's (BAD_FORMAT). Handles are freed by `free`, or by the
 * garbage collector when they are forgotten.
 */
import { invariant } from "../core/errors.ts";
import { type Address, addressSlot, bind, bindAsync, NULL, takeAddress } from "./ffi.ts";

const native = bind({
  mg_pretokenize: ["buffer", "u64", "buffer", "u64", "buffer"],
  mg_tokenizer_create: [
    "buffer",
    "u64",
    "buffer",
    "u32",
    "buffer",
    "u32",
    "buffer",
    "u32",
    "u32",
    "buffer",
  ],
  mg_tokenizer_free: ["buffer"],
  mg_tokenizer_sizes: ["handle", "buffer"],
  mg_tokenizer_vocabulary: ["handle", "buffer", "buffer", "buffer", "buffer"],
  mg_tokenizer_json: ["handle", "u32", "buffer", "u64", "buffer"],
  mg_tokenizer_encode: ["handle", "buffer", "u64", "u32", "buffer", "u64", "buffer", "cancel"],
  mg_tokenizer_decode: ["handle", "buffer", "u64", "u32", "buffer", "u64", "buffer"],
  mg_bpe_trainer_create: ["buffer"],
  mg_bpe_trainer_free: ["buffer"],
  mg_bpe_trainer_result: ["handle", "buffer", "buffer"],
});
const background = bindAsync({
  mg_tokenizer_from_gguf: ["handle", "buffer"],
  mg_tokenizer_encode: ["handle", "buffer", "u64", "u32", "buffer", "u64", "buffer", "cancel"],
  mg_bpe_trainer_feed: ["handle", "buffer", "u64", "u32", "cancel"],
  mg_bpe_trainer_run: ["handle", "u32", "u64", "buffer", "buffer", "cancel"],
});

/** Limits of magnet_tokenizer.h that callers check before they build arrays. */
export const VOCAB_MAX = 1 << 20;
export const MERGES_MAX = 1 << 21;
export const TOKEN_BYTES_MAX = 4096;
/** Bytes of one text to encode; a longer one is split by its owner. */
export const ENCODE_BYTES_MAX = 1 << 26;

const freeTokenizer = new FinalizationRegistry<Address>((handle) =>
  native.mg_tokenizer_free(handle),
);
const freeTrainer = new FinalizationRegistry<Address>((handle) =>
  native.mg_bpe_trainer_free(handle),
);

/** Exclusive end positions of the pre-tokens of a text. */
export function pretokenEnds(text: Uint8Array): Uint32Array {
  const ends = new Uint32Array(text.length);
  const count = new BigUint64Array(1);
  native.mg_pretokenize(text, text.length, ends, ends.length, count);
  return ends.slice(0, Number(count[0]));
}

export interface NativeVocabulary {
  tokens: readonly Uint8Array[];
  /** left, right ids of each merge, by rank. */
  merges: Uint32Array;
  special_ids: Uint32Array;
  ignore_merges: boolean;
}

/** An encoder over a checked vocabulary. Safe to use from several asynchronous calls at once. */
export class NativeTokenizer {
  #handle: Address;
  #running = 0;

  private constructor(handle: Address) {
    this.#handle = handle;
    freeTokenizer.register(this, handle, this);
  }

  /** From the tokenizer.* values of an open GGUF file. */
  static async fromGguf(file: Address): Promise<NativeTokenizer> {
    const slot = addressSlot();
    await background.mg_tokenizer_from_gguf(undefined, file, slot);
    return new NativeTokenizer(takeAddress(slot));
  }

  static create(vocabulary: NativeVocabulary): NativeTokenizer {
    const { tokens, merges, special_ids } = vocabulary;
    const offsets = new Uint32Array(tokens.length + 1);
    for (const [i, token] of tokens.entries()) offsets[i + 1] = offsets[i]! + token.length;
    const bytes = new Uint8Array(offsets[tokens.length]!);
    for (const [i, token] of tokens.entries()) bytes.set(token, offsets[i]!);
    const slot = addressSlot();
    native.mg_tokenizer_create(
      bytes,
      bytes.length,
      offsets,
      tokens.length,
      merges,
      merges.length / 2,
      special_ids,
      special_ids.length,
      vocabulary.ignore_merges ? 1 : 0,
      slot,
    );
    return new NativeTokenizer(takeAddress(slot));
  }

  sizes(): { tokens: number; bytes: number; merges: number; specials: number } {
    const sizes = new BigUint64Array(4);
    native.mg_tokenizer_sizes(this.#handle, sizes);
    const [tokens, bytes, merges, specials] = Array.from(sizes, Number);
    return { tokens: tokens!, bytes: bytes!, merges: merges!, specials: specials! };
  }

  /** Bytes of the longest token. */
  longestToken(): number {
    const offsets = new Uint32Array(this.sizes().tokens + 1);
    native.mg_tokenizer_vocabulary(this.#handle, null, offsets, null, null);
    let longest = 0;
    for (let id = 1; id < offsets.length; id++)
      longest = Math.max(longest, offsets[id]! - offsets[id - 1]!);
    return longest;
  }

  /** Ids of the special tokens, ascending. */
  specialIds(): Uint32Array {
    const ids = new Uint32Array(this.sizes().specials);
    native.mg_tokenizer_vocabulary(this.#handle, null, null, null, ids);
    return ids;
  }

  /** Bytes of every token, by id, and the merges: what `create` took. */
  vocabulary(): Pick<NativeVocabulary, "tokens" | "merges"> {
    const sizes = this.sizes();
    const bytes = new Uint8Array(sizes.bytes);
    const offsets = new Uint32Array(sizes.tokens + 1);
    const merges = new Uint32Array(2 * sizes.merges);
    native.mg_tokenizer_vocabulary(this.#handle, bytes, offsets, merges, null);
    const tokens = Array.from({ length: sizes.tokens }, (_, i) =>
      bytes.subarray(offsets[i], offsets[i + 1]),
    );
    return { tokens, merges };
  }

  /** Canonical JSON of `vocab` or `merges` of the tokenizer.json's model, in UTF-8. */
  json(part: "vocab" | "merges"): Uint8Array {
    const { tokens, bytes, merges } = this.sizes();
    const length = new BigUint64Array(1);
    const code = part === "vocab" ? 0 : 1;
    // The vocabulary is never longer; merges are of some 20 bytes, and made again if they are not.
    let out = new Uint8Array(part === "vocab" ? 2 * bytes + 16 * tokens + 2 : 32 * merges + 2);
    native.mg_tokenizer_json(this.#handle, code, out, out.length, length);
    if (Number(length[0]) > out.length) {
      out = new Uint8Array(Number(length[0]));
      native.mg_tokenizer_json(this.#handle, code, out, out.length, length);
    }
    return out.subarray(0, Number(length[0]));
  }

  /** Ids of a text; `parse_special` turns the text of special tokens into their ids. */
  encode(text: Uint8Array, parse_special: boolean): Int32Array {
    const ids = new Int32Array(text.length);
    const count = new BigUint64Array(1);
    const special = parse_special ? 1 : 0;
    native.mg_tokenizer_encode(this.#handle, text, text.length, special, ids, ids.length, count);
    return ids.slice(0, Number(count[0]));
  }

  /** As encode, on a worker thread. The text must not change meanwhile. */
  async encodeAsync(
    text: Uint8Array,
    parse_special: boolean,
    signal?: AbortSignal,
  ): Promise<Int32Array> {
    const ids = new Int32Array(text.length);
    const count = new BigUint64Array(1);
    const special = parse_special ? 1 : 0;
    this.#running++;
    try {
      await background.mg_tokenizer_encode(
        signal,
        this.#handle,
        text,
        text.length,
        special,
        ids,
        ids.length,
        count,
      );
    } finally {
      this.#running--;
    }
    return ids.slice(0, Number(count[0]));
  }

  /** Bytes of the ids. Throws NATIVE_INVALID on an id outside the vocabulary. */
  decode(ids: Int32Array, skip_special: boolean): Uint8Array {
    const size = new BigUint64Array(1);
    const skip = skip_special ? 1 : 0;
    native.mg_tokenizer_decode(this.#handle, ids, ids.length, skip, null, 0, size);
    const out = new Uint8Array(Number(size[0]));
    native.mg_tokenizer_decode(this.#handle, ids, ids.length, skip, out, out.length, size);
    return out;
  }

  free(): void {
    invariant(this.#running === 0, "freed during a call");
    freeTokenizer.unregister(this);
    native.mg_tokenizer_free(this.#handle);
    this.#handle = NULL;
  }
}

/** What training gives: the pair that made each token beyond the 256 bytes, and all merges. */
export interface TrainedPairs {
  made: Uint32Array;
  merges: Uint32Array;
}

/** Counts texts and trains a vocabulary, on a worker thread; one call at a time. */
export class NativeBpeTrainer {
  #handle: Address;
  #running = 0;

  constructor() {
    const slot = addressSlot();
    native.mg_bpe_trainer_create(slot);
    this.#handle = takeAddress(slot);
    freeTrainer.register(this, this.#handle, this);
  }

  /** Counts the words of one text; `by_line`: of its lines, each a text of its own. */
  async feed(text: Uint8Array, by_line: boolean, signal?: AbortSignal): Promise<void> {
    this.#running++;
    try {
      await background.mg_bpe_trainer_feed(
        signal,
        this.#handle,
        text,
        text.length,
        by_line ? 1 : 0,
      );
    } finally {
      this.#running--;
    }
  }

  /** Trains until there are `token_limit` tokens (bytes included) or nothing is left to join. */
  async run(token_limit: number, min_count: number, signal?: AbortSignal): Promise<TrainedPairs> {
    const tokens = new Uint32Array(1);
    const count = new Uint32Array(1);
    this.#running++;
    try {
      await background.mg_bpe_trainer_run(
        signal,
        this.#handle,
        token_limit,
        min_count,
        tokens,
        count,
      );
    } finally {
      this.#running--;
    }
    const made = new Uint32Array(2 * tokens[0]!);
    const merges = new Uint32Array(2 * count[0]!);
    native.mg_bpe_trainer_result(this.#handle, made, merges);
    return { made, merges };
  }

  free(): void {
    invariant(this.#running === 0, "freed during a call");
    freeTrainer.unregister(this);
    native.mg_bpe_trainer_free(this.#handle);
    this.#handle = NULL;
  }
}
