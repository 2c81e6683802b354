/** Extra trees and random forests: what they learn, and that nothing but data and seed decides. */
import { expect, test } from "bun:test";
import type { LearnerName } from "../../src/native/learner-types.ts";
import { binData, fit, loadLearner } from "../../src/native/learners.ts";
import { accuracy, explained, fitOptions, rings } from "./learner-data.ts";

const TREES: LearnerName[] = ["extra_trees", "forest"];

for (const learner of TREES) {
  for (const [classes, wanted] of [
    [2, 0.9],
    [4, 0.7],
    [1, 0.8],
  ] as const) {
    test(`${learner} learns rings, holes and levels (${classes} outputs)`, async () => {
      const train = rings(2000, classes, 1);
      const fresh = rings(1000, classes, 2);
      const data = await binData(train.matrix);
      const model = await fit(data, fitOptions(learner, classes, train.target));
      const p = await model.predict(fresh.matrix, null);
      const score = classes === 1 ? explained(p, fresh.target) : accuracy(p, fresh.target, classes);
      expect(score).toBeGreaterThan(wanted);
      if (classes > 1)
        for (let row = 0; row < 1000; row++) {
          const sum = p.subarray(row * classes, (row + 1) * classes).reduce((a, b) => a + b, 0);
          expect(sum).toBeCloseTo(1, 5);
        }
      expect(model.importance().reduce((a, b) => a + b, 0)).toBeCloseTo(1, 9);
      expect(model.trees).toBe(100);
      const again = loadLearner(model.save());
      expect(await again.predict(fresh.matrix, null)).toEqual(p);
      expect(again.save()).toEqual(model.save());
    });
  }

  test(`${learner}: threads, and rows given apart, change no bit; the seed does`, async () => {
    const { matrix, target } = rings(700, 3, 3);
    const data = await binData(matrix);
    const rows = Uint32Array.from({ length: 500 }, (_, i) => (i * 7) % 700);
    const weight = Float32Array.from({ length: 700 }, (_, i) => (i % 5) / 2);
    const saved = async (threads: number, seed: number) => {
      const more = { rows, weight, threads, seed, params: { trees: 12 } };
      return (await fit(data, fitOptions(learner, 3, target, more))).save();
    };
    const expected = await saved(1, 5);
    for (const threads of [2, 3, 8]) expect(await saved(threads, 5)).toEqual(expected);
    expect(await saved(1, 6)).not.toEqual(expected);
  });

  test(`${learner}: a row of weight 0 is not there; weights of 2 are copies`, async () => {
    const { matrix, target } = rings(400, 2, 4);
    const data = await binData(matrix);
    const params = {
      trees: 1,
      bootstrap: 0,
      max_features: 1,
      max_depth: learner === "forest" ? 6 : 1,
    };
    const weight = Float32Array.from({ length: 400 }, (_, i) => (i < 300 ? 1 + (i % 2) : 0));
    const rows = Uint32Array.from({ length: 300 }, (_, i) => i);
    const outputs = async (more: object) => {
      const model = await fit(data, fitOptions(learner, 2, target, { params, ...more }));
      return model.predict(data, null);
    };
    const left_out = await outputs({ weight });
    expect(left_out).toEqual(await outputs({ weight, rows }));
    // A forest without bootstrap is a function of the weighted table: copies weigh like weights.
    if (learner !== "forest") return;
    const copies = [...rows].flatMap((row) => (weight[row] === 2 ? [row, row] : [row]));
    const copied = await outputs({ rows: Uint32Array.from(copies) });
    for (let i = 0; i < copied.length; i++) expect(copied[i]!).toBeCloseTo(left_out[i]!, 6);
  });

  test(`${learner}: leaves keep to their least rows, trees to their depth`, async () => {
    const { matrix, target } = rings(600, 2, 5);
    const data = await binData(matrix);
    const distinct = async (params: { [name: string]: number }) => {
      const given = { trees: 1, bootstrap: 0, ...params };
      const model = await fit(data, fitOptions(learner, 2, target, { params: given }));
      const p = await model.predict(data, null);
      const rows = new Map<number, number>();
      for (let row = 0; row < 600; row++) rows.set(p[2 * row]!, (rows.get(p[2 * row]!) ?? 0) + 1);
      return [...rows.values()];
    };
    expect((await distinct({ max_depth: 2 })).length).toBeLessThanOrEqual(4);
    expect((await distinct({ max_depth: 2 })).length).toBeGreaterThan(1);
    for (const count of await distinct({ min_samples_leaf: 40 }))
      expect(count).toBeGreaterThanOrEqual(40);
  });

  test(`${learner}: tables that say little give the classes' shares`, async () => {
    const rows = 50;
    const target = Float32Array.from({ length: rows }, (_, i) => (i % 5 === 0 ? 1 : 0));
    const constant = new Float32Array(rows).fill(3);
    const missing = new Float32Array(rows).fill(Number.NaN);
    const values = Float32Array.from([...constant, ...missing, ...missing]);
    const matrix = { rows, columns: 3, values, levels: Int32Array.from([0, 0, 4]) };
    const data = await binData(matrix);
    const params = { trees: 5, bootstrap: 0 };
    const model = await fit(data, fitOptions(learner, 2, target, { params }));
    const p = await model.predict(matrix, null);
    for (let row = 0; row < rows; row++) expect(p[2 * row + 1]!).toBeCloseTo(0.2, 6);
    expect([...model.importance()]).toEqual([0, 0, 0]);
    const alone = await fit(data, fitOptions(learner, 3, new Float32Array(rows).fill(2)));
    expect([...(await alone.predict(matrix, Uint32Array.of(7)))]).toEqual([0, 0, 1]);
    const value = await fit(data, fitOptions(learner, 1, new Float32Array(rows).fill(-4.5)));
    expect([...(await value.predict(matrix, Uint32Array.of(7)))]).toEqual([-4.5]);
  });
}

test("a missing value finds the side of its like, be it left or right", async () => {
  for (const low of [0, 1]) {
    const rows = 300;
    // Missing values are of the class of the low ones, or of the high ones.
    const values = Float32Array.from({ length: rows }, (_, i) => (i % 3 === 0 ? Number.NaN : i));
    const target = Float32Array.from(values, (x) =>
      Number.isNaN(x) ? low : x < 150 ? low : 1 - low,
    );
    const matrix = { rows, columns: 1, values, levels: Int32Array.of(0) };
    const data = await binData(matrix);
    for (const learner of TREES) {
      const model = await fit(data, fitOptions(learner, 2, target, { params: { max_depth: 3 } }));
      const p = await model.predict(data, null);
      for (let row = 0; row < rows; row += 3) expect(p[2 * row + low]!).toBeGreaterThan(0.6);
    }
  }
});
