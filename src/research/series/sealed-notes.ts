/** What is said of a series' sealed part beside the score: independent rows, baselines, trades. */
import { resample } from "../evaluation/bootstrap.ts";
import type { UnitValues } from "../evaluation/metrics.ts";
import type { PairedDifference, ScoreInterval } from "../types.ts";
import { type TradeOptions, tradeFigures, tradeNote } from "./trading.ts";

export interface OpenedSeries {
  model: ScoreInterval;
  baseline: ScoreInterval;
  difference: PairedDifference;
  trivial: ScoreInterval;
  notes: readonly string[];
}

export interface SealedSeries {
  readonly decided: Int32Array;
  readonly forward: Float64Array;
  readonly values: UnitValues;
  /** Of the score, from blocks. */
  readonly standard_error: number;
  readonly trivial: { readonly majority: number; readonly persistence: number };
  readonly trade: TradeOptions;
}

/**
 * Independent rows that have the score's block error: rows x (error of single rows / error of
 * blocks)^2, at most the number of rows.
 */
export function effectiveRows(values: UnitValues, standard_error: number, seed: number): number {
  const rows = values.values.length;
  const draws = resample(values, { seed, draws: 1000 });
  const mean = draws.reduce((sum, x) => sum + x, 0) / draws.length;
  const variance = draws.reduce((sum, x) => sum + (x - mean) ** 2, 0) / draws.length;
  if (!(standard_error > 0)) return rows;
  return Math.round(Math.min(1, variance / standard_error ** 2) * rows);
}

export function openedNotes(sealed: SealedSeries): string[] {
  const { decided, forward, values, standard_error, trivial, trade } = sealed;
  const rows = forward.length;
  const effective = effectiveRows(values, standard_error, trade.seed);
  return [
    `The sealed part is the last ${rows} rows; labels overlap by ${trade.horizon} rows: about ` +
      `${Math.floor(rows / trade.horizon)} rows apart, by the blocks' error as many as ${effective} ` +
      "independent ones.",
    `Without a model: its most frequent direction scores ${trivial.majority.toFixed(4)}, the last ` +
      `direction going on ${trivial.persistence.toFixed(4)}.`,
    tradeNote(tradeFigures(decided, forward, trade), trade.cost),
  ];
}
