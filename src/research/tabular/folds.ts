/**
 * The folds of the search part: repeated stratified ones, or whole contexts held out together where
 * the task is about contexts never seen; and leave-one-context-out beside them. They follow from the
 * seed alone. Small parts are repeated more: there the folds' luck outweighs most improvements.
 */
import { contextFolds, groupedFolds, stratifiedFolds } from "../evaluation/split.ts";
import type { Fold } from "../table/types.ts";
import { LOCO_FITS_MAX } from "./limits.ts";
import { allRows, type Part } from "./part.ts";

export const FOLDS = 5;

/** A fold with its place and the name of its training rows. */
export interface PlacedFold extends Fold {
  readonly repeat: number;
  readonly key: string;
}

/** Repeats at full fidelity by the rows of the part. */
export function repeatsFor(rows: number): number {
  if (rows <= 500) return 4;
  if (rows <= 1500) return 3;
  return rows <= 4000 ? 2 : 1;
}

const labelledOf = (part: Part) => ({
  label: part.label,
  classes: Array.from({ length: part.classes }, (_, c) => String(c)),
  group: part.group,
  context: part.context,
  contexts: Array.from({ length: part.contexts }, (_, g) => String(g)),
});

/** All folds, repeat by repeat; a lower fidelity takes the first of them, two at least. */
export function foldsOf(part: Part, byContext: boolean, seed: number, fidelity: number) {
  const rows = allRows(part.rows);
  const repeats = repeatsFor(part.rows);
  const data = labelledOf(part);
  const folds: PlacedFold[] = [];
  for (let repeat = 0; repeat < repeats; repeat++) {
    const own = byContext
      ? groupedFolds(data, rows, FOLDS, seed + repeat * 7919)
      : stratifiedFolds(data, rows, { folds: FOLDS, repeats: 1 }, seed + repeat * 7919);
    own.forEach((fold, f) => {
      folds.push({ ...fold, repeat, key: `s${seed}${byContext ? "c" : "r"}${repeat}f${f}` });
    });
  }
  return folds.slice(0, Math.max(2, Math.ceil(fidelity * folds.length)));
}

/** Each context left out once; many contexts are left out some at a time. Empty without contexts. */
export function locoFolds(part: Part, seed: number): PlacedFold[] {
  const data = labelledOf(part);
  const rows = allRows(part.rows);
  const single = part.contexts <= LOCO_FITS_MAX;
  const folds = single ? contextFolds(data, rows) : groupedFolds(data, rows, LOCO_FITS_MAX, seed);
  return folds.map((fold, g) => ({ ...fold, repeat: 0, key: `loco${single ? "" : seed}g${g}` }));
}
