/**
 * Parts and folds. The three-way split comes before anything else: search, gate, sealed. Both are
 * stratified by class and keep the rows of a group together; contexts can be held out whole, and
 * rows with a time can be split by it (by-time.ts). All depend on the task's seed alone, never on
 * a trial.
 */
import { MagnetError } from "../../core/errors.ts";
import type { Fold, Parts, TaskData } from "../table/types.ts";
import { partsByTime } from "./by-time.ts";
import { Draw, seedFor } from "./draw.ts";

type Labelled = Pick<TaskData, "label" | "classes" | "group" | "context" | "contexts">;

export interface SplitShares {
  readonly gate: number;
  readonly sealed: number;
  readonly by_context: boolean;
  /** The newest rows are sealed, the gate is before them; needs a time. */
  readonly by_time?: boolean | undefined;
}

/** Throws SPLIT_IMPOSSIBLE where a class would be missing in a part. */
export function splitParts(
  data: Labelled & Partial<Pick<TaskData, "time">>,
  shares: SplitShares,
  seed: number,
): Parts {
  const parts =
    shares.by_time && data.time
      ? partsByTime(data, data.time, shares)
      : randomParts(data, shares, seed);
  for (const [name, chosen] of Object.entries(parts))
    for (let c = 0; c < data.classes.length; c++)
      if (!chosen.some((row: number) => data.label[row] === c))
        throw new MagnetError(
          "SPLIT_IMPOSSIBLE",
          `the ${name} part would have no row of class "${data.classes[c]}"`,
          { hint: splitHint(shares), exit: "config" },
        );
  return parts;
}

function splitHint({ by_context, by_time }: SplitShares): string {
  if (by_context) return "too few contexts have this class: leave split.by_context out";
  return by_time
    ? "the class is missing for a while: set split.by_time to false to split at random"
    : "give more rows of that class, or larger split.gate and split.sealed";
}

function randomParts(data: Labelled, shares: SplitShares, seed: number): Parts {
  const random = new Draw(seedFor(seed, "parts"));
  const rows = Uint32Array.from(data.label.keys());
  const wanted = [1 - shares.gate - shares.sealed, shares.gate, shares.sealed];
  const units = shares.by_context ? data.context : data.group;
  const part = assign(rows, data.label, data.classes.length, units, wanted, random);
  const of = (p: number) => rows.filter((_, i) => part[i] === p);
  return { search: of(0), gate: of(1), sealed: of(2) };
}

export interface FoldOptions {
  readonly folds: number;
  readonly repeats: number;
}

/** Repeated stratified k-fold of some rows; repeats follow each other in the list. */
export function stratifiedFolds(
  data: Labelled,
  rows: Uint32Array,
  options: FoldOptions,
  seed: number,
): Fold[] {
  const shares = new Array<number>(options.folds).fill(1 / options.folds);
  const folds: Fold[] = [];
  for (let repeat = 0; repeat < options.repeats; repeat++) {
    const random = new Draw(seedFor(seed, "folds", repeat));
    const fold = assign(rows, data.label, data.classes.length, data.group, shares, random);
    for (let f = 0; f < options.folds; f++)
      folds.push({
        train: rows.filter((_, i) => fold[i] !== f),
        validation: rows.filter((_, i) => fold[i] === f),
      });
  }
  return folds;
}

/**
 * Leave one context out: each context with at least `rows_min` rows is validated by a model that
 * never saw it. Empty without contexts.
 */
export function contextFolds(data: Labelled, rows: Uint32Array, rows_min = 5): Fold[] {
  const { context } = data;
  if (context === null) return [];
  return data.contexts.flatMap((_, c) => {
    const validation = rows.filter((row) => context[row] === c);
    if (validation.length < rows_min || validation.length === rows.length) return [];
    return [{ train: rows.filter((row) => context[row] !== c), validation }];
  });
}

/** k-fold in which whole contexts are held out together: LOCO at the price of k fits. */
export function groupedFolds(
  data: Labelled,
  rows: Uint32Array,
  folds: number,
  seed: number,
): Fold[] {
  if (data.context === null) return [];
  const shares = new Array<number>(folds).fill(1 / folds);
  const random = new Draw(seedFor(seed, "grouped"));
  const fold = assign(rows, data.label, data.classes.length, data.context, shares, random);
  return shares
    .map((_, f) => ({
      train: rows.filter((_, i) => fold[i] !== f),
      validation: rows.filter((_, i) => fold[i] === f),
    }))
    .filter(({ train, validation }) => train.length > 0 && validation.length > 0);
}

/**
 * Part of each row: units (groups, or single rows) in random order, large ones first, go to the
 * part that lacks most of their class; ties go to the part that lacks most rows.
 */
function assign(
  rows: Uint32Array,
  label: Int32Array,
  classes: number,
  units: Int32Array | null,
  shares: readonly number[],
  random: Draw,
): Uint8Array {
  const { first, next } = unitLists(rows, units);
  const size = new Int32Array(first.length);
  first.forEach((start, u) => {
    for (let i = start; i >= 0; i = next[i]!) size[u]!++;
  });
  const order = random.shuffle([...first.keys()]);
  order.sort((a, b) => size[b]! - size[a]!);
  const counts = new Int32Array(classes);
  for (const row of rows) counts[label[row]!]!++;
  const lacking = shares.map((share) => Float64Array.from(counts, (n) => n * share));
  const lackingRows = Float64Array.from(shares, (share) => rows.length * share);
  const part = new Uint8Array(rows.length);
  for (const u of order) {
    const mine = new Map<number, number>();
    for (let i = first[u]!; i >= 0; i = next[i]!) {
      const c = label[rows[i]!]!;
      mine.set(c, (mine.get(c) ?? 0) + 1);
    }
    let best = 0;
    let bestLack = Number.NEGATIVE_INFINITY;
    for (let p = 0; p < shares.length; p++) {
      let lack = 0;
      for (const [c, n] of mine) lack += (n * lacking[p]![c]!) / counts[c]!;
      // The second term only breaks ties: it stays below one row of any class.
      lack += (1e-3 * lackingRows[p]!) / (rows.length * rows.length);
      if (lack > bestLack) [best, bestLack] = [p, lack];
    }
    for (const [c, n] of mine) lacking[best]![c]! -= n;
    lackingRows[best]! -= size[u]!;
    for (let i = first[u]!; i >= 0; i = next[i]!) part[i] = best;
  }
  return part;
}

/** Rows of a unit as a linked list of positions: `first` by unit, `next` by position, -1 = end. */
function unitLists(
  rows: Uint32Array,
  units: Int32Array | null,
): { first: number[]; next: Int32Array } {
  const next = new Int32Array(rows.length).fill(-1);
  if (units === null) return { first: [...rows.keys()], next };
  const first: number[] = [];
  const last = new Map<number, number>();
  rows.forEach((row, i) => {
    const before = last.get(units[row]!);
    if (before === undefined) first.push(i);
    else next[before] = i;
    last.set(units[row]!, i);
  });
  return { first, next };
}
