/**
 * Successive halving over fidelities, in the asynchronous form (Li et al. 2020) but fed in fixed
 * batches, so that promotions depend on outcomes alone: a rung's best third goes on to the next
 * rung as soon as it is a third; otherwise a new configuration starts at the lowest.
 */
import { invariant } from "../../core/errors.ts";
import { SEARCH_LIMITS } from "./limits.ts";

interface Entry<T> {
  readonly item: T;
  readonly score: number;
  promoted: boolean;
}

export class Halving<T> {
  readonly #fidelities: readonly number[];
  readonly #rungs: Entry<T>[][];

  /** `fidelities` ascend and end with 1. */
  constructor(fidelities: readonly number[]) {
    const ascending = fidelities.every((f, i) => f > (fidelities[i - 1] ?? 0));
    invariant(ascending && fidelities.at(-1) === 1, "fidelities ascend and end with 1");
    this.#fidelities = fidelities;
    this.#rungs = fidelities.map(() => []);
  }

  /** The fidelity that new configurations start at. */
  get lowest(): number {
    return this.#fidelities[0]!;
  }

  /** The next configuration worth more effort, highest rung first; null where there is none. */
  promote(): { item: T; fidelity: number } | null {
    for (let r = this.#rungs.length - 2; r >= 0; r--) {
      const rung = this.#rungs[r]!;
      const places = Math.floor(rung.length / SEARCH_LIMITS.halving_factor);
      const entry = ranked(rung)
        .slice(0, places)
        .find((e) => !e.promoted);
      if (entry) return this.#lift(entry, r + 1);
    }
    return null;
  }

  /**
   * When a sweep ends before anything reached the top: the best of the highest rung that has
   * something, straight to full fidelity; null where the top was reached or nothing ran.
   */
  finish(): { item: T; fidelity: number } | null {
    const top = this.#rungs.length - 1;
    for (let r = top; r >= 0; r--) {
      if (r === top && this.#rungs[r]!.length > 0) return null;
      const entry = ranked(this.#rungs[r]!).find((e) => !e.promoted);
      if (entry) return this.#lift(entry, top);
    }
    return null;
  }

  #lift(entry: Entry<T>, rung: number): { item: T; fidelity: number } {
    entry.promoted = true;
    return { item: entry.item, fidelity: this.#fidelities[rung]! };
  }

  tell(item: T, fidelity: number, score: number): void {
    const rung = this.#fidelities.indexOf(fidelity);
    invariant(rung >= 0, `fidelity ${fidelity} is no rung`);
    this.#rungs[rung]!.push({ item, score, promoted: false });
  }
}

/** Best first, older first among equals. */
const ranked = <T>(rung: readonly Entry<T>[]): Entry<T>[] =>
  rung
    .map((entry, i) => ({ entry, i }))
    .sort((a, b) => b.entry.score - a.entry.score || a.i - b.i)
    .map((e) => e.entry);
