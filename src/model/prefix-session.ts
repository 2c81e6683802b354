/**
 * A session that remembers its tokens: a new prompt that begins like the last one (a chat that goes
 * on) only pays for what is new. Logits are the same bits as from a fresh session.
 */
import type { InferenceModel, InferenceSession, SessionOptions } from "./inference.ts";

export class PrefixSession {
  readonly #session: InferenceSession;
  #tokens: number[] = [];

  constructor(model: InferenceModel, options: SessionOptions = {}) {
    this.#session = model.createSession(options);
  }

  get context(): number {
    return this.#session.context;
  }

  /**
   * Makes `tokens` (at least one) the session's content and returns the logits after the last.
   * After an error or an abort the session holds a prefix of them.
   */
  async prepare(tokens: Int32Array, signal?: AbortSignal): Promise<Float32Array> {
    let common = 0;
    while (common < tokens.length - 1 && this.#tokens[common] === tokens[common]) common++;
    this.#session.truncate(Math.min(common, this.#session.length));
    return this.#append(tokens.subarray(this.#session.length), [...tokens], signal);
  }

  /** Appends one token and returns the logits after it. */
  next(token: number, signal?: AbortSignal): Promise<Float32Array> {
    return this.#append(Int32Array.of(token), [...this.#tokens, token], signal);
  }

  async #append(tokens: Int32Array, all: number[], signal?: AbortSignal): Promise<Float32Array> {
    try {
      return await this.#session.append(tokens, 1, signal);
    } finally {
      this.#tokens = all.slice(0, this.#session.length);
    }
  }

  close(): void {
    this.#session.close();
  }
}
