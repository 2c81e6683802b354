/**
 * Learners of autoresearch (paper 6, 7), bound to cpp/learners: binned tables, fits and predictions
 * on the worker pool, saved models. Arrays that are handed in must not change until the promise
 * settles, a matrix not while its BinnedData lives. Settings by name and range: `learnerSettings`.
 */
import { MagnetError } from "../core/errors.ts";
import {
  type Address,
  addressSlot,
  bind,
  bindAsync,
  cString,
  keepAlive,
  NULL,
  takeAddress,
} from "./ffi.ts";
import {
  type BinnedData,
  type FitOptions,
  type FittedModel,
  LEARNERS,
  type LearnerMatrix,
  type LearnerName,
} from "./learner-types.ts";

const native = bind({
  mg_binned_free: ["buffer"],
  mg_binned_column: ["handle", "u32", "buffer", "u64", "buffer"],
  mg_learner_settings: ["u32", "buffer", "u64"],
  mg_learner_info: ["handle", "buffer"],
  mg_learner_importance: ["handle", "buffer", "u32"],
  mg_learner_save: ["handle", "buffer", "u64", "buffer"],
  mg_learner_load: ["buffer", "u64", "buffer"],
  mg_learner_free: ["buffer"],
});
const pooled = bindAsync({
  mg_bin_data: [
    ...(["buffer", "buffer", "u64", "u32", "u32", "buffer", "u64", "u32"] as const),
    ...(["buffer", "cancel"] as const),
  ],
  mg_learner_fit: [
    ...(["u32", "handle", "buffer", "u32", "buffer", "buffer"] as const),
    ...(["buffer", "u64", "buffer", "u64"] as const),
    ...(["buffer", "u64", "buffer", "u32", "u64", "u32", "buffer", "cancel"] as const),
  ],
  mg_learner_predict: [
    ...(["handle", "buffer", "buffer", "u64", "u32", "buffer", "u64"] as const),
    ...(["buffer", "u64", "u32", "cancel"] as const),
  ],
});

const freeBins = new FinalizationRegistry<Address>((handle) => native.mg_binned_free(handle));
const freeModel = new FinalizationRegistry<Address>((handle) => native.mg_learner_free(handle));

/** One setting of a learner. */
export interface LearnerSetting {
  readonly name: string;
  /** Where none is given. */
  readonly initial: number;
  readonly min: number;
  readonly max: number;
  readonly integer: boolean;
  readonly summary: string;
}

const known = new Map<LearnerName, readonly LearnerSetting[]>();

/** All settings of a learner, as the library has them. */
export function learnerSettings(learner: LearnerName): readonly LearnerSetting[] {
  const before = known.get(learner);
  if (before) return before;
  const text = new Uint8Array(1 << 14);
  native.mg_learner_settings(LEARNERS.indexOf(learner), text, text.length);
  const settings = JSON.parse(cString(text)) as LearnerSetting[];
  known.set(learner, settings);
  return settings;
}

class NativeBins implements BinnedData {
  readonly matrix: LearnerMatrix;
  #handle: Address;

