/** Native learners through their binding: bins, fits, predictions, saved models, refusals. */
import { expect, test } from "bun:test";
import { seededRandom } from "../../src/core/random.ts";
import type { FitOptions, LearnerMatrix } from "../../src/native/learner-types.ts";
import {
  binData,
  binsOfColumn,
  fit,
  learnerSettings,
  loadLearner,
} from "../../src/native/learners.ts";
import { rejection } from "./rejection.ts";

const ROWS = 600;

/** Two number columns with a ring inside, a noise column with holes, a category of 12 levels. */
function ring(seed: number): { matrix: LearnerMatrix; target: Float32Array } {
  const random = seededRandom(seed);
  const values = new Float32Array(ROWS * 4);
  const target = new Float32Array(ROWS);
  for (let row = 0; row < ROWS; row++) {
    const [x, y] = [random.next() * 2 - 1, random.next() * 2 - 1];
    const level = random.below(12);
    values[row] = x;
    values[ROWS + row] = y;
    values[2 * ROWS + row] = random.next() < 0.3 ? Number.NaN : random.next();
    values[3 * ROWS + row] = level;
    target[row] = x * x + y * y < 0.6 !== [1, 5, 6].includes(level) ? 1 : 0;
  }
  const levels = Int32Array.from([0, 0, 0, 12]);
  return { matrix: { rows: ROWS, columns: 4, values, levels }, target };
}

const options = (target: Float32Array, more: Partial<FitOptions> = {}): FitOptions => ({
  learner: "boosting",
  objective: "classification",
  classes: 2,
  target,
  weight: null,
  rows: null,
  params: {},
  seed: 1,
  threads: 1,
  ...more,
});

test("boosting finds a ring and a set of categories", async () => {
  const { matrix, target } = ring(1);
  const data = await binData(matrix);
  const model = await fit(data, options(target));
  const fresh = ring(2);
  const p = await model.predict(fresh.matrix, null);
  const right = fresh.target.filter((y, i) => (p[2 * i + 1]! > 0.5 ? 1 : 0) === y).length;
  expect(right / ROWS).toBeGreaterThan(0.9);
  const share = model.importance();
  expect(share.reduce((a, b) => a + b)).toBeCloseTo(1, 12);
  expect(share[2]!).toBeLessThan(share[0]!);
  expect(model.trees).toBe(100);
});

test("a saved model predicts the same; binned and raw data agree", async () => {
  const { matrix, target } = ring(3);
  const data = await binData(matrix);
  const model = await fit(data, options(target, { params: { trees: 20 } }));
  const again = loadLearner(model.save());
  const expected = await model.predict(data, null);
  expect(await again.predict(matrix, null)).toEqual(expected);
  expect(await again.predict(data, null)).toEqual(expected);
  expect(again.save()).toEqual(model.save());
});

test("bins ascend with the value, and missing values have their own", async () => {
  const { matrix } = ring(4);
  const data = await binData(matrix, { bins_max: 16 });
  const { bins, missing } = binsOfColumn(data, 2);
  const values = matrix.values.subarray(2 * ROWS, 3 * ROWS);
  const rows = [...values.keys()];
  for (const row of rows) if (Number.isNaN(values[row]!)) expect(bins[row]!).toBe(missing);
  const order = rows.filter((row) => !Number.isNaN(values[row]!));
  order.sort((a, b) => values[a]! - values[b]!);
  for (const [i, row] of order.entries())
    expect(bins[row]!).toBeGreaterThanOrEqual(bins[order[Math.max(0, i - 1)]!]!);
  expect(missing).toBe(16);
});

test("bad settings and data are refused with what is allowed", async () => {
  const { matrix, target } = ring(5);
  const data = await binData(matrix);
  const refused = (more: Partial<FitOptions>) => rejection(fit(data, options(target, more)));
  expect(await refused({ params: { tree: 5 } })).toMatchObject({ code: "BAD_SETTING" });
  expect(await refused({ params: { trees: 1.5 } })).toMatchObject({ code: "BAD_SETTING" });
  expect(await refused({ target: target.subarray(1) })).toMatchObject({ code: "BAD_LEARNER_DATA" });
  expect(learnerSettings("boosting").map((s) => s.name)).toContain("learning_rate");
  expect(() => loadLearner(new Uint8Array(100))).toThrow("not a saved model");
});
