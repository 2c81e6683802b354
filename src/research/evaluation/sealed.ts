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

/** Metrics in which each class has its own weight. */
const BY_CLASS: readonly ClassificationMetric[] = ["balanced_accuracy", "auc"];

export function sealedUnits(
  data: Pick<TaskData, "context" | "group" | "label" | "classes">,
  rows: Uint32Array,
  metric: ClassificationMetric,
  by_context: boolean,
): SealedUnits {
  const range = rangeOf(metric);
  const names = by_context ? data.context : data.group;
  if (names === null) return { clusters: null, range, notes: [] };
  const clusters = Int32Array.from(rows, (row) => names[row]!);
  const strata = BY_CLASS.includes(metric)
    ? Int32Array.from(rows, (row) => data.label[row]!)
    : null;
  const { clusters: count, degrees, lone } = countClusters(clusters, strata);
  if (!by_context && count === rows.length) return { clusters: null, range, notes: [] };
  if (degrees === 0) {
    const single = count === 1 ? "is a single context" : "has each class in a single context";
    const text =
      `The sealed part ${single}: its intervals are of rows alone and tell ` +
      "nothing of other contexts; a larger split.sealed holds out more.";
    return { clusters: null, range, notes: [text] };
  }
  const what = by_context ? `${count} contexts` : `${count} different rows, copies together`;
  const few = by_context && degrees < DEGREES_FEW;
  const text =
    `Intervals of the sealed part resample its ${what} (cluster bootstrap of the score's first ` +
    `order, widened to Student's t with ${degrees} degrees of freedom)` +
    (few ? "; so few contexts tell little of others: a larger split.sealed holds out more." : ".");
  const alone = by_context && strata !== null ? lone : [];
  const names_alone = alone.map((c) => `"${data.classes[c]}"`).join(", ");
  const warning =
    `Of the sealed contexts one alone has the class ${names_alone}: what the intervals know of it ` +
    "is the spread of that context's rows; other contexts may differ by more.";
  return { clusters, range, notes: alone.length > 0 ? [text, warning] : [text] };
}

/**
 * Contexts of rows that comparisons are resampled by where they are held out whole; null: rows are,
 * since contexts are known or no class lies in two of them.
 */
export function contextClusters(
  part: Pick<TaskData, "context" | "label">,
  rows: Uint32Array,
  metric: ClassificationMetric,
  by_context: boolean,
): Int32Array | null {
  const bare = { ...part, group: null, classes: [] };
  return by_context ? sealedUnits(bare, rows, metric, by_context).clusters : null;
}

export function sealedInterval(
  values: UnitValues,
  units: Pick<SealedUnits, "clusters" | "range">,
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
  units: Pick<SealedUnits, "clusters" | "range">,
  seed: number,
): PairedDifference {
  return units.clusters === null
    ? pairedBootstrap(a, b, { seed })
    : pairedClusterBootstrap(a, b, units.clusters, units.range, { seed });
}
