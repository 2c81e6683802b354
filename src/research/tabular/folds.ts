/**
 * The folds of the search part: repeated stratified ones, whole contexts held out together where
 * the task is about contexts never seen, or blocks that walk forward where it is about later times;
 * and leave-one-context-out beside them. They follow from the seed alone. Small parts are repeated
 * more: there the folds' luck outweighs most improvements.
 */
import { forwardFolds, timeOrder } from "../evaluation/by-time.ts";
import { contextFolds, groupedFolds, stratifiedFolds } from "../evaluation/split.ts";
import type { Fold } from "../table/types.ts";
import { LOCO_FITS_MAX } from "./limits.ts";
import { allRows, type Part } from "./part.ts";

export const FOLDS = 5;

/** A fold with its place and the name of its training rows. */
export interface PlacedFold extends Fold {
  readonly repeat: number;
  readonly key: string;
  /** The model's score on its own training rows is asked for. */
  readonly train_scored?: boolean;
  /**
   * Folds in the order of time: rules come from earlier blocks only, and the first block, which
   * has none before it, is no part of the score.
   */
  readonly forward?: "warm_up" | "block";
  /** Newest rows of earlier blocks whose labels look into this one: no rule is fitted on them. */
  readonly purge?: number;
}

/** What the folds hold out. */
export type FoldKind = "rows" | "contexts" | "times";

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
export function foldsOf(part: Part, kind: FoldKind, seed: number, fidelity: number): PlacedFold[] {
  const folds: PlacedFold[] = [];
  for (let repeat = 0; repeat < repeatsFor(part.rows); repeat++)
    folds.push(
      ...(kind === "times" ? laterFolds(part, seed, repeat) : drawnFolds(part, kind, seed, repeat)),
    );
  return folds.slice(0, Math.max(2, Math.ceil(fidelity * folds.length)));
}

const seedOf = (seed: number, repeat: number) => seed + repeat * 7919;

function drawnFolds(part: Part, kind: "rows" | "contexts", seed: number, repeat: number) {
  const rows = allRows(part.rows);
  const data = labelledOf(part);
  const folds =
    kind === "contexts"
      ? groupedFolds(data, rows, FOLDS, seedOf(seed, repeat))
      : stratifiedFolds(data, rows, { folds: FOLDS, repeats: 1 }, seedOf(seed, repeat));
  return folds.map((fold, f) => ({
    ...fold,
    repeat,
    key: `s${seed}${kind === "contexts" ? "c" : "r"}${repeat}f${f}`,
    train_scored: repeat === 0 && f === 0,
  }));
}

function laterFolds(part: Part, seed: number, repeat: number): PlacedFold[] {
  const folds = forwardFolds(labelledOf(part), part.time!, FOLDS, seedOf(seed, repeat));
  return folds.map(({ warm_up, ...fold }, f) => ({
    ...fold,
    repeat,
    // The first block is the same in all repeats: its fit is kept for all of them.
    key: warm_up ? `s${seed}t` : `s${seed}t${repeat}f${f}`,
    forward: warm_up ? "warm_up" : "block",
    train_scored: repeat === 0 && f === folds.length - 1,
  }));
}

/** Each context left out once; many contexts are left out some at a time. Empty without contexts. */
export function locoFolds(part: Part, seed: number, later = false): PlacedFold[] {
  const data = labelledOf(part);
  const rows = allRows(part.rows);
  const single = part.contexts <= LOCO_FITS_MAX;
  const folds = single ? contextFolds(data, rows) : groupedFolds(data, rows, LOCO_FITS_MAX, seed);
  const placed = folds.map((fold, g) => ({
    ...fold,
    repeat: 0,
    key: `loco${later ? "t" : ""}${single ? "" : seed}g${g}`,
  }));
  return later ? laterContexts(part, placed) : placed;
}

/** Share of the rows, the oldest ones, that contexts to come are judged by. */
const LOCO_PAST = 0.65;
/** Rows of a context below which its score says nothing. */
const LOCO_ROWS_MIN = 5;

/** New contexts of a later time: fitted on the older rows of others, judged on the newer rows. */
function laterContexts(part: Part, folds: readonly PlacedFold[]): PlacedFold[] {
  const time = part.time!;
  const order = timeOrder(time);
  const now = time[order[Math.floor(LOCO_PAST * part.rows)]!]!;
  return folds.flatMap((fold) => {
    const train = fold.train.filter((row) => time[row]! < now);
    const validation = fold.validation.filter((row) => time[row]! >= now);
    const classes = new Set(Array.from(train, (row) => part.label[row]));
    const enough = validation.length >= LOCO_ROWS_MIN && classes.size === part.classes;
    return enough ? [{ ...fold, train, validation }] : [];
  });
}
