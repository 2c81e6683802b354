/**
 * The face of the native learners (paper 6, 7): what all of them take and give. A fitted model is a
 * function of data, rows, settings and seed alone; threads, the CPU's path and the machine never
 * change a bit of it.
 */

export const LEARNERS = ["boosting", "extra_trees", "forest", "logistic"] as const;
export type LearnerName = (typeof LEARNERS)[number];

/** Features as the learners take them. */
export interface LearnerMatrix {
  readonly rows: number;
  readonly columns: number;
  /** Column-major (columns, rows); NaN = missing; categories as their code. */
  readonly values: Float32Array;
  /** Number of levels by column; 0 = a number. */
  readonly levels: Int32Array;
}

export interface FitOptions {
  readonly learner: LearnerName;
  /** "regression" has one output; "classification" as many as classes, 2 for binary. */
  readonly objective: "classification" | "regression";
  /** 1 for regression. */
  readonly classes: number;
  /** Class index or value by row of the matrix. */
  readonly target: Float32Array;
  /** Weight by row of the matrix, >= 0; null = all 1. */
  readonly weight: Float32Array | null;
  /** Rows to fit on; null = all. */
  readonly rows: Uint32Array | null;
  /** By the learner's own names; unknown ones are refused, missing ones have defaults. */
  readonly params: { readonly [name: string]: number };
  readonly seed: number;
  /** 0 = all CPUs. */
  readonly threads: number;
  /** Boosting only: rows for early stopping (params.early_stopping_rounds > 0). */
  readonly stop_rows?: Uint32Array | null;
  readonly signal?: AbortSignal;
}

/** Held in native memory until `free`; forgotten ones are freed with the object. */
export interface BinnedData {
  readonly rows: number;
  readonly columns: number;
  free(): void;
}

export interface FittedModel {
  readonly learner: LearnerName;
  /** Probabilities (or values), row-major (rows, outputs); rows null = all. */
  predict(
    data: BinnedData | LearnerMatrix,
    rows: Uint32Array | null,
    options?: { threads?: number; signal?: AbortSignal },
  ): Promise<Float32Array>;
  /** Share of the total gain by column (logistic: of |coefficient x spread|); sums to 1 or is 0. */
  importance(): Float64Array;
  /** Trees made (boosting: after early stopping); 0 for logistic. */
  readonly trees: number;
  save(): Uint8Array;
  free(): void;
}

/** What src/native/learners.ts exports. */
export interface Learners {
  /** Quantile bins of every column, computed on `rows` (null = all). bins_max in 2..255. */
  binData(
    matrix: LearnerMatrix,
    options?: { bins_max?: number; rows?: Uint32Array | null; threads?: number },
  ): Promise<BinnedData>;
  fit(data: BinnedData, options: FitOptions): Promise<FittedModel>;
  /** Throws BAD_MODEL on anything that `save` did not write: bytes may come from a peer. */
  loadLearner(bytes: Uint8Array): FittedModel;
}
