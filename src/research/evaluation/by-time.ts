/**
 * Parts and folds of rows that have a time: what judges is always newer than what was fitted on, so
 * that a score says how the model would have done, and a world that changed can be mended. Rows of
 * one time are never torn apart. Rows that are equal in all features may lie on both sides: a thing
 * that comes again later is known by then.
 */
import { MagnetError } from "../../core/errors.ts";
import type { Fold, Parts, TaskData } from "../table/types.ts";
import { Draw, seedFor } from "./draw.ts";
import { EDGE_JITTER, timeParts } from "./walk-forward.ts";

/** Rows from the oldest to the newest; equal times in the order of the file. */
export const timeOrder = (time: Float64Array): Uint32Array =>
  Uint32Array.from(time.keys()).sort((a, b) => time[a]! - time[b]! || a - b);

/** The first place from `wanted` on at which the time changes; the end where it never does. */
function untied(time: Float64Array, order: Uint32Array, wanted: number): number {
  let edge = Math.max(0, wanted);
  while (edge > 0 && edge < order.length && time[order[edge]!] === time[order[edge - 1]!]) edge++;
  return edge;
}

/** Search, gate and sealed: the oldest rows, the ones after, the newest. */
export function partsByTime(
  data: Pick<TaskData, "label">,
  time: Float64Array,
  shares: { readonly gate: number; readonly sealed: number },
): Parts {
  const order = timeOrder(time);
  const plain = timeParts(order.length, shares, { purge: 0, embargo: 0 });
  const gateFrom = untied(time, order, plain.search.length);
  const sealedFrom = untied(time, order, plain.search.length + plain.gate.length);
  const rows = (from: number, to: number) => order.slice(from, to).sort();
  return {
    search: rows(0, gateFrom),
    gate: rows(gateFrom, sealedFrom),
    sealed: rows(sealedFrom, data.label.length),
  };
}

/** Share of the rows, the oldest ones, that are only ever trained on. */
const FIRST_SHARE = 0.3;
/** Rows of each class that the first fit must have. */
const CLASS_ROWS_MIN = 2;

export interface ForwardFold extends Fold {
  /**
   * The first block is predicted for the rules of the later ones (thresholds, weights of a blend,
   * calibration) and is no part of the score: nothing older could have made its own.
   */
  readonly warm_up: boolean;
}

/**
 * Blocks in the order of time, each validated by what is fitted on all rows before it. Which rows
 * are validated is the same for every seed; the edges between the later blocks move with it, so
 * that seeds differ by more than the learner's luck.
 */
export function forwardFolds(
  data: Pick<TaskData, "label" | "classes">,
  time: Float64Array,
  blocks: number,
  seed: number,
): ForwardFold[] {
  const order = timeOrder(time);
  const { length } = order;
  const share = (1 - FIRST_SHARE) / blocks;
  const start = coveringEdge(data, time, order, 0, Math.floor(length * FIRST_SHARE));
  const scored = coveringEdge(data, time, order, start, start + Math.floor(length * share));
  requireClasses(data, order.subarray(scored));
  const random = new Draw(seedFor(seed, "forward"));
  const edges = [start, scored];
  for (let k = 1; k < blocks - 1; k++) {
    const moved = k + EDGE_JITTER * (2 * random.unit() - 1);
    const wanted = scored + Math.floor(((length - scored) * moved) / (blocks - 1));
    edges.push(untied(time, order, wanted));
  }
  edges.push(length);
  return edges.slice(1).flatMap((to, f) => {
    const from = edges[f]!;
    if (to <= from) return [];
    const [train, validation] = [order.slice(0, from).sort(), order.slice(from, to).sort()];
    return [{ train, validation, warm_up: f === 0 }];
  });
}

/** The first edge from `wanted` on with some rows of each class between `from` and it. */
function coveringEdge(
  { label, classes }: Pick<TaskData, "label" | "classes">,
  time: Float64Array,
  order: Uint32Array,
  from: number,
  wanted: number,
): number {
  const counts = new Int32Array(classes.length);
  let edge = from;
  while (edge < order.length && (edge < wanted || counts.some((n) => n < CLASS_ROWS_MIN)))
    counts[label[order[edge++]!]!]!++;
  return untied(time, order, edge);
}

function requireClasses(
  { label, classes }: Pick<TaskData, "label" | "classes">,
  rows: Uint32Array,
) {
  const missing = classes.findIndex((_, c) => !rows.some((row) => label[row] === c));
  if (missing >= 0)
    throw new MagnetError(
      "SPLIT_IMPOSSIBLE",
      `no row of class "${classes[missing]}" would be left to judge by, in the order of time`,
      { hint: "give more rows, or split.by_time: false to split at random", exit: "config" },
    );
}
