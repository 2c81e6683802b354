/**
 * The series domain on planted histories: an edge that is there is found on the sealed part, none is
 * reported where there is none or where labels are shuffled; windows, folds, models that are saved.
 */
import { expect, test } from "bun:test";
import { seededRandom } from "../../src/core/random.ts";
import * as learners from "../../src/native/learners.ts";
import { dataScaleCurve, widerWindows } from "../../src/research/series/data-scale.ts";
import { SeriesDomain } from "../../src/research/series/domain.ts";
import {
  forecastSeries,
  freeSeriesModel,
  loadSeriesModel,
} from "../../src/research/series/model.ts";
import type { RawSeries } from "../../src/research/series/raw.ts";
import { toSeriesData } from "../../src/research/series/series-data.ts";
import { tradeFigures } from "../../src/research/series/trading.ts";
import { seriesFolds } from "../../src/research/series/walk.ts";
import type { Table } from "../../src/research/table/types.ts";
import { rowsOfRules } from "../../src/research/tabular/evaluate.ts";
import { parseTask } from "../../src/research/task/load.ts";
import { TASK_SCHEMA } from "../../src/research/task/schema.ts";
import type { Configuration, Trial } from "../../src/research/types.ts";
import { failure } from "./planted.ts";

const HORIZON = 4;
/** Prices that are drawn back to a slow mean by `pull` of the distance; 0 = a random walk. */
function history(rows: number, pull: number, seed: number): RawSeries {
  const random = seededRandom(seed);
  let distance = 0;
  const price = Float64Array.from({ length: rows }, () => {
    distance += 0.004 * (random.next() - 0.5) - pull * distance;
    return 100 * (1 + distance);
  });
  const time = price.map((_, i) => 1e12 + i * 1_800_000);
  return { time, clock: true, price, volume: null, more: [] };
}
const task = (series: object = {}) =>
  parseTask(
    {
      time: "at",
      schema: TASK_SCHEMA,
      name: "planted",
      domain: "series",
      data: "none.csv",
      series: { horizon: HORIZON, ...series },
    },
    "/t.json",
  );
const open = (raw: RawSeries, series: object = {}) => {
  const t = task(series);
  return new SeriesDomain(t, toSeriesData(t, raw), learners);
};
const spec = (domain: SeriesDomain, configuration: unknown) => ({
  task_hash: domain.task_hash,
  configuration: domain.parse(configuration),
  seed: 1,
  fidelity: 1,
});
async function trialOf(domain: SeriesDomain, configuration: unknown, index = 0): Promise<Trial> {
  const place = { version: 0, strategy: "baseline", proposer: "baseline" } as const;
  const own = spec(domain, configuration);
  const outcome = await domain.evaluate(own, { threads: 1 });
  return { index, place, spec: own, state: "done", outcome, error: null };
}
const quick = { learner: "boosting", params: { trees: 20, leaves_max: 8 } };
const linear = { window: 0, members: [{ learner: "logistic" }] };
async function sealed(raw: RawSeries, configuration: unknown = linear) {
  const domain = open(raw);
  try {
    const [model, baseline] = [
      await domain.fitFinal(spec(domain, configuration)),
      await domain.fitFinal(spec(domain, { members: [quick] })),
    ];
    return { opened: await domain.openSealed(model, baseline), model, domain };
  } finally {
    await domain.close();
  }
}

test("a planted pull to the mean is found on the sealed part; a random walk has no edge", async () => {
  const { opened } = await sealed(history(6000, 0.08, 1));
  expect(opened.model.low).toBeGreaterThan(opened.trivial.score);
  expect(opened.model.score).toBeGreaterThan(0.6);
  expect(opened.model.units).toBe(Math.ceil(0.2 * 5996));
  expect(opened.notes.join(" ")).toContain("breaks even");
  for (const seed of [2, 3]) {
    const none = (await sealed(history(6000, 0, seed))).opened;
    expect(none.model.low).toBeLessThan(none.trivial.score);
  }
});

test("shuffled changes of the same history have no edge", async () => {
  const real = history(6000, 0.08, 1).price;
  const moves = Array.from(real.subarray(1), (now, i) => now / real[i]!);
  const random = seededRandom(9);
  for (let i = moves.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [moves[i], moves[j]] = [moves[j]!, moves[i]!];
  }
  let now = 100;
  const price = Float64Array.from([1, ...moves], (move) => {
    now *= move;
    return now;
  });
  const { opened } = await sealed({ ...history(6000, 0, 1), price });
  expect(opened.model.low).toBeLessThan(opened.trivial.score);
});

