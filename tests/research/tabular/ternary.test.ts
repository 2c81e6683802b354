/**
 * The small ternary transformer over rows: it learns a planted rule, gives the same bits for any
 * number of threads, comes back from its saved form, finds nothing in shuffled labels.
 */
import { expect, test } from "bun:test";
import { seededRandom } from "../../../src/core/random.ts";
import * as learners from "../../../src/native/learners.ts";
import { loadModel } from "../../../src/research/tabular/final-model.ts";
import { predictRows } from "../../../src/research/tabular/predict.ts";
import { fitTernary } from "../../../src/research/tabular/ternary/fit.ts";
import { loadTernary } from "../../../src/research/tabular/ternary/model.ts";
import { sampleDomain, sampleTable, specOf } from "./sample.ts";

const ROWS = 300;
const PARAMS = {
  ...{ width: 16, layers: 1, bins: 6, sequences: 1600, batch: 32 },
  ...{ learning_rate: 6e-3, weight_decay: 0.05, odds_weight: 0 },
};

/** Label: the first column is above 0.5, or the category is 2; some values are missing. */
function planted(shuffled = false) {
  const random = seededRandom(7);
  const values = new Float32Array(3 * ROWS).map(() => random.next());
  for (let i = 0; i < ROWS; i++) values[2 * ROWS + i] = random.below(3);
  const label = new Int32Array(ROWS).map((_, i) =>
    shuffled ? random.below(2) : Number(values[i]! > 0.6 || values[2 * ROWS + i] === 2),
  );
  for (let i = 0; i < ROWS; i += 17) values[ROWS + i] = Number.NaN;
  return { matrix: { rows: ROWS, columns: 3, values, levels: Int32Array.of(0, 0, 3) }, label };
}

const TRAIN = Uint32Array.from({ length: 200 }, (_, i) => i);
const TEST = Uint32Array.from({ length: 100 }, (_, i) => 200 + i);

const fit = (data: ReturnType<typeof planted>, change: object = {}) =>
  fitTernary({
    ...{ ...data, classes: 2, weight: null, rows: TRAIN, params: PARAMS, seed: 3, threads: 1 },
    ...change,
  });

function hitRate(p: Float32Array, rows: Uint32Array, label: Int32Array): number {
  const right = Array.from(rows).filter((row, i) => Number(p[2 * i + 1]! > 0.5) === label[row]);
  return right.length / rows.length;
}

test("a planted rule is learnt, with the same bits for any threads, and survives saving", async () => {
  const data = planted();
  const model = await fit(data);
  const p = await model.predict(data.matrix, TEST, { threads: 1 });
  expect(hitRate(p, TEST, data.label)).toBeGreaterThan(0.85);
  for (let i = 0; i < p.length; i += 2) expect(p[i]! + p[i + 1]!).toBeCloseTo(1, 5);
  const again = await fit(data, { threads: 2 });
  expect(again.params).toEqual(model.params);
  expect(await again.predict(data.matrix, TEST, { threads: 2 })).toEqual(p);
  const other = await fit(data, { seed: 4 });
  expect(other.params).not.toEqual(model.params);
  const bytes = model.save();
  const loaded = loadTernary(bytes);
  expect(await loaded.predict(data.matrix, TEST, { threads: 1 })).toEqual(p);
  for (const broken of [bytes.subarray(0, 30), bytes.subarray(0, bytes.length - 4)])
    expect(() => loadTernary(broken)).toThrow("not a saved ternary_transformer");
}, 60_000);

test("shuffled labels stay at chance; weights move the answers towards a class", async () => {
  const data = planted(true);
  const p = await (await fit(data)).predict(data.matrix, TEST, { threads: 1 });
  expect(Math.abs(hitRate(p, TEST, data.label) - 0.5)).toBeLessThan(0.16); // 3 standard errors
  const weight = Float32Array.from(data.label, (y) => (y === 1 ? 4 : 0.4));
  const weighted = await (await fit(data, { weight })).predict(data.matrix, TEST, { threads: 1 });
  const mean = weighted.reduce((sum, q, i) => sum + (i % 2) * q, 0) / TEST.length;
  expect(mean).toBeGreaterThan(0.75); // ten rows of class 1 to one of class 0
}, 60_000);

test("a row too long for a sequence and too many classes are refused by name", async () => {
  const data = planted();
  const wide = {
    ...{ rows: ROWS, columns: 200, values: new Float32Array(200 * ROWS) },
    levels: new Int32Array(200),
  };
  const error = await fit({ ...data, matrix: wide }).catch((e: Error) => e);
  expect(String(error)).toContain("200 columns");
  const classes = await fit(data, { classes: 100 }).catch((e: Error) => e);
  expect(String(classes)).toContain("64 classes");
});

test("a trial, the final model and its predictions on a table", async () => {
  const domain = sampleDomain({ rows: 240 });
  const configuration = { members: [{ learner: "ternary_transformer", params: PARAMS }] };
  const spec = specOf(domain, configuration);
  const outcome = await domain.evaluate(
    { ...spec, fidelity: domain.fidelities[0]! },
    { threads: 1 },
  );
  expect(outcome.score).toBeGreaterThan(0.6);
  const final = await domain.fitFinal(spec);
  const model = loadModel(final.bytes, learners);
  const table = sampleTable({ rows: 240 });
  const { decided } = await predictRows(model, table, { threads: 1, unknown_levels: "refuse" });
  const label = table.columns.at(-1)!;
  const right = decided.filter((c, row) => label.kind === "category" && c === label.codes[row]);
  expect(right.length / 240).toBeGreaterThan(0.65);
}, 60_000);
