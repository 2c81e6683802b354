/**
 * A series as a classification task: features known at each row, the direction of the price over the
 * horizon as label, time as the order. Rows whose future is not known yet have no label and are left
 * out of everything but a forecast.
 */
import { canonicalJson, sha256Hex } from "../../core/bytes.ts";
import type { Hash } from "../../core/types.ts";
import { timeParts } from "../evaluation/walk-forward.ts";
import type { Note, Parts, TaskData } from "../table/types.ts";
import { hashOfData } from "../task/hash.ts";
import { type Task, taskError } from "../task/load.ts";
import type { SeriesOptions } from "../task/schema.ts";
import { directionClasses, directions, forwardReturns, persistence } from "./direction.ts";
import { seriesFeatures, varies } from "./features.ts";
import type { RawSeries } from "./raw.ts";

export interface SeriesData {
  readonly data: TaskData;
  readonly parts: Parts;
  /** SHA-256 of the prices, whatever the horizon. */
  readonly price_hash: Hash;
  /** Change of the price over the horizon by row. */
  readonly forward: Float64Array;
  /** The class that persistence expects, by row. */
  readonly persistence: Int32Array;
}

/** Rows that are left out between parts and folds beyond the horizon: what lingers of a move. */
export const embargoOf = (horizon: number): number => horizon;

/** Labels, features and parts of a series. Throws BAD_LABEL where the price only goes one way. */
export function toSeriesData(task: Task, raw: RawSeries, read: readonly Note[] = []): SeriesData {
  const options: SeriesOptions = task.series!;
  const { horizon, hold } = options;
  const rows = raw.price.length - horizon;
  const forward = forwardReturns(raw.price, horizon).subarray(0, rows);
  const label = directions(forward, hold);
  const classes = directionClasses(hold);
  requireClasses(label, classes, options);
  const features = seriesFeatures(raw, horizon);
  const columns = features.columns
    .filter(varies)
    .map((column) =>
      column.kind === "number" ? { ...column, values: column.values.subarray(0, rows) } : column,
    );
  const base = {
    features: { rows, columns },
    label,
    classes,
    context: null,
    contexts: [],
    pipeline: null,
    time: raw.time.subarray(0, rows),
    group: null,
  };
  const notes = [...read, overlapNote(rows, horizon)];
  const parts = timeParts(rows, task.split, { purge: horizon, embargo: embargoOf(horizon) });
  // The changes decide what a trade earns: they belong to the data as much as the labels.
  const hash = sha256Hex(
    canonicalJson([hashOfData(base), sha256Hex(new Uint8Array(forward.slice().buffer))]),
  ) as Hash;
  return {
    data: { ...base, notes, hash },
    price_hash: sha256Hex(new Uint8Array(raw.price.slice().buffer)) as Hash,
    parts,
    forward,
    persistence: persistence(raw.price, horizon, hold).subarray(0, rows),
  };
}

function requireClasses(label: Int32Array, classes: readonly string[], o: SeriesOptions): void {
  const counts = classes.map((_, c) => label.filter((l) => l === c).length);
  const rarest = Math.min(...counts);
  if (rarest >= Math.max(20, label.length / 100)) return;
  const name = classes[counts.indexOf(rarest)]!;
  throw taskError(
    `only ${rarest} of ${label.length} rows are "${name}" ${o.horizon} rows later`,
    o.hold > 0
      ? `change series.hold (now ${o.hold}): about a third of the rows should be "hold"`
      : "change series.horizon: the price hardly ever goes the other way",
    "BAD_LABEL",
  );
}

const overlapNote = (rows: number, horizon: number): Note => ({
  code: "OVERLAPPING_LABELS",
  text: `labels look ${horizon} rows ahead and overlap: ${rows} rows are about ${Math.floor(rows / horizon)} independent ones`,
  hint: "intervals are made of blocks of rows, not of single rows",
});