  constructor(matrix: LearnerMatrix, handle: Address) {
    this.matrix = matrix;
    this.#handle = handle;
    freeBins.register(this, handle, this);
  }
  get rows(): number {
    return this.matrix.rows;
  }
  get columns(): number {
    return this.matrix.columns;
  }
  get handle(): Address {
    if (this.#handle === NULL) throw new MagnetError("FREED", "the binned data was freed");
    return this.#handle;
  }
  free(): void {
    if (this.#handle === NULL) return;
    freeBins.unregister(this);
    native.mg_binned_free(this.#handle);
    this.#handle = NULL;
  }
}

const bad = (message: string, hint?: string): never => {
  throw new MagnetError("BAD_LEARNER_DATA", message, hint === undefined ? {} : { hint });
};

function checkMatrix(matrix: LearnerMatrix): void {
  const { rows, columns, values, levels } = matrix;
  if (!(rows >= 1) || !(columns >= 1)) bad("a table for a learner has no rows or no columns");
  if (values.length !== rows * columns)
    bad(`${rows} x ${columns} cells need as many values, not ${values.length}`);
  if (levels.length !== columns) bad(`${columns} columns have ${levels.length} numbers of levels`);
}

function nativeBins(data: BinnedData): NativeBins {
  return data instanceof NativeBins ? data : bad("the binned data is not from binData");
}

/** Quantile bins of every column, computed on `rows` (null = all). bins_max in 2..255. */
export async function binData(
  matrix: LearnerMatrix,
  options: {
    bins_max?: number;
    rows?: Uint32Array | null;
    threads?: number;
    signal?: AbortSignal;
  } = {},
): Promise<BinnedData> {
  checkMatrix(matrix);
  const { values, levels, rows, columns } = matrix;
  const { bins_max = 255, rows: edge_rows = null, threads = 0, signal } = options;
  if (!Number.isInteger(bins_max) || bins_max < 2 || bins_max > 255)
    bad(`bins_max is ${bins_max}`, "give 2 to 255");
  // An empty list has no address, which would mean all rows.
  if (edge_rows?.length === 0) bad("there are no rows to find bins on");
  const slot = addressSlot();
  const edges = edge_rows?.length ?? 0;
  await pooled.mg_bin_data(
    ...([signal, values, levels, rows, columns, bins_max, edge_rows, edges] as const),
    ...([threads, slot] as const),
  );
  return new NativeBins(matrix, takeAddress(slot));
}

/** The bin of each row in one column; `missing` is the bin of missing values, the count of others. */
export function binsOfColumn(
  data: BinnedData,
  column: number,
): { bins: Uint8Array; missing: number } {
  const bins = new Uint8Array(data.rows);
  const count = new Uint32Array(1);
  native.mg_binned_column(nativeBins(data).handle, column, bins, bins.length, count);
  return { bins, missing: count[0]! };
}

class NativeModel implements FittedModel {
  readonly learner: LearnerName;
  readonly trees: number;
  readonly #outputs: number;
  readonly #columns: number;
  #handle: Address;

  constructor(handle: Address) {
    this.#handle = handle;
    freeModel.register(this, handle, this);
    const info = new Uint32Array(4);
    native.mg_learner_info(handle, info);
    const [learner, outputs, columns, trees] = info as unknown as [number, number, number, number];
    this.learner = LEARNERS[learner]!;
    this.#outputs = outputs;
    this.#columns = columns;
    this.trees = trees;
  }

  #live(): Address {
    if (this.#handle === NULL) throw new MagnetError("FREED", "the model was freed");
    return this.#handle;
  }

  async predict(
    data: BinnedData | LearnerMatrix,
    rows: Uint32Array | null,
    { threads = 0, signal }: { threads?: number; signal?: AbortSignal } = {},
  ): Promise<Float32Array> {
    const bins = data instanceof NativeBins ? data : null;
    const matrix = bins?.matrix ?? (data as LearnerMatrix);
    checkMatrix(matrix);
    const count = rows?.length ?? matrix.rows;
    const out = new Float32Array(count * this.#outputs);
    if (count === 0) return out;
    const handle = bins?.handle ?? null;
    await pooled.mg_learner_predict(
      ...([signal, this.#live(), handle, matrix.values, matrix.rows, matrix.columns] as const),
      ...([rows, count, out, out.length, threads] as const),
    );
    keepAlive(this, data);
    return out;
  }

  importance(): Float64Array {
    const out = new Float64Array(this.#columns);
    native.mg_learner_importance(this.#live(), out, out.length);
    return out;
  }

  save(): Uint8Array {
    const count = new BigUint64Array(1);
    native.mg_learner_save(this.#live(), null, 0, count);
    const out = new Uint8Array(Number(count[0]));
    native.mg_learner_save(this.#live(), out, out.length, count);
    return out;
  }

  free(): void {
    if (this.#handle === NULL) return;
    freeModel.unregister(this);
    native.mg_learner_free(this.#handle);
    this.#handle = NULL;
  }
}

function checkTarget(data: BinnedData, options: FitOptions): number {
  const { objective, classes, target, weight, rows, stop_rows } = options;
  if (target.length !== data.rows)
    bad(`${data.rows} rows have ${target.length} targets`, "give one for each row of the matrix");
  if (weight && weight.length !== data.rows)
    bad(`${data.rows} rows have ${weight.length} weights`, "give one for each row of the matrix");
  if (rows?.length === 0) bad("there are no rows to fit on");
  if (stop_rows && rows === null) bad("stop_rows would be fitted on too", "give rows without them");
  if (objective === "regression") return 1;
  if (!Number.isInteger(classes) || classes < 2 || classes > 1024)
    bad(`classification has ${classes} classes`, "give 2 to 1024");
  return classes;
}

/** Unknown settings and values outside their range: BAD_SETTING. */
function checkSettings(learner: LearnerName, params: FitOptions["params"]): void {
  const settings = new Map(learnerSettings(learner).map((s) => [s.name, s]));
  for (const [name, value] of Object.entries(params)) {
    const s = settings.get(name);
    if (s && value >= s.min && value <= s.max && (!s.integer || Number.isInteger(value))) continue;
    const wanted = s && `${name} is ${s.integer ? "a whole number" : "a number"} in`;
    throw new MagnetError("BAD_SETTING", `${learner} takes no ${name} = ${value}`, {
      hint: s ? `${wanted} ${s.min}..${s.max}` : `there are ${[...settings.keys()].join(", ")}`,
    });
  }
}

/** Fits a learner. Throws BAD_SETTING, BAD_LEARNER_DATA, NOT_A_NUMBER for a NaN target. */
export async function fit(data: BinnedData, options: FitOptions): Promise<FittedModel> {
  const bins = nativeBins(data);
  const outputs = checkTarget(data, options);
  const { learner, target, weight, rows, params, seed, threads, signal } = options;
  const stop_rows = options.stop_rows ?? null;
  checkSettings(learner, params);
  const names = new TextEncoder().encode(
    Object.keys(params)
      .map((name) => `${name}\0`)
      .join(""),
  );
  const values = Float64Array.from(Object.values(params));
  const slot = addressSlot();
  await pooled.mg_learner_fit(
    ...([signal, LEARNERS.indexOf(learner), bins.handle, bins.matrix.values, outputs] as const),
    ...([target, weight, rows, rows?.length ?? 0, stop_rows, stop_rows?.length ?? 0] as const),
    ...([names, names.length, values, values.length, seed, threads, slot] as const),
  );
  keepAlive(bins);
  return new NativeModel(takeAddress(slot));
}

/** Throws BAD_MODEL on anything that `save` did not write: bytes may come from a peer. */
export function loadLearner(bytes: Uint8Array): FittedModel {
  const slot = addressSlot();
  try {
    native.mg_learner_load(bytes, bytes.length, slot);
  } catch (error) {
    if (!(error instanceof MagnetError) || error.code !== "BAD_FORMAT") throw error;
    throw new MagnetError("BAD_MODEL", `not a saved model: ${error.message}`, { cause: error });
  }
  return new NativeModel(takeAddress(slot));
}
