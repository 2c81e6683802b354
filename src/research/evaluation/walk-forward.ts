/**
 * Folds for rows in the order of time: every validation block comes after what its model was fitted
 * to. A label looks `purge` rows ahead, so the last rows before the block are left out (they would
 * know its prices), and `embargo` more against what lingers. Source: purging and embargo after
 * Lopez de Prado, Advances in Financial Machine Learning (2018), chapter 7.
 */
import { invariant } from "../../core/errors.ts";
import type { Fold, Parts } from "../table/types.ts";
import { Draw, seedFor } from "./draw.ts";

export interface WalkForwardOptions {
  readonly folds: number;
  /** Rows that a label looks ahead. */
  readonly purge: number;
  readonly embargo: number;
  /** Most recent rows to fit on; undefined: all that came before. */
  readonly window?: number | undefined;
  /** Share of the rows that comes before the first validation block. */
  readonly first_share?: number;
  /**
   * Moves the edges between the blocks, and so what each is fitted on; the rows that are validated
   * stay the same. Without it blocks are equally long.
   */
  readonly seed?: number | undefined;
}

/** How far an edge between blocks moves with the seed, as a share of a block. */
export const EDGE_JITTER = 0.3;

/** `rows` must be in the order of time. The last block ends at the end. */
export function walkForwardFolds(rows: Uint32Array, options: WalkForwardOptions): Fold[] {
  const { folds, purge, embargo, window, first_share = 0.4, seed } = options;
  invariant(folds >= 1 && purge >= 0 && embargo >= 0, "walk-forward folds need counts");
  const start = Math.floor(rows.length * first_share);
  const random = seed === undefined ? null : new Draw(seedFor(seed, "walk"));
  const edges = Array.from({ length: folds + 1 }, (_, k) => {
    const inner = k > 0 && k < folds;
    const moved = inner && random ? EDGE_JITTER * (2 * random.unit() - 1) : 0;
    return start + Math.floor(((rows.length - start) * (k + moved)) / folds);
  });
  const out: Fold[] = [];
  for (let f = 0; f < folds; f++) {
    const [from, to] = [edges[f]!, edges[f + 1]!];
    const end = from - purge - embargo;
    const begin = window === undefined ? 0 : Math.max(0, end - window);
    if (end - begin < 1 || to <= from) continue;
    out.push({ train: rows.slice(begin, end), validation: rows.slice(from, to) });
  }
  return out;
}

/**
 * Search, gate and sealed part in the order of time, with `purge` + `embargo` rows left out before
 * the gate and before the sealed part.
 */
export function timeParts(
  rows: number,
  shares: { readonly gate: number; readonly sealed: number },
  gap: { readonly purge: number; readonly embargo: number },
): Parts {
  const all = Uint32Array.from({ length: rows }, (_, i) => i);
  const sealedFrom = Math.floor(rows * (1 - shares.sealed));
  const gateFrom = Math.floor(rows * (1 - shares.sealed - shares.gate));
  const skip = gap.purge + gap.embargo;
  return {
    search: all.slice(0, Math.max(0, gateFrom - skip)),
    gate: all.slice(gateFrom, Math.max(gateFrom, sealedFrom - skip)),
    sealed: all.slice(sealedFrom),
  };
}
