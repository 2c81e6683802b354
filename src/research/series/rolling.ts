/**
 * Rolling figures over the last rows, the row itself included: what comes later is never looked at.
 * NaN until the window is full. Sums run over the whole series once, so that a window's length costs
 * nothing; only + - * / and square roots, so that features are the same bits on every machine.
 */

/** Sum of the last `window` values. */
export function rollingSum(values: Float64Array, window: number): Float64Array {
  const sums = new Float64Array(values.length + 1);
  for (let i = 0; i < values.length; i++) sums[i + 1] = sums[i]! + values[i]!;
  return values.map((_, row) =>
    row + 1 < window ? Number.NaN : sums[row + 1]! - sums[row + 1 - window]!,
  );
}

export const rollingMean = (values: Float64Array, window: number): Float64Array =>
  rollingSum(values, window).map((sum) => sum / window);

/** Standard deviation of the last `window` values; 0 where they differ by rounding only. */
export function rollingDeviation(values: Float64Array, window: number): Float64Array {
  const means = rollingMean(values, window);
  const squares = rollingMean(
    values.map((value) => value * value),
    window,
  );
  return squares.map((square, row) => {
    const variance = square - means[row]! ** 2;
    // The difference of two large numbers has lost its digits below this.
    return variance < 1e-11 * square ? 0 : Math.sqrt(variance);
  });
}

/** Least or greatest of the last `window` values, by a queue that holds candidates only. */
function rollingExtreme(values: Float64Array, window: number, sign: 1 | -1): Float64Array {
  const queue = new Int32Array(values.length);
  let head = 0;
  let tail = 0;
  return values.map((value, row) => {
    while (tail > head && sign * (values[queue[tail - 1]!]! - value) <= 0) tail--;
    queue[tail++] = row;
    if (queue[head]! <= row - window) head++;
    return row + 1 < window ? Number.NaN : values[queue[head]!]!;
  });
}
export const rollingMax = (values: Float64Array, window: number) =>
  rollingExtreme(values, window, 1);
export const rollingMin = (values: Float64Array, window: number) =>
  rollingExtreme(values, window, -1);

/** The value less its rolling mean, in rolling deviations; NaN where nothing moved. */
export function rollingScore(values: Float64Array, window: number): Float64Array {
  const means = rollingMean(values, window);
  const deviations = rollingDeviation(values, window);
  return values.map((value, row) => ratio(value - means[row]!, deviations[row]!));
}

export const ratio = (a: number, b: number): number => (b > 0 ? a / b : Number.NaN);
