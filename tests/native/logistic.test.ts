/** Linear models with an elastic net: the minimum's conditions, known answers, odd tables. */
import { expect, test } from "bun:test";
import { seededRandom } from "../../src/core/random.ts";
import type { LearnerMatrix } from "../../src/native/learner-types.ts";
import { binData, fit, loadLearner } from "../../src/native/learners.ts";
import { accuracy, explained, fitOptions, rings } from "./learner-data.ts";

const numbers = (columns: Float32Array[]): LearnerMatrix => ({
  rows: columns[0]!.length,
  columns: columns.length,
  values: Float32Array.from(columns.flatMap((column) => [...column])),
  levels: new Int32Array(columns.length),
});

/** Columns of mean 0 and spread 1, so that what is standardised inside is what is seen here. */
function standardColumns(rows: number, columns: number, seed: number): Float32Array[] {
  const random = seededRandom(seed);
  return Array.from({ length: columns }, () => {
    const raw = Float64Array.from({ length: rows }, () => random.next() - 0.5);
    const mean = raw.reduce((a, b) => a + b, 0) / rows;
    const spread = Math.sqrt(raw.reduce((a, b) => a + (b - mean) ** 2, 0) / rows);
    return Float32Array.from(raw, (x) => (x - mean) / spread);
  });
}

/** The scores' coefficients, read off predictions: score(e_j) - score(0). */
async function coefficients(
  model: Awaited<ReturnType<typeof fit>>,
  columns: number,
  score: (p: Float32Array) => number,
): Promise<{ slopes: number[]; intercept: number }> {
  const probes = Array.from({ length: columns }, (_, c) =>
    Float32Array.from({ length: columns + 1 }, (_, row) => (row === c + 1 ? 1 : 0)),
  );
  const p = await model.predict(numbers(probes), null);
  const outputs = p.length / (columns + 1);
  const at = (row: number) => score(p.subarray(row * outputs, (row + 1) * outputs));
  const slopes = Array.from({ length: columns }, (_, c) => at(c + 1) - at(0));
  return { slopes, intercept: at(0) };
}

for (const l1_ratio of [0, 0.5, 1]) {
  test(`two classes: the gradient balances the penalty (l1_ratio ${l1_ratio})`, async () => {
    const [rows, columns, c] = [700, 8, 0.05];
    const x = standardColumns(rows, columns, 1);
    const random = seededRandom(2);
    const target = Float32Array.from({ length: rows }, (_, i) =>
      x[0]![i]! - 0.5 * x[1]![i]! + 0.4 + (random.next() - 0.5) * 4 > 0 ? 1 : 0,
    );
    const weight = Float32Array.from(target, (y) => (y === 1 ? 2 : 1));
    const data = await binData(numbers(x));
    const params = { c, l1_ratio, tolerance: 1e-7, iterations: 2000 };
    const model = await fit(data, fitOptions("logistic", 2, target, { params, weight }));
    const logit = (p: Float32Array) => Math.log(p[1]! / p[0]!);
    const { slopes, intercept } = await coefficients(model, columns, logit);
    const total = weight.reduce((a, b) => a + b, 0);
    const gradient = (column: (i: number) => number) => {
      let sum = 0;
      for (let i = 0; i < rows; i++) {
        const z = slopes.reduce((a, b, j) => a + b * x[j]![i]!, intercept);
        sum += weight[i]! * (1 / (1 + Math.exp(-z)) - target[i]!) * column(i);
      }
      return sum / total;
    };
    const penalty = 1 / (c * rows);
    expect(Math.abs(gradient(() => 1))).toBeLessThan(2e-5);
    let zeros = 0;
    for (const [j, b] of slopes.entries()) {
      const g = gradient((i) => x[j]![i]!) + penalty * (1 - l1_ratio) * b;
      if (Math.abs(b) > 1e-5) {
        expect(Math.abs(g + penalty * l1_ratio * Math.sign(b))).toBeLessThan(3e-5);
      } else {
        zeros++;
        expect(Math.abs(g)).toBeLessThan(penalty * l1_ratio + 3e-5);
      }
    }
    expect(zeros > 0).toBe(l1_ratio > 0);
  });
}

