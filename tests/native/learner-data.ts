/** Made-up tables for the learners' tests, from a seed. */
import { seededRandom } from "../../src/core/random.ts";
import type { FitOptions, LearnerMatrix, LearnerName } from "../../src/native/learner-types.ts";

export interface Sample {
  readonly matrix: LearnerMatrix;
  readonly target: Float32Array;
}

/**
 * Four columns: two numbers with a ring (or rings) inside, a number with holes whose absence tells
 * of the class, a category of 9 levels of which three turn the answer. `classes` 1: a value.
 */
export function rings(rows: number, classes: number, seed: number): Sample {
  const random = seededRandom(seed);
  const values = new Float32Array(rows * 4);
  const target = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    const [x, y] = [random.next() * 2 - 1, random.next() * 2 - 1];
    const level = random.below(9);
    const hole = random.next() < 0.25;
    values[row] = x;
    values[rows + row] = y;
    values[2 * rows + row] = hole ? Number.NaN : random.next();
    values[3 * rows + row] = random.next() < 0.05 ? Number.NaN : level;
    const size = x * x + y * y + (hole ? 0.5 : 0) + ([1, 5, 6].includes(level) ? 0.7 : 0);
    target[row] = classes === 1 ? size : Math.min(classes - 1, Math.floor((size * classes) / 2));
  }
  return { matrix: { rows, columns: 4, values, levels: Int32Array.from([0, 0, 0, 9]) }, target };
}

export function fitOptions(
  learner: LearnerName,
  classes: number,
  target: Float32Array,
  more: Partial<FitOptions> = {},
): FitOptions {
  const objective = classes === 1 ? "regression" : "classification";
  const common = { weight: null, rows: null, params: {}, seed: 1, threads: 1 };
  return { learner, objective, classes, target, ...common, ...more };
}

/** Share of rows whose largest output is their class's. */
export function accuracy(p: Float32Array, target: Float32Array, classes: number): number {
  let right = 0;
  for (let row = 0; row < target.length; row++) {
    const of = p.subarray(row * classes, (row + 1) * classes);
    if (of.indexOf(Math.max(...of)) === target[row]) right++;
  }
  return right / target.length;
}

/** 1 - squared error / variance. */
export function explained(p: Float32Array, target: Float32Array): number {
  const mean = target.reduce((a, b) => a + b, 0) / target.length;
  let error = 0;
  let variance = 0;
  for (let row = 0; row < target.length; row++) {
    error += (p[row]! - target[row]!) ** 2;
    variance += (target[row]! - mean) ** 2;
  }
  return 1 - error / variance;
}
