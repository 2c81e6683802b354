/**
 * The little statistics that error analysis stands on: every check turns its effect into a z value
 * (effect over its standard error), corrected for the number of things it looked at, so that on
 * data without the flaw a strength of 2 is as rare as a normal variable above 2.
 */

/**
 * Upper tail of the standard normal, P(Z > z): Abramowitz and Stegun 26.2.17 for |z| < 6 (absolute
 * error below 7.5e-8) and the asymptotic series beyond, where the former has no digits left.
 */
export function normalTail(z: number): number {
  if (z < 0) return 1 - normalTail(-z);
  const density = Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);
  if (z >= 5) return (density / z) * (1 - 1 / (z * z) + 3 / (z * z * z * z));
  const t = 1 / (1 + 0.2316419 * z);
  const series =
    0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429)));
  return density * t * series;
}

/** z with P(Z > z) = p, by bisection on `normalTail`; within -38..38. */
export function normalQuantile(p: number): number {
  let low = -38;
  let high = 38;
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (normalTail(middle) > p) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/**
 * The z value that is as surprising as the largest of `looks` independent ones being `z`
 * (Bonferroni). Far tails are corrected by sqrt(z^2 - 2 ln looks), which needs no tiny numbers.
 */
export function correctedZ(z: number, looks: number): number {
  if (looks <= 1) return z;
  if (z > 8) return Math.sqrt(Math.max(0, z * z - 2 * Math.log(looks)));
  const p = normalTail(z) * looks;
  return p >= 0.5 ? 0 : normalQuantile(p);
}

/** A two-sided z as a one-sided one: as surprising as |z| on either side. */
export const twoSided = (z: number): number => correctedZ(Math.abs(z), 2);

/** Chi-squared as z (Wilson and Hilferty 1931): its cube root is nearly normal. */
export function chiSquareZ(chiSquare: number, degrees: number): number {
  if (degrees <= 0) return 0;
  const spread = 2 / (9 * degrees);
  return (Math.cbrt(chiSquare / degrees) - (1 - spread)) / Math.sqrt(spread);
}

export interface Effect {
  readonly difference: number;
  readonly standard_error: number;
  /** difference / standard_error; 0 where nothing differs. */
  readonly z: number;
}

export const effect = (difference: number, variance: number): Effect => {
  const standardError = Math.sqrt(Math.max(variance, 0));
  return {
    difference,
    standard_error: standardError,
    z: standardError > 0 ? difference / standardError : 0,
  };
};

/**
 * Sum of w[i] * d[i] with its standard error, rows drawn within strata (classes): what a weighted
 * score such as balanced accuracy gains by per-row differences d, analytically and without a
 * bootstrap. Rows that differ are few, so the variance gets one pseudo-row a stratum: five
 * discordant rows of one sign are not infinitely sure.
 */
export function pairedEffect(
  d: ArrayLike<number>,
  weight: ArrayLike<number>,
  stratum: ArrayLike<number>,
  strata: number,
): Effect {
  const rows = new Float64Array(strata);
  const sum = new Float64Array(strata);
  const squares = new Float64Array(strata);
  const largest = new Float64Array(strata);
  for (let i = 0; i < d.length; i++) {
    const s = stratum[i]!;
    const value = d[i]! * weight[i]!;
    rows[s]!++;
    sum[s]! += value;
    squares[s]! += value * value;
    largest[s] = Math.max(largest[s]!, Math.abs(value));
  }
  let difference = 0;
  let variance = 0;
  for (let s = 0; s < strata; s++) {
    difference += sum[s]!;
    if (rows[s]! < 2) continue;
    variance += squares[s]! - (sum[s]! * sum[s]!) / rows[s]! + largest[s]! * largest[s]!;
  }
  return effect(difference, variance);
}

/** Solves A x = b for a symmetric positive definite A (row-major, n x n) with a small ridge. */
export function solvePositive(a: Float64Array, b: Float64Array, ridge = 1e-9): Float64Array {
  const n = b.length;
  const l = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = a[i * n + j]!;
      for (let k = 0; k < j; k++) sum -= l[i * n + k]! * l[j * n + k]!;
      if (i === j) {
        l[i * n + i] = Math.sqrt(Math.max(sum, 0) + ridge * (1 + a[i * n + i]!));
      } else {
        l[i * n + j] = sum / l[j * n + j]!;
      }
    }
  }
  const x = Float64Array.from(b);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) x[i]! -= l[i * n + k]! * x[k]!;
    x[i]! /= l[i * n + i]!;
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) x[i]! -= l[k * n + i]! * x[k]!;
    x[i]! /= l[i * n + i]!;
  }
  return x;
}

/**
 * One of `parts` for row i, by a hash of its number: halves for cross-fitting that follow neither
 * the order of the file nor the folds.
 */
export function partOfRow(i: number, parts: number, salt = 0): number {
  let h = (Math.imul(i + 1, 0x9e3779b1) ^ Math.imul(salt + 1, 0x85ebca6b)) >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x7feb352d) >>> 0;
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b) >>> 0;
  return ((h ^ (h >>> 16)) >>> 0) % parts;
}
