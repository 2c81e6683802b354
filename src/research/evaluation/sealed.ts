/**
 * What the sealed rows of a table are resampled by: whole contexts where the question is about
 * contexts never seen, copies of a row together where there are any, else single rows. Also said in
 * words, since an interval means nothing without it.
 */
import type { TaskData } from "../table/types.ts";
import type { PairedDifference, ScoreInterval } from "../types.ts";
import { pairedBootstrap, scoreInterval } from "./bootstrap.ts";
import {
  clusterScoreInterval,
  countClusters,
  pairedClusterBootstrap,
} from "./cluster-bootstrap.ts";
import { type ClassificationMetric, rangeOf, type UnitValues } from "./metrics.ts";

export interface SealedUnits {
  /** By row of the part; null: each row by itself. */
  readonly clusters: Int32Array | null;
  readonly range: readonly [number, number];
  readonly notes: readonly string[];
}

/** Below so many degrees of freedom an interval says little. */
const DEGREES_FEW = 5;

export function sealedUnits(
  data: Pick<TaskData, "context" | "group">,
  rows: Uint32Array,
  metric: ClassificationMetric,
  by_context: boolean,
): SealedUnits {
  const range = rangeOf(metric);
  const names = by_context ? data.context : data.group;
  if (names === null) return { clusters: null, range, notes: [] };
  const clusters = Int32Array.from(rows, (row) => names[row]!);
  const { clusters: count, degrees } = countClusters(clusters);
  if (!by_context && count === rows.length) return { clusters: null, range, notes: [] };
  if (degrees === 0) {
    const text =
      "The sealed part is a single context: its intervals are of that context's rows and tell " +
      "nothing of other contexts; a larger split.sealed holds out more.";
    return { clusters: null, range, notes: [text] };
  }
  const what = by_context ? `${count} contexts` : `${count} different rows, copies together`;
  const few = by_context && degrees < DEGREES_FEW;
  const text =
    `Intervals of the sealed part resample its ${what} (cluster bootstrap of the score's first ` +
    `order, widened to Student's t with ${degrees} degrees of freedom)` +
    (few ? "; so few contexts tell little of others: a larger split.sealed holds out more." : ".");
  return { clusters, range, notes: [text] };
}

export function sealedInterval(
  values: UnitValues,
  units: SealedUnits,
  seed: number,
): ScoreInterval {
  return units.clusters === null
    ? scoreInterval(values, { seed })
    : clusterScoreInterval(values, units.clusters, units.range, { seed });
}

/** Paired difference b - a. */
export function pairedInterval(
  a: UnitValues,
  b: UnitValues,
  units: SealedUnits,
  seed: number,
): PairedDifference {
  return units.clusters === null
    ? pairedBootstrap(a, b, { seed })
    : pairedClusterBootstrap(a, b, units.clusters, units.range, { seed });
}
