/**
 * A row of a table as a token sequence: one token for each column, its quantile bin or level, then
 * a question token; the answer is the label's token. Every column has tokens of its own, with one
 * for a missing value, so that a token says which column it is of. Bins come from training rows.
 */
import { MagnetError } from "../../../core/errors.ts";
import type { LearnerMatrix } from "../../../native/learner-types.ts";
import { TERNARY_CLASSES_MAX, TERNARY_COLUMNS_MAX, TERNARY_LEVELS_MAX } from "../limits.ts";

/** How the values of one column become tokens: by bin (levels 0), or by level. */
export interface TokenColumn {
  readonly levels: number;
  /** Ascending; a value's bin is the number of edges that are not above it. */
  readonly edges: readonly number[];
}

export interface RowTokens {
  readonly classes: number;
  readonly columns: readonly TokenColumn[];
}

/** The token that asks for the label; the classes' tokens follow. */
const QUESTION = 0;

export const labelToken = (c: number): number => QUESTION + 1 + c;

/** A token for each bin or level (rare high codes share the last), and one for a missing value. */
const tokensOf = ({ levels, edges }: TokenColumn): number =>
  (levels === 0 ? edges.length + 1 : Math.min(levels, TERNARY_LEVELS_MAX)) + 1;

export const vocabularySize = ({ classes, columns }: RowTokens): number =>
  columns.reduce((sum, column) => sum + tokensOf(column), labelToken(classes));

/** Inputs of a sequence: the columns and the question. */
export const inputLength = ({ columns }: RowTokens): number => columns.length + 1;

/** Throws TABLE_TOO_WIDE and TOO_MANY_CLASSES. */
export function checkShape(columns: number, classes: number): void {
  if (columns > TERNARY_COLUMNS_MAX)
    throw new MagnetError(
      "TABLE_TOO_WIDE",
      `a row of ${columns} columns is too long a sequence for ternary_transformer, which takes ${TERNARY_COLUMNS_MAX}`,
      { hint: `set the member's features.top_k to at most ${TERNARY_COLUMNS_MAX}`, exit: "config" },
    );
  if (classes > TERNARY_CLASSES_MAX)
    throw new MagnetError(
      "TOO_MANY_CLASSES",
      `ternary_transformer takes ${TERNARY_CLASSES_MAX} classes, not ${classes}`,
      { hint: "take another learner", exit: "config" },
    );
}

/** Finds each number column's bins of about equal counts on the given rows. */
export function fitTokens(
  matrix: LearnerMatrix,
  rows: Uint32Array,
  classes: number,
  bins: number,
): RowTokens {
  checkShape(matrix.columns, classes);
  const columns = Array.from({ length: matrix.columns }, (_, c) => {
    const levels = matrix.levels[c]!;
    if (levels > 0) return { levels, edges: [] };
    const values = Float32Array.from(rows, (row) => matrix.values[c * matrix.rows + row]!);
    return { levels: 0, edges: quantileEdges(values.filter((v) => !Number.isNaN(v)).sort(), bins) };
  });
  return { classes, columns };
}

/** At most bins - 1 different values of the sorted ones, the first value itself left out. */
function quantileEdges(sorted: Float32Array, bins: number): number[] {
  const edges: number[] = [];
  for (let b = 1; b < bins && sorted.length > 0; b++) {
    const edge = sorted[Math.floor((b * sorted.length) / bins)]!;
    if (edge > sorted[0]! && edge !== edges.at(-1)) edges.push(edge);
  }
  return edges;
}

function binOf(edges: readonly number[], value: number): number {
  let [low, high] = [0, edges.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (edges[middle]! <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The sequences of rows, question included: (rows, inputLength). */
export function tokenise(
  { classes, columns }: RowTokens,
  matrix: LearnerMatrix,
  rows: Uint32Array,
): Int32Array {
  const width = columns.length + 1;
  const out = new Int32Array(rows.length * width).fill(QUESTION);
  let first = labelToken(classes);
  columns.forEach((column, c) => {
    const size = tokensOf(column);
    const values = matrix.values.subarray(c * matrix.rows, (c + 1) * matrix.rows);
    rows.forEach((row, i) => {
      const value = values[row]!;
      let token = size - 1; // missing
      if (!Number.isNaN(value))
        token = column.levels === 0 ? binOf(column.edges, value) : Math.min(value, size - 2);
      out[i * width + c] = first + token;
    });
    first += size;
  });
  return out;
}