test("values without much penalty: least squares", async () => {
  const x = standardColumns(300, 3, 3);
  const target = Float32Array.from(x[0]!, (a, i) => 7 + 3 * a - 2 * x[2]![i]!);
  const data = await binData(numbers(x));
  const params = { c: 1e6, tolerance: 1e-8 };
  const model = await fit(data, fitOptions("logistic", 1, target, { params }));
  const { slopes, intercept } = await coefficients(model, 3, (p) => p[0]!);
  expect(intercept).toBeCloseTo(7, 3);
  for (const [j, wanted] of [3, 0, -2].entries()) expect(slopes[j]!).toBeCloseTo(wanted, 3);
});

test("classes' shares without features; softmax of many classes sums to 1", async () => {
  const rows = 90;
  const constant = numbers([new Float32Array(rows).fill(2)]);
  const data = await binData(constant);
  const target = Float32Array.from({ length: rows }, (_, i) => [0, 0, 0, 1, 1, 2][i % 6]!);
  const model = await fit(data, fitOptions("logistic", 3, target));
  const p = await model.predict(constant, Uint32Array.of(4));
  for (const [k, share] of [1 / 2, 1 / 3, 1 / 6].entries()) expect(p[k]!).toBeCloseTo(share, 3);
  expect([...model.importance()]).toEqual([0]);
});

test("levels, holes and numbers of any scale are used", async () => {
  for (const classes of [2, 4, 1]) {
    const train = rings(3000, classes, 5);
    const fresh = rings(1500, classes, 6);
    const data = await binData(train.matrix);
    const model = await fit(data, fitOptions("logistic", classes, train.target));
    const p = await model.predict(fresh.matrix, null);
    // The rings themselves are out of a linear model's reach, levels and holes are not.
    const score = classes === 1 ? explained(p, fresh.target) : accuracy(p, fresh.target, classes);
    expect(score).toBeGreaterThan({ 1: 0.4, 2: 0.68, 4: 0.4 }[classes]!);
    const share = model.importance();
    expect(share.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 9);
    expect(share[3]!).toBeGreaterThan(share[0]!);
    const again = loadLearner(model.save());
    expect(await again.predict(fresh.matrix, null)).toEqual(p);
    // The same table in other units.
    const values = train.matrix.values.map((v, i) => (i < 6000 ? v * 1e6 + 3e6 : v));
    const scaled = await binData({ ...train.matrix, values });
    const other = await fit(scaled, fitOptions("logistic", classes, train.target));
    const q = await other.predict(scaled, null);
    const expected = await model.predict(data, null);
    for (let i = 0; i < q.length; i += 37) expect(q[i]!).toBeCloseTo(expected[i]!, 2);
  }
});

test("threads change no bit; one class, and values apart by a constant, end well", async () => {
  const { matrix, target } = rings(9000, 3, 7);
  const data = await binData(matrix);
  const saved = async (threads: number) =>
    (await fit(data, fitOptions("logistic", 3, target, { threads }))).save();
  const expected = await saved(1);
  for (const threads of [2, 3, 8]) expect(await saved(threads)).toEqual(expected);
  const one = await fit(data, fitOptions("logistic", 2, new Float32Array(9000)));
  const p = await one.predict(matrix, Uint32Array.of(0, 1));
  for (const row of [0, 1]) expect(p[2 * row]!).toBeGreaterThan(0.99);
  const flat = await fit(data, fitOptions("logistic", 1, new Float32Array(9000).fill(3.5)));
  expect((await flat.predict(matrix, Uint32Array.of(0)))[0]!).toBeCloseTo(3.5, 5);
});
