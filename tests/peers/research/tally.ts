/**
 * From cells to the table's figures: means over seeds, intervals and ranks. The seeds' sealed parts
 * share rows, so rows are what the bootstrap draws (copies of a row together): from all that are
 * sealed under any seed, with replacement, and a row counts as often as it was drawn in every seed
 * that has sealed it. All systems meet the same draws, so differences are paired. The interval is
 * that of the rows alone: it knows nothing of what other parts would have given, so it is rather too
 * narrow, which makes "equal within the noise" harder to reach.
 */
import { Draw } from "../../../src/research/evaluation/draw.ts";
import type { Cell, Rows } from "./cells.ts";

const DRAWS = 2000;

export interface Interval {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

type BySystem<T> = { readonly [system: string]: T };

export interface SetFigures {
  readonly set: string;
  /** Mean of the seeds' balanced accuracies. */
  readonly scores: BySystem<Interval>;
  /** The one with the highest mean, which is chosen after the fact: in the peers' favour. */
  readonly best_peer: string;
  /** magnet - the best peer, paired. */
  readonly difference: Interval;
  /** 1 = best; equals share. Mean over the seeds of the rank in each. */
  readonly ranks: BySystem<number>;
  /** Rank of the mean over seeds. */
  readonly rank_of_mean: BySystem<number>;
  readonly seeds: number;
  /** Means over the seeds. */
  readonly cpu_s: BySystem<number>;
  readonly trials: BySystem<number>;
}

export interface SetCells {
  readonly rows: readonly Rows[];
  /** In the order of `rows`. */
  readonly cells: BySystem<readonly Cell[]>;
}

/** What a system did on a seed's sealed rows. */
interface Judged {
  readonly units: readonly number[];
  /** Number of each row's class. */
  readonly code: Int32Array;
  readonly right: Uint8Array;
  readonly classes: number;
}

function judge(rows: Rows, cell: Cell): Judged {
  const names = [...new Set(rows.truth)];
  return {
    units: rows.units,
    code: Int32Array.from(rows.truth, (name) => names.indexOf(name)),
    right: Uint8Array.from(rows.truth, (name, i) => (cell.predictions[i] === name ? 1 : 0)),
    classes: names.length,
  };
}

/** Balanced accuracy with a weight for each unit. */
function weightedScore({ units, code, right, classes }: Judged, weight: Float64Array): number {
  const all = new Float64Array(classes);
  const hits = new Float64Array(classes);
  for (let i = 0; i < code.length; i++) {
    const w = weight[units[i]!]!;
    all[code[i]!]! += w;
    hits[code[i]!]! += w * right[i]!;
  }
  // A draw may leave a class out: the mean is over those that it has.
  let [sum, present] = [0, 0];
  for (let k = 0; k < classes; k++)
    if (all[k]! > 0) {
      sum += hits[k]! / all[k]!;
      present++;
    }
  return sum / present;
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

function interval(value: number, draws: Float64Array): Interval {
  const sorted = draws.toSorted();
  const at = (q: number) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]!;
  return { value, low: at(0.025), high: at(0.975) };
}

function rankOf(system: string, score: BySystem<number>): number {
  const values = Object.values(score);
  const above = values.filter((other) => other > score[system]! + 1e-12).length;
  const same = values.filter((other) => Math.abs(other - score[system]!) <= 1e-12).length;
  return above + (same + 1) / 2;
}

/** Mean score over seeds of each draw of the units. */
function draw(judged: BySystem<readonly Judged[]>, rows: readonly Rows[]): BySystem<Float64Array> {
  const sealed = [...new Set(rows.flatMap(({ units }) => units))];
  const weight = new Float64Array(sealed.reduce((a, b) => Math.max(a, b), 0) + 1);
  const draws = Object.fromEntries(
    Object.keys(judged).map((system) => [system, new Float64Array(DRAWS)]),
  );
  const random = new Draw(1);
  for (let d = 0; d < DRAWS; d++) {
    weight.fill(0);
    for (let i = 0; i < sealed.length; i++) weight[sealed[random.below(sealed.length)]!]!++;
    for (const [system, seeds] of Object.entries(judged))
      draws[system]![d] = mean(seeds.map((one) => weightedScore(one, weight)));
  }
  return draws;
}

export function tallySet(set: string, { rows, cells }: SetCells): SetFigures {
  const systems = Object.keys(cells);
  const of = <V>(f: (s: string) => V) => Object.fromEntries(systems.map((s) => [s, f(s)]));
  const judged = of((s) => rows.map((one, i) => judge(one, cells[s]![i]!)));
  const draws = draw(judged, rows);
  const score = of((s) => mean(cells[s]!.map((cell) => cell.balanced_accuracy)));
  const by_seed = rows.map((_, i) => of((s) => cells[s]![i]!.balanced_accuracy));
  const peers = systems.filter((s) => s !== "magnet");
  const best_peer = peers.toSorted((a, b) => score[b]! - score[a]!)[0]!;
  const differences = draws.magnet!.map((x, d) => x - draws[best_peer]![d]!);
  return {
    set,
    scores: of((s) => interval(score[s]!, draws[s]!)),
    best_peer,
    difference: interval(score.magnet! - score[best_peer]!, differences),
    ranks: of((s) => mean(by_seed.map((one) => rankOf(s, one)))),
    rank_of_mean: of((s) => rankOf(s, score)),
    seeds: rows.length,
    cpu_s: of((s) => mean(cells[s]!.map((cell) => cell.cpu_s))),
    trials: of((s) => mean(cells[s]!.map((cell) => cell.trials))),
  };
}
