/** Boosting against a plain reference, and at the edges: stopping, sampling, odd data. */
import { expect, test } from "bun:test";
import { seededRandom } from "../../src/core/random.ts";
import type { FitOptions, LearnerMatrix } from "../../src/native/learner-types.ts";
import { binData, binsOfColumn, fit } from "../../src/native/learners.ts";
import { referenceScores } from "./boosting-reference.ts";
import { accuracy, explained, fitOptions, rings } from "./learner-data.ts";
import { rejection } from "./rejection.ts";

const options = (classes: number, target: Float32Array, more: Partial<FitOptions> = {}) =>
  fitOptions("boosting", classes, target, more);

/** Numbers with few and many values and holes; the target depends on two of them. */
function numbers(rows: number, isClass: boolean, seed: number) {
  const random = seededRandom(seed);
  const columns = 4;
  const values = new Float32Array(rows * columns);
  const target = new Float32Array(rows);
  const weight = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    const [a, b] = [random.next(), random.below(5)];
    const hole = random.next() < 0.2;
    values[row] = a;
    values[rows + row] = b;
    values[2 * rows + row] = hole ? Number.NaN : random.next();
    values[3 * rows + row] = random.next();
    const z = Math.sin(a * 6) + (b > 2 ? 0.7 : 0) + (hole ? 0.9 : 0) + random.next() - 1;
    target[row] = isClass ? (z > 0.4 ? 1 : 0) : z;
    weight[row] = 0.25 + random.next();
  }
  const matrix: LearnerMatrix = { rows, columns, values, levels: new Int32Array(columns) };
  return { matrix, target, weight };
}

for (const isClass of [true, false])
  for (const [name, more] of [
    ["plain", {}],
    ["penalties", { l1: 0.7, l2: 3, min_child_weight: 4 }],
    ["leaves of 17 rows", { min_samples_leaf: 17 }],
  ] as const)
    test(`${isClass ? "classes" : "values"}, ${name}: the trees of the plain reference`, async () => {
      const { matrix, target, weight } = numbers(160, isClass, 11);
      const data = await binData(matrix, { bins_max: 32 });
      const rules = { trees: 4, learning_rate: 0.3, max_depth: 3, min_samples_leaf: 1 };
      const settings = { ...rules, ...more };
      const model = await fit(data, options(isClass ? 2 : 1, target, { weight, params: settings }));
      const p = await model.predict(data, null);
      const columns = [0, 1, 2, 3].map((column) => binsOfColumn(data, column));
      const defaults = { l1: 0, l2: 1, min_child_weight: 1 };
      const scores = referenceScores(
        { columns, target, weight, isClass },
        { ...defaults, ...settings },
      );
      for (const [row, score] of scores.entries()) {
        const expected = isClass ? 1 / (1 + Math.exp(-score)) : score;
        expect(Math.abs(p[isClass ? 2 * row + 1 : row]! - expected)).toBeLessThan(2e-4);
      }
    });

test("classes and values of rings with categories and holes are learned", async () => {
  for (const classes of [2, 3, 1]) {
    const { matrix, target } = rings(1500, classes, 21);
    const fresh = rings(1500, classes, 22);
    const model = await fit(await binData(matrix), options(classes, target));
    const p = await model.predict(fresh.matrix, null);
    if (classes === 1) expect(explained(p, fresh.target)).toBeGreaterThan(0.95);
    else expect(accuracy(p, fresh.target, classes)).toBeGreaterThan(0.9);
    if (classes > 1)
      for (let row = 0; row < 1500; row++) {
        const total = p.subarray(row * classes, (row + 1) * classes).reduce((a, b) => a + b, 0);
        expect(Math.abs(total - 1)).toBeLessThan(1e-5);
      }
  }
});

