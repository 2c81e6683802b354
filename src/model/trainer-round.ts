/**
 * What a round of training together does with a trainer's own arrays, wherever they are: its
 * pseudo-gradient, the weighted sum of all of them, the outer step (paper 10). The same bits as
 * src/native/codec.ts gives. A round: the state into `base` and `outer_momentum`, pushed; copy base
 * to params; steps; `compress`. A merge: `add` for each contribution in order, then `step`, and
 * `base` and `outer_momentum` are the next state.
 */
import { MagnetError } from "../core/errors.ts";
import { compressedBytes, type DeltaKind, kindNumber, type OuterStep } from "../native/codec.ts";
import type { Address } from "../native/ffi.ts";
import type { RoundBindings } from "../native/rounds.ts";

/** Arrays of one number for each parameter, by their number in the library; rounds have the last four. */
export const ARENAS = [
  "params",
  "m",
  "v",
  "grad",
  "base",
  "outer_momentum",
  "residual",
  "sum",
] as const;
export type Arena = (typeof ARENAS)[number];
export type RoundArena = Exclude<Arena, "params" | "m" | "v" | "grad">;
const numberOf = (arena: Arena) => ARENAS.indexOf(arena);

/** Of the trainer: one call at a time, refused after close. */
export interface RoundHost {
  param_count: number;
  exclusive<T>(call: (handle: Address) => Promise<T>): Promise<T>;
  bindings(): RoundBindings;
}

export class TrainerRound {
  readonly #host: RoundHost;
  constructor(host: RoundHost) {
    this.#host = host;
  }

  #call(run: (native: RoundBindings, handle: Address) => Promise<void>): Promise<void> {
    return this.#host.exclusive((handle) => run(this.#host.bindings(), handle));
  }

  /** to = from, where the arrays are. */
  copy(from: Arena, to: Arena): Promise<void> {
    return this.#call((native, handle) =>
      native.mg_trainer_copy(undefined, handle, numberOf(from), numberOf(to)),
    );
  }

  /** Frees an array of rounds: its next use finds zeros. Views of it end. */
  release(arena: RoundArena): Promise<void> {
    return this.#call((native, handle) =>
      native.mg_trainer_release(undefined, handle, numberOf(arena)),
    );
  }

  /**
   * base - params, compressed; with `feedback` what earlier rounds lost (`residual`) is added before, and
   * what this one loses is kept there. NOT_A_NUMBER, CANCELLED: nothing has changed.
   */
  async compress(
    kind: DeltaKind,
    { feedback, signal }: { feedback: boolean; signal?: AbortSignal },
  ): Promise<Uint8Array> {
    const out = new Uint8Array(compressedBytes(kind, this.#host.param_count));
    const mode = feedback ? 1 : 0;
    const number = kindNumber(kind);
    await this.#call((native, handle) =>
      native.mg_trainer_delta_compress(signal, handle, number, mode, out, out.length),
    );
    return out;
  }

  /** Whether these are bytes that `compress` of some trainer of this model can have written. */
  async isPseudoGradient(bytes: Uint8Array, signal?: AbortSignal): Promise<boolean> {
    try {
      await this.#call((native, handle) =>
        native.mg_trainer_delta_check(signal, handle, bytes, bytes.length),
      );
      return true;
    } catch (error) {
      if (error instanceof MagnetError && error.code === "BAD_FORMAT") return false;
      throw error;
    }
  }

  /**
   * sum += weight * the pseudo-gradient in the bytes, fused. A new sum begins with release("sum").
   * BAD_FORMAT, NOT_A_NUMBER, CANCELLED: the sum is as it was.
   */
  add(bytes: Uint8Array, weight: number, signal?: AbortSignal): Promise<void> {
    return this.#call((native, handle) =>
      native.mg_trainer_outer_add(signal, handle, bytes, bytes.length, weight),
    );
  }

  /**
   * The outer step on base and outer_momentum; the sum is released. NOT_A_NUMBER, CANCELLED: all are
   * as they were.
   */
  step({ lr, mu }: OuterStep, signal?: AbortSignal): Promise<void> {
    return this.#call((native, handle) => native.mg_trainer_outer_step(signal, handle, lr, mu));
  }
}
