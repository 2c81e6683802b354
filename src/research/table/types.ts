/**
 * A table in memory, by columns, and a task's data made of it. Rows keep the order of the file;
 * parts and folds are lists of row numbers.
 */
import type { Hash } from "../../core/types.ts";

export interface NumberColumn {
  readonly kind: "number";
  readonly name: string;
  /** One value a row; NaN = missing; never infinite. */
  readonly values: Float64Array;
  /** The values are times, in milliseconds since 1970. */
  readonly time?: true;
}
export interface CategoryColumn {
  readonly kind: "category";
  readonly name: string;
  /** Index into `levels` by row; -1 = missing. */
  readonly codes: Int32Array;
  /** In order of the text, so that codes do not depend on the order of the rows. */
  readonly levels: readonly string[];
}
export type Column = NumberColumn | CategoryColumn;

export interface Table {
  readonly rows: number;
  readonly columns: readonly Column[];
}

/** Something about the data that a person should know; errors are thrown instead. */
export interface Note {
  /** In SCREAMING_SNAKE_CASE, for example DUPLICATE_ROWS. */
  readonly code: string;
  /** One sentence with the figures. */
  readonly text: string;
  /** What can be done about it, one sentence. */
  readonly hint: string;
}

/** The data of a classification task, checked: what tabular and series models are fitted on. */
export interface TaskData {
  /** Features only: no label, context, pipeline or time column unless the task asks for it. */
  readonly features: Table;
  /** Class index by row. */
  readonly label: Int32Array;
  readonly classes: readonly string[];
  /** Context index by row (Zevor's "contexts": protocol, industry); null without contexts. */
  readonly context: Int32Array | null;
  readonly contexts: readonly string[];
  /** The rule pipeline's predicted class by row, -1 = it gave none; null without a pipeline. */
  readonly pipeline: Int32Array | null;
  /** Milliseconds since 1970 or any ascending number; null where rows have no time. */
  readonly time: Float64Array | null;
  /**
   * Rows of one group stay in one part and in one fold (rows that are equal in all features); null
   * where every row stands for itself.
   */
  readonly group: Int32Array | null;
  readonly notes: readonly Note[];
  /** SHA-256 of the canonical bytes of all the above but the notes. */
  readonly hash: Hash;
}

/** The three-way split, as ascending row numbers; disjoint, together all rows that are used. */
export interface Parts {
  readonly search: Uint32Array;
  readonly gate: Uint32Array;
  readonly sealed: Uint32Array;
}

/** One train/validation pair within the search part, as row numbers of the whole table. */
export interface Fold {
  readonly train: Uint32Array;
  readonly validation: Uint32Array;
}
