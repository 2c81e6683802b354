/**
 * Constraints ready for one model's vocabulary. Grammars keep the token masks that they have worked out,
 * so requests with one schema share one: the least recently used ones are forgotten.
 */

import { MagnetError, toMagnetError } from "../../core/errors.ts";
import { NativeGrammar, NativeVocabulary } from "../../native/constraint.ts";
import { cpuInfer, type InferLibrary } from "../../native/infer.ts";
import type { Constraint } from "../engine/types.ts";
import { refuse } from "./errors.ts";

/** Up to about 30 MiB each when their masks are many. */
const GRAMMARS_MAX = 16;
const NO_BYTES = new Uint8Array(0);

/** The part of a Tokenizer that says what its tokens write. */
export interface TokenSource {
  tokens(): readonly Uint8Array[];
  isSpecial(id: number): boolean;
}

export class Constraints {
  readonly #source: TokenSource;
  readonly #end_tokens: ReadonlySet<number>;
  readonly #library: InferLibrary;
  readonly #grammars = new Map<string, NativeGrammar>();
  #vocabulary: NativeVocabulary | undefined;

  /** library: of the model. */
  constructor(
    source: TokenSource,
    end_tokens: ReadonlySet<number>,
    library: InferLibrary = cpuInfer,
  ) {
    this.#source = source;
    this.#end_tokens = end_tokens;
    this.#library = library;
  }

  /** The vocabulary is sorted when the first constraint is asked for: 50 ms for 128,256 tokens. */
  #ready(vocab_size: number): NativeVocabulary {
    if (this.#vocabulary?.size === vocab_size) return this.#vocabulary;
    this.close();
    if (this.#end_tokens.size === 0)
      throw new MagnetError("UNSUPPORTED", "the tokenizer has no token that ends a text", {
        hint: "constrained answers need one: <|end_of_text|> or the like",
        exit: "usage",
      });
    const known = this.#source.tokens();
    const tokens = Array.from({ length: vocab_size }, (_, id) =>
      id >= known.length || this.#source.isSpecial(id) ? NO_BYTES : known[id]!,
    );
    this.#vocabulary = new NativeVocabulary(tokens, this.#end_tokens, this.#library);
    return this.#vocabulary;
  }

  /**
   * A constraint's grammar, for samplers that are made at once; undefined where there is none.
   * vocab_size: of the model; ids beyond the tokenizer's are never allowed. Throws UNSUPPORTED_SCHEMA
   * where the vocabulary can write no text that meets it.
   */
  grammar(constraint: Constraint | undefined, vocab_size: number): NativeGrammar | undefined {
    if (constraint === undefined) return undefined;
    const vocabulary = this.#ready(vocab_size);
    const key = Bun.SHA256.hash(constraint.program, "hex");
    const known = this.#grammars.get(key);
    const grammar = known ?? this.#made(vocabulary, constraint);
    this.#grammars.delete(key);
    this.#grammars.set(key, grammar); // the last one is the most recent
    if (this.#grammars.size > GRAMMARS_MAX) {
      const [oldest, forgotten] = this.#grammars.entries().next().value!;
      this.#grammars.delete(oldest);
      forgotten.close();
    }
    return grammar;
  }

  #made(vocabulary: NativeVocabulary, { program }: Constraint): NativeGrammar {
    try {
      return new NativeGrammar(vocabulary, program);
    } catch (error) {
      const failure = toMagnetError(error);
      throw failure.code === "UNSUPPORTED" ? refuse("", failure.message) : failure;
    }
  }

  close(): void {
    for (const grammar of this.#grammars.values()) grammar.close();
    this.#grammars.clear();
    this.#vocabulary?.close();
    this.#vocabulary = undefined;
  }
}
