/** Series: features that never look ahead, labels, checks of the history, parts in time's order. */
import { afterAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import fc from "fast-check";
import { seededRandom } from "../../src/core/random.ts";
import { directions, forwardReturns, persistence } from "../../src/research/series/direction.ts";
import { seriesFeatures } from "../../src/research/series/features.ts";
import { loadSeries, type RawSeries } from "../../src/research/series/raw.ts";
import {
  rollingDeviation,
  rollingMax,
  rollingMin,
  rollingScore,
} from "../../src/research/series/rolling.ts";
import { toSeriesData } from "../../src/research/series/series-data.ts";
import type { NumberColumn } from "../../src/research/table/types.ts";
import { parseTask } from "../../src/research/task/load.ts";
import { TASK_SCHEMA } from "../../src/research/task/schema.ts";
import { failure, scratch } from "./planted.ts";

const { folder, file } = scratch();
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const HALF_HOUR_MS = 1_800_000;
function walk(rows: number, seed: number): RawSeries {
  const random = seededRandom(seed);
  let now = 100;
  const price = Float64Array.from({ length: rows }, () => {
    now *= 1 + 0.002 * (random.next() - 0.5);
    return now;
  });
  return {
    // A night without rows each two days.
    time: Float64Array.from(
      { length: rows },
      (_, i) => 1e12 + (i + 9 * Math.floor(i / 96)) * HALF_HOUR_MS,
    ),
    clock: true,
    price,
    volume: price.map(() => 100 + 50 * random.next()),
    more: [{ kind: "number", name: "rate", values: price.map(() => random.next()) }],
  };
}
const seriesTask = (data: string, series: object, more: object = {}) =>
  parseTask({ schema: TASK_SCHEMA, name: "s", domain: "series", data, series, ...more }, "/s.json");
const columnsOf = (raw: RawSeries, horizon: number) =>
  seriesFeatures(raw, horizon).columns as readonly NumberColumn[];

test("features of a row do not change when later rows do", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 1000 }),
      fc.integer({ min: 500, max: 690 }),
      fc.integer({ min: 1, max: 20 }),
      (seed, cut, horizon) => {
        const raw = walk(700, seed);
        const other = walk(700, seed + 5000);
        const change = (mine: Float64Array, theirs: Float64Array) =>
          mine.map((value, row) => (row <= cut ? value : theirs[row]! * 3));
        const changed: RawSeries = {
          time: raw.time.map((t, row) => (row <= cut ? t : t + 7 * HALF_HOUR_MS)),
          clock: true,
          price: change(raw.price, other.price),
          volume: change(raw.volume!, other.volume!),
          more: [{ ...raw.more[0]!, values: change(raw.more[0]!.values, other.more[0]!.values) }],
        };
        const before = columnsOf(raw, horizon);
        const after = columnsOf(changed, horizon);
        expect(after.map((c) => c.name)).toEqual(before.map((c) => c.name));
        before.forEach((column, i) => {
          expect([...after[i]!.values.subarray(0, cut + 1)]).toEqual([
            ...column.values.subarray(0, cut + 1),
          ]);
        });
      },
    ),
    { numRuns: 15 },
  );
});

test("rolling figures are those of the window, computed by hand", () => {
  const { price } = walk(300, 3);
  const w = 12;
  const [score, low, high, deviation] = [
    rollingScore(price, w),
    rollingMin(price, w),
    rollingMax(price, w),
    rollingDeviation(price, w),
  ];
  for (let row = 0; row < 300; row++) {
    if (row < w - 1) {
      expect([score[row], low[row], high[row]]).toEqual([NaN, NaN, NaN]);
      continue;
    }
    const window = [...price.subarray(row + 1 - w, row + 1)];
    const mean = window.reduce((s, x) => s + x, 0) / w;
    const sd = Math.sqrt(window.reduce((s, x) => s + (x - mean) ** 2, 0) / w);
    expect(low[row]).toBe(Math.min(...window));
    expect(high[row]).toBe(Math.max(...window));
    expect(deviation[row]).toBeCloseTo(sd, 8);
    expect(score[row]).toBeCloseTo((price[row]! - mean) / sd, 5);
  }
  const flat = new Float64Array(50).fill(1.37);
  expect([...rollingScore(flat, 12)].every(Number.isNaN)).toBe(true);
});

