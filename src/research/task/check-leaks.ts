/**
 * Features that give the label away. A feature that is the label under another name (each of its
 * values stands for one class and the other way round) is refused: LABEL_LEAK. One that alone
 * predicts unseen rows (nearly) perfectly is said and kept, since an easy task looks the same; both
 * can be settled with "drop" or "keep" in the task file.
 */
import type { Column, Note, NumberColumn, Table } from "../table/types.ts";
import { type Task, taskError } from "./load.ts";

/** Balanced accuracy of one feature alone, on rows it was not fitted to, from which it is said. */
const LEAK_SCORE = 0.995;
/** Fewer rows of the smallest class are separated by chance where features are many. */
const CLASS_ROWS_MIN = 10;
/** Values, or changes of class along a number, up to which a column is looked at. */
const BINS = 64;

export function checkLeaks(
  task: Task,
  features: Table,
  label: Int32Array,
  classes: readonly string[],
  notes: Note[],
): void {
  const counts = new Int32Array(classes.length);
  for (const c of label) counts[c]!++;
  if (Math.min(...counts) < CLASS_ROWS_MIN) return;
  const odd = alternating(label, classes.length);
  const suspects: string[] = [];
  for (const column of features.columns) {
    if (task.keep.includes(column.name)) continue;
    const exact = exactBins(column);
    if (exact !== null && isRenaming(exact, label, classes.length))
      throw taskError(
        `column "${column.name}" is the label under another name: each value stands for one class`,
        `put it into "drop"; if it is known when predicting, put it into "keep"`,
        "LABEL_LEAK",
      );
    const bins = exact ?? (column.kind === "number" ? runBins(column, label, odd) : null);
    if (bins === null) continue;
    const score = heldOutScore(bins, label, classes.length, odd);
    if (score >= LEAK_SCORE)
      suspects.push(`"${column.name}" (balanced accuracy ${score.toFixed(3)})`);
  }
  if (suspects.length === 0) return;
  notes.push({
    code: "LABEL_LEAK",
    text: `one column alone predicts the label: ${suspects.slice(0, 5).join(", ")}${suspects.length > 5 ? ` and ${suspects.length - 5} more` : ""}`,
    hint: `if it is only known after the label is, put it into "drop"; else put it into "keep"`,
  });
}

interface Bins {
  /** Bin by row; missing has a bin of its own, the last. */
  readonly codes: Int32Array;
  readonly count: number;
}

/** A bin for each value; null where there are too many. */
function exactBins(column: Column): Bins | null {
  if (column.kind === "category") {
    const count = column.levels.length;
    return { codes: column.codes.map((code) => (code < 0 ? count : code)), count: count + 1 };
  }
  const distinct = new Set<number>();
  for (const value of column.values) {
    if (!Number.isNaN(value)) distinct.add(value);
    if (distinct.size > BINS) return null;
  }
  return inBins(
    column.values,
    [...distinct].sort((a, b) => a - b),
  );
}

/**
 * Numbers with many values: the even rows in order of their value, cut midway wherever the class
 * changes. Null where it changes so often that nothing is given away.
 */
function runBins(column: NumberColumn, label: Int32Array, odd: Uint8Array): Bins | null {
  const { values } = column;
  const even = [...values.keys()].filter((row) => odd[row] === 0 && !Number.isNaN(values[row]));
  even.sort((a, b) => values[a]! - values[b]!);
  const edges = [Number.NEGATIVE_INFINITY];
  for (let i = 1; i < even.length; i++) {
    const [before, here] = [even[i - 1]!, even[i]!];
    if (label[before] === label[here]) continue;
    edges.push((values[before]! + values[here]!) / 2);
    if (edges.length > BINS) return null;
  }
  return inBins(values, edges);
}

function inBins(values: Float64Array, edges: readonly number[]): Bins {
  const codes = Int32Array.from(values, (value) =>
    Number.isNaN(value) ? edges.length : binOf(edges, value),
  );
  return { codes, count: edges.length + 1 };
}

/** The last edge that is not above the value. */
function binOf(edges: readonly number[], value: number): number {
  let low = 0;
  let high = edges.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (edges[middle]! <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** One value for each class and one class for each value, without exception. */
function isRenaming(bins: Bins, label: Int32Array, classes: number): boolean {
  const classOf = new Int32Array(bins.count).fill(-1);
  const binFor = new Int32Array(classes).fill(-1);
  for (let row = 0; row < label.length; row++) {
    const c = label[row]!;
    const bin = bins.codes[row]!;
    if (classOf[bin] === -1 && binFor[c] === -1) {
      classOf[bin] = c;
      binFor[c] = bin;
    } else if (classOf[bin] !== c) return false;
  }
  return true;
}

/** Balanced accuracy on odd rows of the class that is most over-represented in the bin on even. */
function heldOutScore(bins: Bins, label: Int32Array, classes: number, odd: Uint8Array): number {
  const seen = new Float64Array(bins.count * classes);
  const fitted = new Float64Array(classes);
  for (let row = 0; row < label.length; row++) {
    if (odd[row] === 1) continue;
    seen[bins.codes[row]! * classes + label[row]!]!++;
    fitted[label[row]!]!++;
  }
  const guess = Int32Array.from({ length: bins.count }, (_, bin) => {
    let best = 0;
    for (let c = 1; c < classes; c++)
      if (seen[bin * classes + c]! / fitted[c]! > seen[bin * classes + best]! / fitted[best]!)
        best = c;
    return best;
  });
  const right = new Float64Array(classes);
  const held = new Float64Array(classes);
  for (let row = 0; row < label.length; row++) {
    if (odd[row] === 0) continue;
    held[label[row]!]!++;
    if (guess[bins.codes[row]!] === label[row]) right[label[row]!]!++;
  }
  return right.reduce((sum, n, c) => sum + n / held[c]!, 0) / classes;
}

/** 0 and 1 in turn within each class, so that sorted files are halved evenly too. */
function alternating(label: Int32Array, classes: number): Uint8Array {
  const next = new Uint8Array(classes);
  return Uint8Array.from(label, (c) => {
    const half = next[c]!;
    next[c] = 1 - half;
    return half;
  });
}
