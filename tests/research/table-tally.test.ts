/** Figures of the research table (tests/peers/research/tally.ts): intervals, pairing, ranks. */
import { expect, test } from "bun:test";
import { seededRandom } from "../../src/core/random.ts";
import type { Cell, Rows } from "../peers/research/cells.ts";
import { balancedAccuracyOf } from "../peers/research/cells.ts";
import { tallySet } from "../peers/research/tally.ts";

const random = seededRandom(5);
const CLASSES = ["no", "yes"];

/** 400 sealed rows of 1000, every fifth of class "yes". */
function rowsOf(seed: number): Rows {
  const all = Array.from({ length: 1000 }, (_, row) => ({ row, key: random.next() }));
  const test = all
    .sort((a, b) => a.key - b.key)
    .slice(0, 400)
    .map(({ row }) => row);
  const truth = test.map((row) => CLASSES[row % 5 === 0 ? 1 : 0]!);
  return { set: "made-up", seed, train: [], test, truth, units: test };
}

/** A system that is right about a row with the given chance. */
function cellOf(rows: Rows, system: string, chance: number): Cell {
  const wrong = (name: string) => CLASSES[1 - CLASSES.indexOf(name)]!;
  const predictions = rows.truth.map((y) => (random.next() < chance ? y : wrong(y)));
  const balanced_accuracy = balancedAccuracyOf(rows.truth, predictions);
  const { set, seed } = rows;
  return { system, set, seed, balanced_accuracy, cpu_s: 1, trials: 1, predictions, details: null };
}

const seeds = [1, 2, 3].map(rowsOf);
const of = (system: string, chances: readonly number[]) =>
  seeds.map((rows, i) => cellOf(rows, system, chances[i % chances.length]!));

test("one seed's interval is that of the binomial shares by class", () => {
  const rows = [seeds[0]!];
  const cells = { magnet: of("magnet", [0.8]).slice(0, 1), peer: of("peer", [0.8]).slice(0, 1) };
  const { value, low, high } = tallySet("made-up", { rows, cells }).scores.magnet!;
  const { truth } = seeds[0]!;
  const { predictions } = cells.magnet[0]!;
  const variance = CLASSES.reduce((sum, name) => {
    const hits = truth.flatMap((y, i) => (y === name ? [predictions[i] === y ? 1 : 0] : []));
    const share = hits.reduce<number>((a, b) => a + b, 0) / hits.length;
    return sum + (share * (1 - share)) / hits.length / CLASSES.length ** 2;
  }, 0);
  const half = 1.96 * Math.sqrt(variance);
  expect(value).toBeCloseTo(cells.magnet[0]!.balanced_accuracy, 12);
  expect((high - low) / 2 / half).toBeGreaterThan(0.9);
  expect((high - low) / 2 / half).toBeLessThan(1.1);
});

test("seeds that share all rows and answers know no more than one; copies count together", () => {
  const whole = seeds[0]!;
  const four = <T>(values: readonly T[]) => [0, 1, 2, 3].flatMap(() => values.slice(0, 100));
  const [cell, peer] = [of("magnet", [0.8])[0]!, of("peer", [0.7])[0]!];
  const width = (rows: readonly Rows[], copied = (one: Cell) => one) => {
    const cells = { magnet: rows.map(() => copied(cell)), peer: rows.map(() => copied(peer)) };
    const { low, high } = tallySet("made-up", { rows, cells }).difference;
    return high - low;
  };
  expect(width([whole, whole, whole])).toBeCloseTo(width([whole]), 12);
  const copies = (one: Cell) => ({ ...one, predictions: four(one.predictions) });
  const copied = { ...whole, test: four(whole.test), truth: four(whole.truth) };
  const together = width([{ ...copied, units: four(whole.units) }], copies);
  const apart = width([{ ...copied, units: copied.test.map((_, i) => i) }], copies);
  expect(together / apart).toBeGreaterThan(1.7);
  expect(together / apart).toBeLessThan(2.3);
});

test("differences are paired, against the better peer, and ranks are means over seeds", () => {
  const magnet = of("magnet", [0.8]);
  const rows = seeds;
  const same = { magnet, twin: magnet, worse: of("worse", [0.6]) };
  const tied = tallySet("made-up", { rows, cells: same });
  expect(tied.best_peer).toBe("twin");
  expect(tied.difference).toEqual({ value: 0, low: 0, high: 0 });
  expect(tied.ranks).toEqual({ magnet: 1.5, twin: 1.5, worse: 3 });
  // Better in two seeds of three, but by far the worse in the third.
  const moody = of("moody", [0.95, 0.95, 0.1]);
  const uneven = tallySet("made-up", { rows, cells: { magnet, moody } });
  expect(uneven.ranks.magnet).toBeCloseTo(5 / 3, 12);
  expect(uneven.rank_of_mean).toEqual({ magnet: 1, moody: 2 });
  expect(uneven.difference.low).toBeGreaterThan(0);
});
