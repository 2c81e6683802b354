/**
 * Tokens between the engine and the reader of one request. The engine never waits for a reader:
 * what is not read yet is kept here, and a reader that is far behind is reported (`behind`), so that
 * the engine computes no more for it until it has caught up.
 */
import type { EngineResult, EngineToken } from "./types.ts";

/** Unread tokens at which the engine stops computing for a reader, and at which it goes on. */
const UNREAD_MAX = 256;
const UNREAD_LOW = 64;

type Ending = { result: EngineResult } | { error: unknown };

export class TokenQueue {
  readonly #unread: EngineToken[] = [];
  #ending: Ending | undefined;
  #wake: (() => void) | undefined;

  /** caughtUp: called when a reader that was behind is not any more. */
  constructor(private readonly caughtUp: () => void) {}

  get behind(): boolean {
    return this.#unread.length >= UNREAD_MAX;
  }

  push(token: EngineToken): void {
    this.#unread.push(token);
    this.#notify();
  }

  /** After all tokens; the first ending counts. */
  end(ending: Ending): void {
    this.#ending ??= ending;
    this.#notify();
  }

  #notify(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  /**
   * The next token, or the result after the last. An error comes at once: nobody who has cancelled
   * a request wants the rest of it.
   */
  async next(): Promise<{ token: EngineToken } | { result: EngineResult }> {
    for (;;) {
      if (this.#ending && "error" in this.#ending) throw this.#ending.error;
      const token = this.#unread.shift();
      if (token) {
        if (this.#unread.length === UNREAD_LOW) this.caughtUp();
        return { token };
      }
      if (this.#ending) return this.#ending;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
