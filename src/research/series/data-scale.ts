/**
 * Data scale as an axis of its own (paper 7.3 and 9.5: 504 rows to 77,771 brought more than any
 * change of the model). A run starts with a small, recent window; the analysis says how many rows lie
 * idle and what widening has brought so far, the strategy widens.
 */
import type { Configuration, Failure, Strategy, Sweep, Trial } from "../types.ts";
import { asSeries, seriesOf } from "./configuration.ts";

export interface ScalePoint {
  readonly rows: number;
  /** The best score with that window. */
  readonly score: number;
  /** Of how many: the best of many is luck in part. */
  readonly trials: number;
}

/**
 * Best full-fidelity score by the rows that were fitted on, ascending; empty but of a series. At the
 * task's own seed only: what is confirmed at others would have more tries than the rest.
 */
export function dataScaleCurve(trials: readonly Trial[], seed: number): ScalePoint[] {
  const points = new Map<number, ScalePoint>();
  for (const { outcome, spec } of trials) {
    if (outcome === null || spec.fidelity < 1 || spec.seed !== seed) continue;
    const rows = outcome.figures.window_rows;
    if (typeof rows !== "number") continue;
    const { score, trials: before } = points.get(rows) ?? { score: -Infinity, trials: 0 };
    points.set(rows, { rows, score: Math.max(outcome.score, score), trials: before + 1 });
  }
  return [...points.values()].sort((a, b) => a.rows - b.rows);
}

/** Rows that a configuration is fitted on; `all` stands for a window of 0. */
export const rowsOf = (configuration: Configuration, all: number): number => {
  const { window } = seriesOf(configuration);
  return window === 0 ? all : Math.min(window, all);
};

/** What a doubling of the rows is expected to bring before any was tried. */
const GAIN_PER_DOUBLING = 0.004;

/**
 * Rows lie idle: a fact, not an estimate, so it is said whenever at least half of them do, unless
 * wider windows were tried and were worse by more than the error of a comparison.
 */
export function findIdleRows(
  best: Trial,
  trials: readonly Trial[],
  all: number,
  standard_error: number,
): Failure | null {
  const used = rowsOf(best.spec.configuration, all);
  const doublings = Math.log2(all / used);
  if (doublings < 1) return null;
  const curve = dataScaleCurve(trials, best.spec.seed);
  const wider = curve.filter(({ rows }) => rows >= 2 * used);
  const widest = Math.max(...wider.map(({ score }) => score), Number.NEGATIVE_INFINITY);
  const tried = wider.length >= 2;
  if (tried && widest < best.outcome!.score - standard_error) return null;
  const shown = curve.map(({ rows, score }) => `${rows} rows ${score.toFixed(4)}`).join(", ");
  return {
    kind: "data_limited",
    strength: Math.min(8, 2 + (tried ? 0 : doublings)),
    potential: GAIN_PER_DOUBLING * doublings,
    text:
      `The model is fitted on the newest ${used} of ${all} rows` +
      (curve.length > 1 ? `; best scores so far: ${shown}.` : "."),
    evidence: {
      rows_used: used,
      rows_unused: all - used,
      learning_curve: curve.map(({ rows, score }) => ({ rows, score })),
    },
  };
}

/** Steps of the window: about half a power of ten. */
const STEP = 3.2;

/** Windows from `used` (left out) to all of the rows, in equal steps of the logarithm. */
export function widerWindows(used: number, all: number): number[] {
  const windows: number[] = [];
  for (let rows = used * STEP; rows < all / 1.5; rows *= STEP) windows.push(Math.round(rows));
  return used < all ? [...windows, 0] : windows;
}

/** Widens the window of the best model step by step up to all rows. */
export const dataScaleStrategy = (all: number): Strategy => ({
  id: "data_scale",
  family: "more_data",
  targets: ["data_limited"],
  summary: "Fits on more of the history, from a recent window towards all of it.",
  sweep(state): Sweep | null {
    const best = seriesOf(state.best.spec.configuration);
    const used = rowsOf(state.best.spec.configuration, all);
    const first = widerWindows(used, all).map((window) => asSeries({ ...best, window }));
    if (first.length === 0) return null;
    return {
      base: first.at(-1)!,
      space: { window: { kind: "integer", min: used, max: all, log: true } },
      first,
      trials_max: first.length + 2,
    };
  },
});

/** The same strategy with every configuration on the window of the best model. */
export const keepingWindow = (strategy: Strategy): Strategy => ({
  ...strategy,
  sweep(state) {
    const sweep = strategy.sweep(state);
    if (sweep === null) return null;
    const { window } = seriesOf(state.best.spec.configuration);
    const kept = (c: Configuration): Configuration => ({ window, ...c });
    return { ...sweep, base: kept(sweep.base), first: sweep.first.map(kept) };
  },
});