test("the first window is small and recent; idle rows are a failure that the data scale mends", async () => {
  const domain = open(history(6000, 0.06, 4));
  expect(domain.baseline().window).toBe(500);
  const best = await trialOf(domain, { members: [{ learner: "logistic" }] });
  expect(best.spec.configuration.window).toBe(500);
  const failures = await domain.analyse(best, [best]);
  const idle = failures.find((f) => f.kind === "data_limited")!;
  expect(idle.strength).toBeGreaterThan(2);
  expect(idle.evidence.rows_unused).toBe(domain.rows_max - 500);
  const strategy = domain.strategies.find((s) => s.id === "data_scale")!;
  expect(strategy.targets).toEqual(["data_limited"]);
  const sweep = strategy.sweep({ best, trials: [best], failures })!;
  expect(sweep.first.map((c) => c.window)).toEqual([1600, 0]);
  const trials = [best];
  for (const [i, c] of sweep.first.entries()) trials.push(await trialOf(domain, c, i + 1));
  const curve = dataScaleCurve(trials, best.spec.seed);
  expect(curve.map(({ rows }) => rows)).toEqual([500, 1600, domain.rows_max]);
  expect(curve[2]!.score).toBeGreaterThan(curve[0]!.score);
  // On all rows nothing is idle.
  expect((await domain.analyse(trials[2]!, trials)).some((f) => f.kind === "data_limited")).toBe(
    false,
  );
  expect(strategy.sweep({ best: trials[2]!, trials, failures: [] })).toBeNull();
  await domain.close();
});

test("every strategy keeps the window of the best model", async () => {
  const domain = open(history(3000, 0.02, 5));
  const best = await trialOf(domain, {
    window: 700,
    members: [{ learner: "boosting", params: { trees: 10 } }],
  });
  const state = { best, trials: [best], failures: [] };
  const windows = new Set<unknown>();
  for (const strategy of domain.strategies) {
    if (strategy.id === "data_scale") continue;
    const sweep = strategy.sweep(state);
    for (const c of sweep ? [sweep.base, ...sweep.first] : [])
      windows.add((domain.parse(c) as Configuration).window);
  }
  expect([...windows]).toEqual([700]);
  await domain.close();
});

test("windows widen to all rows in steps; folds end before their block by purge and embargo", () => {
  expect(widerWindows(500, 36_000)).toEqual([1600, 5120, 16384, 0]);
  expect(widerWindows(500, 600)).toEqual([0]);
  expect(widerWindows(500, 500)).toEqual([]);
  for (const { train, validation } of seriesFolds(1000, 100, 8, 1, 1)) {
    expect(train.length).toBe(100);
    expect(validation[0]! - train.at(-1)!).toBe(17);
  }
  const low = seriesFolds(1000, 0, 8, 0.4, 1);
  expect(low.map(({ forward }) => forward)).toEqual(["warm_up", "block", "block"]);
  expect(low.at(-1)!.validation.at(-1)).toBe(999);
});

test("the rules of a block come from rows whose labels end before it", () => {
  const [horizon, folds] = [8, seriesFolds(1000, 0, 8, 1, 1)];
  for (const fold of folds.slice(1)) {
    const rows = rowsOfRules(folds, fold);
    expect(rows.length).toBeGreaterThan(100);
    expect(Math.max(...rows) + horizon).toBeLessThan(fold.validation[0]!);
  }
});

test("seeds move the edges of blocks, never which rows are scored", () => {
  const [one, two] = [1, 2].map((seed) => seriesFolds(1000, 0, 8, 1, seed));
  const scored = (folds: typeof one) =>
    folds!.filter((f) => f.forward === "block").flatMap((f) => [...f.validation]);
  expect(scored(one)).toEqual(Array.from({ length: 600 }, (_, i) => 400 + i));
  expect(scored(two)).toEqual(scored(one));
  const starts = (folds: typeof one) => folds!.map((f) => f.validation[0]);
  expect(starts(one)).not.toEqual(starts(two));
  expect(starts(one)[0]).toBe(280);
  expect(one![0]!.validation.at(-1)).toBe(399);
});

test("the baseline's score differs by seed, and the rules of a block come from older ones", async () => {
  const domain = open(history(3000, 0.02, 12));
  const outcomes = [];
  for (const seed of [1, 2, 3]) {
    const configuration = domain.parse({ members: [quick] });
    const own = { ...spec(domain, configuration), seed };
    outcomes.push(await domain.evaluate(own, { threads: 1 }));
  }
  expect(new Set(outcomes.map(({ score }) => score)).size).toBe(3);
  expect(new Set(outcomes.map(({ outputs }) => outputs.length)).size).toBe(1);
  await domain.close();
  // Only the newest labels change: no decision about older rows may.
  const raw = history(3000, 0.02, 12);
  const decided = async (turned: number) => {
    const t = task();
    const series = toSeriesData(t, raw);
    const label = series.data.label.map((y, row) => (row < turned ? y : 1 - y));
    const own = new SeriesDomain(t, { ...series, data: { ...series.data, label } }, learners);
    const tuned = { window: 0, members: [quick], decision: { rule: "tuned" } };
    const { outcome } = await trialOf(own, tuned);
    await own.close();
    return outcome!.outputs;
  };
  const [before, after] = [await decided(raw.price.length), await decided(1500)];
  // Blocks that end before row 1500; two numbers a class and row.
  const old = 400 * 2 * 2;
  expect(after!.slice(0, old)).toEqual(before!.slice(0, old));
  expect(after).not.toEqual(before);
});

