/**
 * What a model's directions would have earned, so that a hit rate is not mistaken for a profit: each
 * row's direction held for the horizon, before and after the cost of a trade there and back. Rows
 * overlap; means stay right, errors are made of blocks.
 */
import { blockScoreInterval } from "../evaluation/bootstrap.ts";
import { positionOf } from "./direction.ts";

export interface TradeFigures {
  /** Share of rows that take a position. */
  readonly active: number;
  /** Mean change in the direction of the position, of rows that take one. */
  readonly gross: number;
  readonly gross_error: number;
  /** After the cost. */
  readonly net: number;
  /** The cost at which nothing is left; below 0 it loses without any. */
  readonly break_even_cost: number;
  /** Mean change of the price itself: what holding all the time earns in a horizon. */
  readonly holding: number;
  /** Positions that do not overlap. */
  readonly trades: number;
}

export interface TradeOptions {
  readonly classes: number;
  readonly horizon: number;
  readonly cost: number;
  readonly block: number;
  readonly seed: number;
}

export function tradeFigures(
  decided: Int32Array,
  forward: Float64Array,
  options: TradeOptions,
): TradeFigures {
  const positions = decided.map((d) => positionOf(d, options.classes));
  const strata = positions.map((p) => (p === 0 ? 1 : 0));
  const values = forward.map((change, row) => change * positions[row]!);
  const taken = strata.filter((s) => s === 0).length;
  const holding = forward.reduce((sum, change) => sum + change, 0) / forward.length;
  if (taken === 0)
    return { active: 0, gross: 0, gross_error: 0, net: 0, break_even_cost: 0, holding, trades: 0 };
  // Rows without a position are a stratum of no weight.
  const earned = blockScoreInterval({ values, strata, weights: [1, 0], offset: 0 }, options.block, {
    seed: options.seed,
  });
  return {
    active: taken / forward.length,
    gross: earned.score,
    gross_error: earned.standard_error,
    net: earned.score - options.cost,
    break_even_cost: earned.score,
    holding,
    trades: Math.floor(taken / options.horizon),
  };
}

const percent = (share: number) => `${(100 * share).toFixed(4)}%`;

/** One sentence for the report. */
export function tradeNote(figures: TradeFigures, cost: number): string {
  if (figures.trades === 0) return "The model never takes a position: nothing is earned or lost.";
  const { gross, gross_error, net, break_even_cost, holding, trades } = figures;
  const even =
    break_even_cost > 0
      ? `it breaks even at a cost of ${percent(break_even_cost)}`
      : "it loses without any cost";
  return (
    `A position held for the horizon earned ${percent(gross)} +- ${percent(gross_error)} before ` +
    `costs over about ${trades} trades; with ${percent(cost)} a trade there and back ` +
    `${percent(net)} is ${net < 0 ? "lost" : "left"} of each, ${even}. Holding all the time ` +
    `earned ${percent(holding)} in a horizon. Slippage and interest are not counted.`
  );
}