test("directions: up, down and hold over the horizon; persistence repeats the past", () => {
  const price = Float64Array.from([100, 101, 102, 101, 101, 99]);
  const forward = forwardReturns(price, 2);
  expect([...directions(forward, 0)]).toEqual([1, 0, 0, 0, -1, -1]);
  expect([...directions(forward, 0.015)]).toEqual([2, 1, 1, 0, -1, -1]);
  expect([...persistence(price, 2, 0)]).toEqual([0, 0, 1, 0, 0, 0]);
});

test("parts follow time, and no label of one part looks into the next", () => {
  const raw = walk(2000, 1);
  const task = seriesTask("x.csv", { horizon: 8 });
  const { data, parts, forward } = toSeriesData(task, raw);
  expect(data.label.length).toBe(1992);
  expect(data.label.includes(-1)).toBe(false);
  expect(parts.gate[0]! - parts.search.at(-1)!).toBeGreaterThan(8);
  expect(parts.sealed[0]! - parts.gate.at(-1)!).toBeGreaterThan(8);
  expect(parts.sealed.at(-1)).toBe(1991);
  expect(forward[10]).toBe(raw.price[18]! / raw.price[10]! - 1);
  expect(data.notes.map((n) => n.code)).toEqual(["OVERLAPPING_LABELS"]);
  const other = toSeriesData(seriesTask("x.csv", { horizon: 9 }), raw);
  expect(other.data.hash).not.toBe(data.hash);
});

describe("checks of a history", () => {
  const rows = Array.from({ length: 400 }, (_, i) => {
    const day = new Date(Date.UTC(2020, 0, 1) + i * 86_400_000).toISOString().slice(0, 10);
    return { day, close: (100 + 5 * Math.sin(i / 9) + (i % 3)).toFixed(3) };
  });
  const csv = (list: { day: string | null; close: string | null }[]) =>
    file("s.csv", `day,close\n${list.map((r) => `${r.day ?? ""},${r.close ?? ""}`).join("\n")}`);
  const load = (list: { day: string | null; close: string | null }[], series: object = {}) =>
    loadSeries(seriesTask(csv(list), series, { time: "day" }));
  const codes = async (list: Parameters<typeof load>[0]) =>
    (await load(list)).notes.map((n) => n.code);

  test("a clean one has no notes", async () => {
    const { raw, notes } = await load(rows);
    expect(notes).toEqual([]);
    expect(raw.clock).toBe(true);
    expect(raw.price.length).toBe(400);
  });

  test("newest first is put in order; a joined file's double rows are dropped", async () => {
    expect(await codes(rows.toReversed())).toEqual(["TIME_GOES_BACKWARDS"]);
    expect((await load(rows.toReversed())).raw.price).toEqual((await load(rows)).raw.price);
    expect(await codes([...rows, ...rows.slice(100)])).toEqual([
      "TIME_GOES_BACKWARDS",
      "DUPLICATE_TIMES",
    ]);
    expect((await load([...rows, ...rows.slice(100)])).raw.price).toEqual(
      (await load(rows)).raw.price,
    );
  });

  test("missing prices and times, gaps", async () => {
    expect(await codes(rows.map((r, i) => (i === 5 ? { ...r, close: null } : r)))).toEqual([
      "MISSING_PRICE",
    ]);
    expect(await codes(rows.map((r, i) => (i === 5 ? { ...r, day: null } : r)))).toEqual([
      "MISSING_TIME",
    ]);
    expect(await codes(rows.filter((_, i) => i < 200 || i > 230))).toEqual(["TIME_GAPS"]);
  });

  test("what is no price is refused with the row", async () => {
    const zero = rows.map((r, i) => (i === 7 ? { ...r, close: "0" } : r));
    expect((await failure(() => load(zero))).message).toContain('"close" is 0 in row 8');
    expect((await failure(() => load(rows.slice(0, 100)))).message).toContain("100 rows");
    expect((await failure(() => load(rows.map((r) => ({ ...r, close: "3" }))))).message).toContain(
      "every row",
    );
    expect((await failure(() => load(rows, { price: "klose" }))).hint).toBe("did you mean close?");
  });

  test("a price that only rises has no second class", async () => {
    const { raw } = await load(rows.map((r, i) => ({ ...r, close: String(100 + i) })));
    const error = await failure(() => toSeriesData(seriesTask("s.csv", {}), raw));
    expect(error.code).toBe("BAD_LABEL");
    expect(error.message).toContain('0 of 392 rows are "down"');
  });
});