test("a trial is the same bits again, and other windows give other outcomes", async () => {
  const raw = history(2000, 0.05, 6);
  const [one, two] = [open(raw), open(raw)];
  const c = { window: 300, members: [{ learner: "boosting", params: { trees: 20 } }] };
  const a = await trialOf(one, c);
  await trialOf(two, { ...c, window: 0 });
  const b = await trialOf(two, c);
  expect(Buffer.from(a.outcome!.outputs.buffer)).toEqual(Buffer.from(b.outcome!.outputs.buffer));
  expect(a.outcome!.outputs.every(Number.isFinite)).toBe(true); // rows no fold covers are left out
  const wider = await trialOf(one, { ...c, window: 600 });
  expect(wider.outcome!.outputs).not.toEqual(a.outcome!.outputs);
  const d = one.compare(a.outcome!, wider.outcome!, 1);
  expect(d.difference).toBeCloseTo(wider.outcome!.score - a.outcome!.score, 9);
  await one.close();
  await two.close();
});

test("a saved model forecasts a history that is longer by the rows it has not seen", async () => {
  const raw = history(3000, 0.08, 7);
  const { model } = await sealed(raw);
  const loaded = loadSeriesModel(model.bytes, learners);
  const column = (name: string, values: Float64Array, time?: true) =>
    ({ kind: "number", name, values, ...(time ? { time } : {}) }) as const;
  const table: Table = {
    rows: 3000,
    columns: [column("close", raw.price), column("at", raw.time, true)],
  };
  const forecast = await forecastSeries(loaded, table, { threads: 1 });
  expect(forecast.classes).toEqual(["down", "up"]);
  expect(forecast.decided.length).toBe(3000);
  let right = 0;
  for (let row = 2400; row < 2996; row++)
    if (raw.price[row + HORIZON]! > raw.price[row]! === (forecast.decided[row] === 1)) right++;
  expect(right / 596).toBeGreaterThan(0.58);
  freeSeriesModel(loaded);
  for (const bytes of [
    model.bytes.subarray(0, 10),
    model.bytes.subarray(0, 40),
    new Uint8Array(20),
  ])
    expect((await failure(() => loadSeriesModel(bytes, learners))).code).toBe("BAD_MODEL");
});

test("bad windows are refused by name", async () => {
  const domain = open(history(1000, 0.05, 8));
  for (const window of [10, -1, "all", 0.5]) {
    const error = await failure(() => domain.parse({ ...linear, window }));
    expect(error.code).toBe("BAD_CONFIGURATION");
    expect(error.message).toContain("window");
  }
  expect((await failure(() => domain.parse({ ...linear, windoww: 1 }))).message).toContain(
    "windoww",
  );
  await domain.close();
});

test("always the direction that is rarer in the sealed part is no edge, though it was frequent before", async () => {
  // Rises most of the time, and falls in the last fifth.
  const walk = history(3000, 0, 11);
  let now = 100;
  const price = walk.price.map((value, row) => {
    const move = row === 0 ? 1 : value / walk.price[row - 1]!;
    now *= move * (row < 2400 ? 1.0006 : 0.9994);
    return now;
  });
  const { opened } = await sealed({ ...walk, price });
  expect(opened.trivial.score).toBeGreaterThan(0.6);
  expect(opened.model.low).toBeLessThan(opened.trivial.score);
});

test("trades: gross, net, break-even, and rows without a position", () => {
  const forward = Float64Array.from({ length: 800 }, (_, i) => (i % 2 === 0 ? 0.002 : -0.001));
  const options = { classes: 2, horizon: 4, cost: 0.001, block: 8, seed: 1 };
  const perfect = Int32Array.from(forward, (f) => (f > 0 ? 1 : 0));
  const figures = tradeFigures(perfect, forward, options);
  expect(figures.gross).toBeCloseTo(0.0015, 12);
  expect(figures.net).toBeCloseTo(0.0005, 12);
  expect(figures.holding).toBeCloseTo(0.0005, 12);
  expect(figures.trades).toBe(200);
  const three = Int32Array.from(forward, (f, i) => (i < 400 ? 1 : f > 0 ? 2 : 0));
  const half = tradeFigures(three, forward, { ...options, classes: 3 });
  expect(half.active).toBe(0.5);
  expect(half.gross).toBeCloseTo(0.0015, 12);
});