test("a weight of 2 is a row twice, a weight of 0 is no row", async () => {
  const { matrix, target } = numbers(300, true, 31);
  const data = await binData(matrix);
  const weight = Float32Array.from({ length: 300 }, (_, row) => row % 3);
  const rows = Uint32Array.from(
    [...weight.keys()].flatMap((row) => Array.from({ length: weight[row]! }, () => row)),
  );
  const params = { trees: 10, min_samples_leaf: 1 };
  const weighted = await fit(data, options(2, target, { weight, params }));
  const repeated = await fit(data, options(2, target, { rows, params }));
  const [a, b] = [await weighted.predict(data, null), await repeated.predict(data, null)];
  for (const [i, p] of a.entries()) expect(Math.abs(p - b[i]!)).toBeLessThan(1e-3);
});

test("early stopping keeps the best round on rows that are not fitted on", async () => {
  const { matrix, target } = rings(900, 2, 41);
  const random = seededRandom(1);
  for (let row = 0; row < 900; row++) if (random.next() < 0.25) target[row] = 1 - target[row]!;
  const data = await binData(matrix);
  const rows = Uint32Array.from({ length: 600 }, (_, i) => i);
  const stop_rows = Uint32Array.from({ length: 300 }, (_, i) => 600 + i);
  const params = { trees: 400, early_stopping_rounds: 10 };
  const model = await fit(data, options(2, target, { rows, stop_rows, params }));
  expect(model.trees).toBeLessThan(300);
  const again = await fit(data, options(2, target, { rows, params: { trees: model.trees } }));
  expect(again.save()).toEqual(model.save());
  const loss = async (trees: number) => {
    const one = await fit(data, options(2, target, { rows, params: { trees } }));
    const p = await one.predict(data, stop_rows);
    return stop_rows.reduce((sum, row, i) => sum - Math.log(p[2 * i + target[row]!]!), 0);
  };
  const best = await loss(model.trees);
  expect(best).toBeLessThan(await loss(model.trees + 10));
  expect(best).toBeLessThan(await loss(Math.max(1, model.trees - 10)));
});

test("limits of depth and leaves hold, and settle the size of a tree", async () => {
  const { matrix, target } = rings(800, 2, 51);
  const data = await binData(matrix);
  // One tree without shrinkage has as many outputs as leaves at most.
  const outputs = async (params: Record<string, number>) => {
    const all = { trees: 1, learning_rate: 1, min_child_weight: 0, ...params };
    const model = await fit(data, options(2, target, { params: all }));
    const p = await model.predict(data, null);
    return new Set(p.filter((_, i) => i % 2 === 1)).size;
  };
  expect(await outputs({ max_depth: 1 })).toBe(2);
  expect(await outputs({ max_depth: 0, max_leaves: 7 })).toBeLessThanOrEqual(7);
  expect(await outputs({ max_depth: 0, max_leaves: 7 })).toBeGreaterThan(4);
  expect(await outputs({ max_depth: 3 })).toBeLessThanOrEqual(8);
  expect(await outputs({ max_leaves: 1 })).toBe(1);
  expect(await outputs({ min_gain: 1e9 })).toBe(1);
});

test("odd columns: constant, all missing, infinite, one row's own, more levels than bins", async () => {
  const rows = 400;
  const random = seededRandom(61);
  const columns: ((row: number) => number)[] = [
    () => 3,
    () => Number.NaN,
    (row) => (row % 4 === 0 ? Number.POSITIVE_INFINITY : row % 4 === 1 ? -Infinity : row % 4),
    (row) => row,
    () => random.below(390),
    () => -0,
  ];
  const values = Float32Array.from(
    columns.flatMap((f) => Array.from({ length: rows }, (_, i) => f(i))),
  );
  const levels = Int32Array.from([0, 0, 0, 0, 390, 0]);
  const target = Float32Array.from({ length: rows }, (_, row) => (row % 4 === 0 ? 1 : 0));
  const matrix = { rows, columns: 6, values, levels };
  const data = await binData(matrix);
  const model = await fit(data, options(2, target));
  const p = await model.predict(matrix, null);
  expect(accuracy(p, target, 2)).toBe(1);
  const share = model.importance();
  expect(share[2]!).toBeGreaterThan(0.95);
  expect([share[0], share[1], share[5]]).toEqual([0, 0, 0]);
});

