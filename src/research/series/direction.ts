/**
 * What is predicted: whether the price is higher or lower so many rows later, with "hold" for changes
 * too small to trade where the task asks for it; and the plain answers that a model has to beat.
 */

/** Price `horizon` rows later over the price now, less one; NaN in the last `horizon` rows. */
export function forwardReturns(price: Float64Array, horizon: number): Float64Array {
  return price.map((now, row) =>
    row + horizon < price.length ? price[row + horizon]! / now - 1 : Number.NaN,
  );
}

/** In the order of the change: -1, (0), 1. */
export const directionClasses = (hold: number): readonly string[] =>
  hold > 0 ? ["down", "hold", "up"] : ["down", "up"];

/** Class by row, -1 where the future is not known. Without "hold" an unchanged price is "down". */
export function directions(forward: Float64Array, hold: number): Int32Array {
  return Int32Array.from(forward, (change) => {
    if (Number.isNaN(change)) return -1;
    if (hold === 0) return change > 0 ? 1 : 0;
    return change > hold ? 2 : change < -hold ? 0 : 1;
  });
}

/** What a class stakes on: -1 falling, 0 nothing, 1 rising. */
export const positionOf = (direction: number, classes: number): number =>
  classes === 3 ? direction - 1 : 2 * direction - 1;

/**
 * The direction of the last `horizon` rows, expected to go on (persistence). Knows nothing after the
 * row; the middle class, or "down", before there is a past.
 */
export function persistence(price: Float64Array, horizon: number, hold: number): Int32Array {
  const past = price.map((now, row) => (row < horizon ? 0 : now / price[row - horizon]! - 1));
  return directions(past, hold);
}
