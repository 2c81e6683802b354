/**
 * From cells to the table's figures: means over seeds, intervals and ranks. Seeds share rows, so the
 * bootstrap draws rows of the set, and a row counts in every seed in whose sealed part it lies.
 */
import { seededRandom } from "../../../src/core/random.ts";
import type { Cell, Rows } from "./cells.ts";

const DRAWS = 1000;

export interface Interval {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

export interface SetFigures {
  readonly set: string;
  /** By system: mean of the seeds' balanced accuracies. */
  readonly scores: { readonly [system: string]: Interval };
  /** magnet - the best peer, paired. */
  readonly best_peer: string;
  readonly difference: Interval;
  /** By system, 1 = best; equals share. */
  readonly ranks: { readonly [system: string]: number };
  readonly seeds: number;
  /** Mean CPU seconds by system. */
  readonly cpu_s: { readonly [system: string]: number };
  readonly trials: { readonly [system: string]: number };
}

export interface SetCells {
  readonly rows: readonly Rows[];
  /** By system, in the order of `rows`. */
  readonly cells: { readonly [system: string]: readonly Cell[] };
}

/** Balanced accuracy of each seed with the rows' weights, averaged. */
function weightedScore(rows: readonly Rows[], cells: readonly Cell[], weight: Float64Array) {
  let sum = 0;
  for (const [s, { test, truth }] of rows.entries()) {
    const all = new Map<string, number>();
    const right = new Map<string, number>();
    for (const [i, row] of test.entries()) {
      const y = truth[i]!;
      const w = weight[row]!;
      all.set(y, (all.get(y) ?? 0) + w);
      if (cells[s]!.predictions[i] === y) right.set(y, (right.get(y) ?? 0) + w);
    }
    // A draw may leave a class out: the mean is over those that it has.
    const shares = [...all].flatMap(([y, n]) => (n > 0 ? [(right.get(y) ?? 0) / n] : []));
    sum += shares.reduce((a, b) => a + b, 0) / shares.length;
  }
  return sum / rows.length;
}

const quantile = (sorted: Float64Array, q: number) =>
  sorted[Math.min(sorted.length - 1, Math.max(0, Math.round(q * (sorted.length - 1))))]!;

function interval(value: number, draws: Float64Array): Interval {
  const sorted = draws.toSorted();
  return { value, low: quantile(sorted, 0.025), high: quantile(sorted, 0.975) };
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

export function tallySet(set: string, { rows, cells }: SetCells): SetFigures {
  const systems = Object.keys(cells);
  const last = Math.max(...rows.flatMap(({ test }) => test));
  const sealed = [...new Set(rows.flatMap(({ test }) => test))];
  const ones = new Float64Array(last + 1).fill(1);
  const score = Object.fromEntries(systems.map((s) => [s, weightedScore(rows, cells[s]!, ones)]));
  const draws = Object.fromEntries(systems.map((s) => [s, new Float64Array(DRAWS)]));
  const random = seededRandom(1);
  const weight = new Float64Array(last + 1);
  for (let d = 0; d < DRAWS; d++) {
    weight.fill(0);
    for (let i = 0; i < sealed.length; i++) weight[sealed[random.below(sealed.length)]!]!++;
    for (const s of systems) draws[s]![d] = weightedScore(rows, cells[s]!, weight);
  }
  const peers = systems.filter((s) => s !== "magnet");
  const best_peer = peers.toSorted((a, b) => score[b]! - score[a]!)[0]!;
  const differences = draws.magnet!.map((x, d) => x - draws[best_peer]![d]!);
  const rank = (s: string) => {
    const above = systems.filter((o) => score[o]! > score[s]! + 1e-12).length;
    const same = systems.filter((o) => Math.abs(score[o]! - score[s]!) <= 1e-12).length;
    return above + (same + 1) / 2;
  };
  const of = <V>(f: (s: string) => V) => Object.fromEntries(systems.map((s) => [s, f(s)]));
  return {
    set,
    scores: of((s) => interval(score[s]!, draws[s]!)),
    best_peer,
    difference: interval(score.magnet! - score[best_peer]!, differences),
    ranks: of(rank),
    seeds: rows.length,
    cpu_s: of((s) => mean(cells[s]!.map((cell) => cell.cpu_s))),
    trials: of((s) => mean(cells[s]!.map((cell) => cell.trials))),
  };
}