test("a category of many rare levels that tell nothing does not mislead", async () => {
  const [rows, noise_levels] = [1200, 120];
  const random = seededRandom(111);
  const table = () => {
    const values = new Float32Array(rows * 2);
    const target = new Float32Array(rows);
    for (let row = 0; row < rows; row++) {
      values[row] = random.next();
      values[rows + row] = random.below(noise_levels);
      target[row] = random.next() < (values[row]! > 0.5 ? 0.7 : 0.3) ? 1 : 0;
    }
    return { matrix: { rows, columns: 2, values, levels: Int32Array.of(0, noise_levels) }, target };
  };
  const [old, fresh] = [table(), table()];
  const data = await binData(old.matrix);
  const right = async (params: Record<string, number>) => {
    const model = await fit(data, options(2, old.target, { params: { trees: 40, ...params } }));
    return accuracy(await model.predict(fresh.matrix, null), fresh.target, 2);
  };
  expect(await right({})).toBeGreaterThan(await right({ category_rows_min: 0 }));
});

test("one class only, or no row of any weight", async () => {
  const { matrix, target } = rings(100, 2, 71);
  const data = await binData(matrix);
  const model = await fit(data, options(2, new Float32Array(100)));
  for (const [i, p] of (await model.predict(data, null)).entries())
    expect(i % 2 === 0 ? p > 0.999 : p < 0.001).toBe(true);
  const weight = new Float32Array(100);
  expect(await rejection(fit(data, options(2, target, { weight })))).toMatchObject({
    code: "NATIVE_INVALID",
  });
  weight[3] = Number.NaN;
  expect(await rejection(fit(data, options(2, target, { weight })))).toMatchObject({
    code: "NOT_A_NUMBER",
  });
});

test("samples of rows and columns follow the seed", async () => {
  const { matrix, target } = rings(700, 2, 81);
  const data = await binData(matrix);
  const params = { trees: 30, row_share: 0.5, column_share: 0.5 };
  const saved = async (seed: number) =>
    (await fit(data, options(2, target, { params, seed }))).save();
  expect(await saved(1)).toEqual(await saved(1));
  expect(await saved(1)).not.toEqual(await saved(2));
  const model = await fit(data, options(2, target, { params }));
  expect(accuracy(await model.predict(data, null), target, 2)).toBeGreaterThan(0.9);
});

test("an aborted fit ends soon with CANCELLED", async () => {
  const { matrix, target } = rings(3000, 2, 91);
  const data = await binData(matrix);
  const signal = AbortSignal.abort();
  expect(await rejection(fit(data, options(2, target, { signal })))).toMatchObject({
    code: "CANCELLED",
  });
});

test("very many rows: gradients of few bits are rounded without a direction", async () => {
  const rows = 600_000;
  const random = seededRandom(101);
  const values = new Float32Array(rows);
  const target = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    const x = (row * 7919) % 64;
    values[row] = x;
    // Rare large values set the scale: what others lose by rounding must not add up.
    target[row] = row % 50_000 === 0 ? 1000 : 1 + x / 64 + (random.next() - 0.5) * 0.1;
  }
  const matrix = { rows, columns: 1, values, levels: new Int32Array(1) };
  const data = await binData(matrix);
  const params = { trees: 20, learning_rate: 0.5, max_depth: 6 };
  const p = await (await fit(data, options(1, target, { params }))).predict(data, null);
  const sums = new Float64Array(64);
  const counts = new Float64Array(64);
  for (let row = 0; row < rows; row++) {
    sums[values[row]!]! += target[row]!;
    counts[values[row]!]!++;
  }
  for (let x = 0; x < 64; x++) {
    const row = values.indexOf(x);
    expect(Math.abs(p[row]! - sums[x]! / counts[x]!)).toBeLessThan(0.02);
  }
}, 30_000);
