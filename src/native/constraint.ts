/**
 * Constraints of a library (cpp/include/magnet_sample.h): the bytes of a vocabulary's tokens, and
 * grammars over them. Handles are freed by `close`, or by the garbage collector when they are
 * forgotten; samplers keep alive what they use.
 */
import { invariant } from "../core/errors.ts";
import { type Address, addressSlot, NULL, takeAddress } from "./ffi.ts";
import { cpuInfer, type InferLibrary, requireLibrary } from "./infer.ts";

interface Forgotten {
  library: InferLibrary;
  handle: Address;
}
const freeVocabulary = new FinalizationRegistry<Forgotten>(({ library, handle }) =>
  library.mg_vocabulary_free(handle),
);
const freeGrammar = new FinalizationRegistry<Forgotten>(({ library, handle }) =>
  library.mg_grammar_free(handle),
);

/** The bytes of tokens by id; those without bytes are never allowed, except the end tokens. */
export class NativeVocabulary {
  readonly size: number;
  #handle: Address;

  /** end_tokens: at least one. library: of the model whose logits are constrained. */
  constructor(
    tokens: readonly Uint8Array[],
    end_tokens: Iterable<number>,
    readonly library: InferLibrary = cpuInfer,
  ) {
    const ends = new Uint32Array(tokens.length);
    let total = 0;
    for (const [i, token] of tokens.entries()) ends[i] = total += token.length;
    const bytes = new Uint8Array(Math.max(1, total));
    for (const [i, token] of tokens.entries()) bytes.set(token, ends[i]! - token.length);
    const ids = Int32Array.from(end_tokens);
    const slot = addressSlot();
    library.mg_vocabulary_create(bytes, total, ends, ends.length, ids, ids.length, slot);
    this.size = tokens.length;
    this.#handle = takeAddress(slot);
    freeVocabulary.register(this, { library, handle: this.#handle }, this);
  }

  handleOf(library: InferLibrary): Address {
    requireLibrary(library, this.library, "a vocabulary");
    invariant(this.#handle !== NULL, "the vocabulary is closed");
    return this.#handle;
  }

  close(): void {
    if (this.#handle === NULL) return;
    freeVocabulary.unregister(this);
    this.library.mg_vocabulary_free(this.#handle);
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
  readonly library: InferLibrary;
  readonly #vocab_size: number;
  #handle: Address;

  /** Throws UNSUPPORTED where the vocabulary can write no text of the program. */
  constructor(vocabulary: NativeVocabulary, program: Uint8Array) {
    const slot = addressSlot();
    const { library } = vocabulary;
    library.mg_grammar_create(vocabulary.handleOf(library), program, program.length, slot);
    this.library = library;
    this.#vocab_size = vocabulary.size;
    this.#handle = takeAddress(slot);
    freeGrammar.register(this, { library, handle: this.#handle }, this);
  }

  /** For createSampler; valid until `close`. */
  handleOf(library: InferLibrary): Address {
    requireLibrary(library, this.library, "a grammar");
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
    const { library } = this;
    const handle = this.handleOf(library);
    library.mg_grammar_inspect(handle, bytes, text.length, draws_left, complete, cost, mask);
    return { complete: complete[0] === 1, cost: cost[0]!, mask };
  }

  close(): void {
    if (this.#handle === NULL) return;
    freeGrammar.unregister(this);
    this.library.mg_grammar_free(this.#handle);
    this.#handle = NULL;
  }
}
