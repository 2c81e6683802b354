/**
 * Bindings of constraints (cpp/include/magnet_sample.h): the bytes of a vocabulary's tokens, and
 * grammars over them. Handles are freed by `close`, or by the garbage collector when they are
 * forgotten; samplers keep alive what they use.
 */
import { invariant } from "../core/errors.ts";
import { type Address, addressSlot, bind, NULL, takeAddress } from "./ffi.ts";

const native = bind({
  mg_vocabulary_create: ["buffer", "u64", "buffer", "u64", "buffer", "u64", "buffer"],
  mg_vocabulary_free: ["buffer"],
  mg_grammar_create: ["handle", "buffer", "u64", "buffer"],
  mg_grammar_free: ["buffer"],
  mg_grammar_inspect: ["handle", "buffer", "u64", "u32", "buffer", "buffer", "buffer"],
});

const freeVocabulary = new FinalizationRegistry<Address>((handle) =>
  native.mg_vocabulary_free(handle),
);
const freeGrammar = new FinalizationRegistry<Address>((handle) => native.mg_grammar_free(handle));

/** The bytes of tokens by id; those without bytes are never allowed, except the end tokens. */
export class NativeVocabulary {
  readonly size: number;
  #handle: Address;

  /** end_tokens: at least one. */
  constructor(tokens: readonly Uint8Array[], end_tokens: Iterable<number>) {
    const ends = new Uint32Array(tokens.length);
    let total = 0;
    for (const [i, token] of tokens.entries()) ends[i] = total += token.length;
    const bytes = new Uint8Array(Math.max(1, total));
    for (const [i, token] of tokens.entries()) bytes.set(token, ends[i]! - token.length);
    const ids = Int32Array.from(end_tokens);
    const slot = addressSlot();
    native.mg_vocabulary_create(bytes, total, ends, ends.length, ids, ids.length, slot);
    this.size = tokens.length;
    this.#handle = takeAddress(slot);
    freeVocabulary.register(this, this.#handle, this);
  }

  get handle(): Address {
    invariant(this.#handle !== NULL, "the vocabulary is closed");
    return this.#handle;
  }

  close(): void {
    if (this.#handle === NULL) return;
    freeVocabulary.unregister(this);
    native.mg_vocabulary_free(this.#handle);
    this.#handle = NULL;
  }
}

/** What may follow a text. */
export interface Inspection {
  /** The text may end here. */
  complete: boolean;
  /** Bytes of the shortest completion. */
  cost: number;
  /** A bit for each token, lowest first. */
  mask: Uint8Array;
}

export class NativeGrammar {
  readonly #vocab_size: number;
  #handle: Address;

  /** Throws UNSUPPORTED where the vocabulary can write no text of the program. */
  constructor(vocabulary: NativeVocabulary, program: Uint8Array) {
    const slot = addressSlot();
    native.mg_grammar_create(vocabulary.handle, program, program.length, slot);
    this.#vocab_size = vocabulary.size;
    this.#handle = takeAddress(slot);
    freeGrammar.register(this, this.#handle, this);
  }

  /** For createSampler; valid until `close`. */
  get handle(): Address {
    invariant(this.#handle !== NULL, "the grammar is closed");
    return this.#handle;
  }

  /**
   * For tests: what may follow a text that is not yet complete, with `draws_left` draws to come (0: not
   * known). Throws BAD_FORMAT where the text breaks the constraint.
   */
  inspect(text: Uint8Array, draws_left = 0): Inspection {
    const [complete, cost] = [new Uint32Array(1), new Uint32Array(1)];
    const mask = new Uint8Array(Math.ceil(this.#vocab_size / 8));
    const bytes = text.length === 0 ? null : text;
    const { handle } = this;
    native.mg_grammar_inspect(handle, bytes, text.length, draws_left, complete, cost, mask);
    return { complete: complete[0] === 1, cost: cost[0]!, mask };
  }

  close(): void {
    if (this.#handle === NULL) return;
    freeGrammar.unregister(this);
    native.mg_grammar_free(this.#handle);
    this.#handle = NULL;
  }
}
