/**
 * A saved series model: how the features are made of a price history, and the tabular model of them.
 * One file: magic, length of the header, header as JSON, the tabular model. What is loaded may come
 * from anyone: BAD_MODEL says what was wrong.
 */
import { z } from "zod";
import { MagnetError } from "../../core/errors.ts";
import type { Learners } from "../../native/learner-types.ts";
import type { Table } from "../table/types.ts";
import { freeModel, type LoadedModel, loadModel } from "../tabular/final-model.ts";
import { predictRows, type RowPredictions } from "../tabular/predict.ts";
import type { Task } from "../task/load.ts";
import { type SeriesOptions, seriesOptionsSchema } from "../task/schema.ts";
import { seriesFeatures } from "./features.ts";
import { toSeries } from "./raw.ts";

export const SERIES_MAGIC = "MGSERIE1";
const HEADER_BYTES_MAX = 65_536;
const START = SERIES_MAGIC.length + 4;

const headerSchema = z.strictObject({
  schema: z.literal("magnet.series_model/1"),
  series: seriesOptionsSchema,
  time: z.string().nullable(),
});

export interface LoadedSeriesModel {
  readonly series: SeriesOptions;
  readonly time: string | null;
  readonly model: LoadedModel;
}

export function saveSeriesModel(task: Task, model: Uint8Array): Uint8Array {
  const header = { schema: "magnet.series_model/1", series: task.series!, time: task.time };
  const text = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(START + text.length + model.length);
  bytes.set(new TextEncoder().encode(SERIES_MAGIC));
  new DataView(bytes.buffer).setUint32(SERIES_MAGIC.length, text.length, true);
  bytes.set(text, START);
  bytes.set(model, START + text.length);
  return bytes;
}

const badModel = (message: string, cause?: unknown) =>
  new MagnetError("BAD_MODEL", `no series model: ${message}`, {
    hint: "use a file that magnet research run wrote for a series task",
    ...(cause === undefined ? {} : { cause }),
  });

export const isSeriesModel = (bytes: Uint8Array): boolean =>
  new TextDecoder().decode(bytes.subarray(0, SERIES_MAGIC.length)) === SERIES_MAGIC;

/** The tabular model within, not yet looked at. Throws BAD_MODEL. */
export const tabularModelOf = (bytes: Uint8Array): Uint8Array => bytes.subarray(parse(bytes).end);

/** Throws BAD_MODEL on anything that `saveSeriesModel` did not write. */
export function loadSeriesModel(bytes: Uint8Array, learners: Learners): LoadedSeriesModel {
  const { header, end } = parse(bytes);
  const model = loadModel(bytes.subarray(end), learners);
  return { series: header.series, time: header.time, model };
}

function parse(bytes: Uint8Array): { header: z.infer<typeof headerSchema>; end: number } {
  if (!isSeriesModel(bytes) || bytes.length < START) throw badModel("the first bytes are others");
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(SERIES_MAGIC.length, true);
  const end = START + length;
  if (length > HEADER_BYTES_MAX || end > bytes.length) throw badModel("the header is cut off");
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(START, end));
    return { header: headerSchema.parse(JSON.parse(text)), end };
  } catch (error) {
    throw badModel("the header is damaged", error);
  }
}

export const freeSeriesModel = ({ model }: LoadedSeriesModel): void => freeModel(model);

export interface SeriesForecast extends RowPredictions {
  readonly classes: readonly string[];
  /** Of the rows that have a price, in the order of time. */
  readonly time: Float64Array;
}

/** Directions of every row of a history, the newest ones (whose future is open) among them. */
export async function forecastSeries(
  loaded: LoadedSeriesModel,
  table: Table,
  options: { threads: number; signal?: AbortSignal },
): Promise<SeriesForecast> {
  const { series, time } = loaded;
  const raw = toSeries({ file: "the model's task", series, time }, table, []);
  const features = seriesFeatures(raw, series.horizon);
  const predicted = await predictRows(loaded.model, features, {
    ...options,
    unknown_levels: "missing",
  });
  return { ...predicted, time: raw.time };
}
