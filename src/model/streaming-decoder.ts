/**
 * Text of a growing list of ids: gives out whole characters only and holds back the bytes of one
 * that is not complete yet. All pieces together equal Tokenizer.decode of all ids.
 */
import type { DecodeOptions, Tokenizer } from "./tokenizer.ts";

export class StreamingDecoder {
  readonly #tokenizer: Tokenizer;
  readonly #options: DecodeOptions;
  #decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  constructor(tokenizer: Tokenizer, options: DecodeOptions = {}) {
    this.#tokenizer = tokenizer;
    this.#options = options;
  }

  /** Text that the ids complete; may be empty. Throws NATIVE_INVALID on an unknown id. */
  push(...ids: number[]): string {
    const bytes = this.#tokenizer.decodeBytes(ids, this.#options);
    return this.#decoder.decode(bytes, { stream: true });
  }

  /** What was held back, as U+FFFD; afterwards the decoder starts anew. */
  end(): string {
    return this.#decoder.decode();
  }
}
