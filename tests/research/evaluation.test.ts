/** Splits, folds, metrics and intervals: their promises as properties, and known answers. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  blockScoreInterval,
  pairedBootstrap,
  resample,
  scoreInterval,
} from "../../src/research/evaluation/bootstrap.ts";
import { forwardFolds } from "../../src/research/evaluation/by-time.ts";
import { Binomial, Draw } from "../../src/research/evaluation/draw.ts";
import {
  accuracy,
  auc,
  confusion,
  score,
  unitValues,
} from "../../src/research/evaluation/metrics.ts";
import {
  contextFolds,
  groupedFolds,
  splitParts,
  stratifiedFolds,
} from "../../src/research/evaluation/split.ts";
import { timeParts, walkForwardFolds } from "../../src/research/evaluation/walk-forward.ts";
import { failure } from "./planted.ts";

const classNames = (n: number) => Array.from({ length: n }, (_, i) => String(i));
const bare = (label: Int32Array, classes: number, group: Int32Array | null = null) => ({
  label,
  classes: classNames(classes),
  group,
  context: null,
  contexts: [],
});

describe("parts and folds", () => {
  test("parts are disjoint, complete, stratified to one row, and depend on the seed", () => {
    const label = Int32Array.from({ length: 1000 }, (_, i) =>
      i % 10 === 0 ? 2 : i % 3 === 0 ? 1 : 0,
    );
    const shares = { gate: 0.15, sealed: 0.2, by_context: false };
    const parts = splitParts(bare(label, 3), shares, 7);
    const all = [...parts.search, ...parts.gate, ...parts.sealed].sort((a, b) => a - b);
    expect(all).toEqual([...label.keys()]);
    for (let c = 0; c < 3; c++) {
      const n = label.filter((l) => l === c).length;
      const inSealed = parts.sealed.filter((row) => label[row] === c).length;
      expect(Math.abs(inSealed - 0.2 * n)).toBeLessThanOrEqual(1);
    }
    expect(splitParts(bare(label, 3), shares, 7)).toEqual(parts);
    expect(splitParts(bare(label, 3), shares, 8).sealed).not.toEqual(parts.sealed);
  });

  test("folds: each row is validated once a repeat, groups stay together, small classes spread", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(3), fc.nat(40)), { minLength: 60, maxLength: 200 }),
        fc.nat(1000),
        (drawn, seed) => {
          const label = Int32Array.from(drawn, ([c]) => c);
          const group = Int32Array.from(drawn, ([, g]) => g);
          const rows = Uint32Array.from(label.keys());
          const folds = stratifiedFolds(
            bare(label, 4, group),
            rows,
            { folds: 5, repeats: 2 },
            seed,
          );
          expect(folds.length).toBe(10);
          for (const repeat of [folds.slice(0, 5), folds.slice(5)]) {
            const validated = repeat.flatMap((f) => [...f.validation]).sort((a, b) => a - b);
            expect(validated).toEqual([...rows]);
          }
          for (const { train, validation } of folds) {
            expect(train.length + validation.length).toBe(rows.length);
            const mine = new Set(Array.from(validation, (row) => group[row]));
            expect(train.some((row) => mine.has(group[row]!))).toBe(false);
          }
        },
      ),
      { numRuns: 50 },
    );
    const label = Int32Array.from({ length: 60 }, (_, i) => (i < 5 ? 1 : 0));
    const rows = Uint32Array.from(label.keys());
    for (const { validation } of stratifiedFolds(
      bare(label, 2),
      rows,
      { folds: 5, repeats: 1 },
      3,
    )) {
      expect(validation.length).toBe(12);
      expect(validation.filter((row) => label[row] === 1).length).toBe(1);
    }
  });

  test("contexts are left out one at a time, or several at once in k folds", () => {
    const context = Int32Array.from({ length: 100 }, (_, i) => (i < 3 ? 0 : 1 + (i % 4)));
    const label = context.map((_, i) => i % 2);
    const data = { ...bare(label, 2), context, contexts: ["tiny", "a", "b", "c", "d"] };
    const rows = Uint32Array.from(label.keys());
    const folds = contextFolds(data, rows);
    expect(folds.length).toBe(4); // three rows measure nothing
    for (const { train, validation } of folds) {
      expect(new Set(Array.from(validation, (row) => context[row])).size).toBe(1);
      expect(train.some((row) => context[row] === context[validation[0]!])).toBe(false);
    }
    const grouped = groupedFolds(data, rows, 3, 1);
    expect(grouped.flatMap((f) => [...f.validation]).sort((a, b) => a - b)).toEqual([...rows]);
    for (const { train, validation } of grouped) {
      const mine = new Set(Array.from(validation, (row) => context[row]));
      expect(train.some((row) => mine.has(context[row]!))).toBe(false);
    }
  });

  test("a class that cannot be in every part is refused", async () => {
    const label = Int32Array.from({ length: 60 }, (_, i) => (i < 2 ? 1 : 0));
    const shares = { gate: 0.15, sealed: 0.2, by_context: false };
    const error = await failure(() => splitParts(bare(label, 2), shares, 1));
    expect(error.code).toBe("SPLIT_IMPOSSIBLE");
    expect(error.message).toContain('no row of class "1"');
  });

  test("walk-forward: everything fitted on is older than the block by purge and embargo", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 50, max: 400 }),
        fc.integer({ min: 1, max: 6 }),
        fc.nat(10),
        fc.nat(5),
        fc.option(fc.integer({ min: 10, max: 100 }), { nil: undefined }),
        (n, folds, purge, embargo, window) => {
          const rows = Uint32Array.from({ length: n }, (_, i) => i + 1000);
          const made = walkForwardFolds(rows, { folds, purge, embargo, window });
          expect(made.length).toBe(folds);
          expect(made.at(-1)!.validation.at(-1)).toBe(999 + n);
          for (const { train, validation } of made) {
            expect(train.at(-1)! + purge + embargo).toBeLessThan(validation[0]!);
            if (window !== undefined) expect(train.length).toBeLessThanOrEqual(window);
          }
        },
      ),
    );
    const purged = timeParts(1000, { gate: 0.15, sealed: 0.2 }, { purge: 8, embargo: 2 });
    expect(purged.gate[0]! - purged.search.at(-1)!).toBe(11);
    expect(purged.sealed[0]! - purged.gate.at(-1)!).toBe(11);
    expect(purged.sealed.at(-1)).toBe(999);
  });

  test("by time: what judges is newer, equal times stay together, each seed judges the same rows", () => {
    const shares = { gate: 0.15, sealed: 0.2, by_context: false, by_time: true };
    fc.assert(
      fc.property(
        fc.integer({ min: 300, max: 600 }),
        fc.integer({ min: 25, max: 600 }),
        fc.nat(1000),
        (n, drawn, seed) => {
          const days = Math.min(n, drawn);
          // Out of order in the file, several rows a day, a class that comes late.
          const time = Float64Array.from({ length: n }, (_, i) => ((i * 7919) % n) % days);
          const random = new Draw(seed);
          const label = Int32Array.from(time, (t) => (t > 0.4 * days ? random.below(2) : 0));
          const data = { ...bare(label, 2), time };
          const { search, gate, sealed } = splitParts(data, shares, seed);
          expect([...search, ...gate, ...sealed].sort((a, b) => a - b)).toEqual([...label.keys()]);
          const times = (rows: Uint32Array) => Array.from(rows, (row) => time[row]!);
          expect(Math.max(...times(search))).toBeLessThan(Math.min(...times(gate)));
          expect(Math.max(...times(gate))).toBeLessThan(Math.min(...times(sealed)));
          const judged = [seed, seed + 1].map((s) => {
            const folds = forwardFolds(data, time, 5, s);
            expect(folds.map((f) => f.warm_up)).toEqual(folds.map((_, f) => f === 0));
            for (const { train, validation } of folds) {
              expect(Math.max(...times(train))).toBeLessThan(Math.min(...times(validation)));
              expect(new Set(Array.from(train, (row) => label[row])).size).toBe(2);
            }
            const scored = folds.slice(1).flatMap((f) => [...f.validation]);
            expect(new Set(scored).size).toBe(scored.length);
            return scored.sort((a, b) => a - b);
          });
          expect(judged[0]).toEqual(judged[1]!);
        },
      ),
    );
  });

  test("by time: a class that is not there for long enough is refused, and how to go on is said", async () => {
    const time = Float64Array.from({ length: 200 }, (_, i) => i);
    const early = Int32Array.from(time, (t) => (t < 20 ? 1 : 0));
    const shares = { gate: 0.15, sealed: 0.2, by_context: false, by_time: true };
    const parts = await failure(() => splitParts({ ...bare(early, 2), time }, shares, 1));
    const folds = await failure(() => forwardFolds(bare(early, 2), time, 5, 1));
    for (const { code, hint } of [parts, folds]) {
      expect(code).toBe("SPLIT_IMPOSSIBLE");
      expect(hint).toContain("split.by_time");
    }
  });
});

describe("metrics", () => {
  const label = Int32Array.from([0, 0, 0, 1, 1, 2]);
  const decided = Int32Array.from([0, 0, 1, 1, 0, 2]);

  test("of decided classes, by hand", () => {
    expect(accuracy(label, decided)).toBeCloseTo(4 / 6, 12);
    const found = { probabilities: new Float32Array(), decisions: decided };
    // A class that no row has counts for nothing.
    for (const classes of [3, 4])
      expect(score("balanced_accuracy", label, found, classes)).toBeCloseTo(
        (2 / 3 + 1 / 2 + 1) / 3,
        12,
      );
    expect([...confusion(label, decided, 3)]).toEqual([2, 1, 0, 1, 1, 0, 0, 0, 1]);
  });

  test("of probabilities: log loss by hand, area as the share of ordered pairs", () => {
    const p = Float32Array.from([0.5, 0.5, 0.25, 0.75]);
    const two = Int32Array.from([0, 1]);
    const expected = (Math.log(0.5) + Math.log(0.75)) / 2;
    expect(score("log_loss", two, { probabilities: p, decisions: null }, 2)).toBeCloseTo(
      expected,
      6,
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(1), fc.nat(8)), { minLength: 4, maxLength: 60 }),
        (rows) => {
          const y = Int32Array.from(rows, ([c]) => c);
          if (!y.includes(0) || !y.includes(1)) return;
          const probabilities = Float32Array.from(rows.flatMap(([, s]) => [1 - s / 8, s / 8]));
          let won = 0;
          let pairs = 0;
          for (const [ci, si] of rows)
            for (const [cj, sj] of rows)
              if (ci === 1 && cj === 0) {
                pairs++;
                won += si > sj ? 1 : si === sj ? 0.5 : 0;
              }
          expect(auc(y, probabilities, 2)).toBeCloseTo(won / pairs, 9);
        },
      ),
    );
  });

  test("single rows' values give the score back for every metric", () => {
    const draw = new Draw(5);
    const y = Int32Array.from({ length: 90 }, (_, i) => i % 3);
    const probabilities = new Float32Array(270).map(() => draw.unit());
    for (let row = 0; row < 90; row++) {
      const at = probabilities.subarray(row * 3, row * 3 + 3);
      const sum = at[0]! + at[1]! + at[2]!;
      at.forEach((p, i) => {
        at[i] = p / sum;
      });
    }
    const predictions = { probabilities, decisions: null };
    const one = [0, 1, 2].map((c) => {
      const versus = Float32Array.from({ length: 180 }, (_, i) => {
        const p = probabilities[(i >> 1) * 3 + c]!;
        return i % 2 === 1 ? p : 1 - p;
      });
      return auc(
        y.map((l) => (l === c ? 1 : 0)),
        versus,
        2,
      );
    });
    expect(score("auc", y, predictions, 3)).toBeCloseTo((one[0]! + one[1]! + one[2]!) / 3, 9);
    const logs = [...y].map((c, row) => Math.log(probabilities[3 * row + c]!));
    const mean_log = logs.reduce((sum, value) => sum + value, 0) / y.length;
    expect(score("log_loss", y, predictions, 3)).toBeCloseTo(mean_log, 9);
  });
});

describe("bootstrap", () => {
  test("binomial draws have the exact mean, variance and bounds", () => {
    const random = new Draw(11);
    for (const [n, p] of [
      [1, 0.5],
      [20, 0.03],
      [500, 0.4],
      [50_000, 0.97],
      [7, 0],
      [7, 1],
    ] as const) {
      const binomial = new Binomial(p);
      const draws = Float64Array.from({ length: 20_000 }, () => binomial.draw(n, random));
      const mean = draws.reduce((s, k) => s + k, 0) / draws.length;
      const variance = draws.reduce((s, k) => s + (k - mean) ** 2, 0) / draws.length;
      const spread = Math.sqrt((n * p * (1 - p)) / draws.length);
      expect(Math.abs(mean - n * p)).toBeLessThanOrEqual(4.5 * spread);
      expect(Math.abs(variance - n * p * (1 - p))).toBeLessThanOrEqual(0.06 * n * p * (1 - p));
      expect(Math.max(...draws)).toBeLessThanOrEqual(n);
    }
  });

  const noisy = (n: number, right: number, seed: number, label: Int32Array) => {
    const draw = new Draw(seed);
    const decisions = label.map((c) => (draw.unit() < right ? c : 1 - c));
    return { probabilities: new Float32Array(2 * n), decisions };
  };

  test("counts and row-wise draws give the same spread, and it is the analytic one", () => {
    const label = Int32Array.from({ length: 3000 }, (_, i) => (i % 5 === 0 ? 1 : 0));
    const a = unitValues("balanced_accuracy", label, noisy(3000, 0.8, 1, label), 2);
    const se = (draws: Float64Array) => {
      const mean = draws.reduce((s, x) => s + x, 0) / draws.length;
      return Math.sqrt(draws.reduce((s, x) => s + (x - mean) ** 2, 0) / draws.length);
    };
    const analytic = Math.sqrt((0.16 / 600 + 0.16 / 2400) / 4);
    expect(Math.abs(se(resample(a, { seed: 1 })) / analytic - 1)).toBeLessThan(0.1);
    // Values that differ by nothing that matters are drawn row by row.
    const jittered = { ...a, values: a.values.map((v, i) => v + i * 1e-9) };
    expect(Math.abs(se(resample(jittered, { seed: 1, draws: 800 })) / analytic - 1)).toBeLessThan(
      0.1,
    );
  });

  test("95% intervals of a score and of a paired difference cover the truth about 95 times in 100", () => {
    let score_hits = 0;
    let difference_hits = 0;
    for (let seed = 0; seed < 300; seed++) {
      const label = Int32Array.from({ length: 400 }, (_, i) => i % 2);
      const a = unitValues("accuracy", label, noisy(400, 0.7, 2 * seed + 1, label), 2);
      const b = unitValues("accuracy", label, noisy(400, 0.75, 2 * seed + 2, label), 2);
      const one = scoreInterval(a, { seed, draws: 400 });
      if (one.low <= 0.7 && 0.7 <= one.high) score_hits++;
      const d = pairedBootstrap(a, b, { seed, draws: 400 });
      if (d.low <= 0.05 && 0.05 <= d.high) difference_hits++;
    }
    expect(score_hits / 300).toBeGreaterThan(0.91);
    expect(difference_hits / 300).toBeGreaterThan(0.91);
    expect(score_hits / 300).toBeLessThan(0.99);
    expect(difference_hits / 300).toBeLessThan(0.99);
  });

  test("a comparison of 50,000 rows takes milliseconds and is the same for the same seed", () => {
    const label = Int32Array.from({ length: 50_000 }, (_, i) => i % 2);
    const a = unitValues("balanced_accuracy", label, noisy(50_000, 0.7, 1, label), 2);
    const b = unitValues("balanced_accuracy", label, noisy(50_000, 0.71, 2, label), 2);
    const started = process.cpuUsage().user;
    const first = pairedBootstrap(a, b, { seed: 3 });
    expect(process.cpuUsage().user - started).toBeLessThan(250_000);
    expect(pairedBootstrap(a, b, { seed: 3 })).toEqual(first);
    expect(first.difference).toBeCloseTo(0.01, 1);
    expect(first.low).toBeLessThan(first.difference);
    expect(first.high).toBeGreaterThan(first.difference);
  });

  test("blocks: rows that come in runs of 20 have the error of runs, not of rows", () => {
    const draw = new Draw(4);
    const runs = Array.from({ length: 200 }, () => (draw.unit() < 0.5 ? 1 : 0));
    const label = Int32Array.from({ length: 4000 }, () => 0);
    const decisions = Int32Array.from({ length: 4000 }, (_, i) => runs[Math.floor(i / 20)]!);
    const values = unitValues(
      "accuracy",
      label,
      { probabilities: new Float32Array(8000), decisions },
      2,
    );
    const blocks = blockScoreInterval(values, 60, { seed: 1 });
    const rows = scoreInterval(values, { seed: 1 });
    expect(blocks.high - blocks.low).toBeGreaterThan(3 * (rows.high - rows.low));
    expect(blocks.standard_error).toBeGreaterThan(0.025);
    expect(blocks.standard_error).toBeLessThan(0.045);
  });
});
