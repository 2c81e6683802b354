/**
 * One request as the scheduler sees it: its tokens, how many of them stand in the KV pool, and the
 * blocks that hold them. The scheduler alone changes its state.
 */
import { invariant } from "../../core/errors.ts";

/**
 * `waiting`: for blocks or a place (anew or preempted); `running`: has all blocks for its tokens;
 * `paused`: its reader is far behind, so it holds no blocks until `resume`; `ended`: holds nothing.
 */
export type SequenceState = "waiting" | "running" | "paused" | "ended";

export class Sequence {
  state: SequenceState = "waiting";
  /** Prompt and what has been drawn; `length` of them count. */
  #tokens: Int32Array;
  length: number;
  /** Tokens whose keys and values are in the pool. */
  computed = 0;
  /** In order of position. */
  blocks: number[] = [];
  /** The first so many blocks are known to the prefix cache. */
  shared = 0;
  /** Prompt tokens that the cache had when it was first admitted; undefined before. */
  cached_tokens: number | undefined;
  /** Rows of the step that is being computed; 0 outside of one. */
  rows_in_step = 0;
  /** Cancelled while a step computes it: it ends with the step. */
  doomed = false;

  /**
   * number: arrival, first come first served; wants: `tokens` draws one after the last, `hidden`
   * reads the last hidden state of every token (which the prefix cache does not have); scope: of
   * the prefix cache (block-store.ts).
   */
  constructor(
    readonly number: number,
    prompt: Int32Array,
    readonly wants: "tokens" | "hidden",
    readonly scope = "",
  ) {
    invariant(prompt.length > 0, "a sequence without tokens");
    this.#tokens = prompt.slice();
    this.length = prompt.length;
    this.prompt_length = prompt.length;
  }
  readonly prompt_length: number;

  /** At least `length` long; what is beyond is meaningless. */
  get tokens(): Int32Array {
    return this.#tokens;
  }

  append(token: number): void {
    if (this.length === this.#tokens.length) {
      const grown = new Int32Array(2 * this.length + 16);
      grown.set(this.#tokens);
      this.#tokens = grown;
    }
    this.#tokens[this.length++] = token;
  }

  /** Only the token that was drawn last is missing from the pool. */
  get decoding(): boolean {
    return this.wants === "tokens" && this.computed === this.length - 1 && this.computed > 0;
  }
}
