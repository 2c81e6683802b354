/**
 * Intervals over clusters: what they cover where contexts differ, classes that few contexts have,
 * and what the sealed part of a table is resampled by.
 */
import { expect, test } from "bun:test";
import { scoreInterval } from "../../src/research/evaluation/bootstrap.ts";
import {
  clusterScoreInterval,
  countClusters,
  pairedClusterBootstrap,
} from "../../src/research/evaluation/cluster-bootstrap.ts";
import { Draw } from "../../src/research/evaluation/draw.ts";
import { unitValues } from "../../src/research/evaluation/metrics.ts";
import {
  pairedInterval,
  sealedInterval,
  sealedUnits,
} from "../../src/research/evaluation/sealed.ts";

const UNIT = [0, 1] as const;
const RIGHT = 0.7;

/** Contexts of different sizes, class shares and chances to be decided right (RIGHT on average). */
function contexts(count: number, seed: number, gain = 0) {
  const draw = new Draw(seed);
  const [label, first, second, clusters]: number[][] = [[], [], [], []];
  for (let g = 0; g < count; g++) {
    const rows = 40 + draw.below(120);
    const chance = [0, 1].map(() => RIGHT + 0.25 * (2 * draw.unit() - 1));
    const better = gain + 0.1 * (2 * draw.unit() - 1);
    const share = 0.3 + 0.4 * draw.unit();
    for (let i = 0; i < rows; i++) {
      const c = draw.unit() < share ? 1 : 0;
      const u = draw.unit();
      label!.push(c);
      first!.push(u < chance[c]! ? c : 1 - c);
      second!.push(u < chance[c]! + better ? c : 1 - c);
      clusters!.push(g);
    }
  }
  const of = (decided: number[]) => {
    const decisions = Int32Array.from(decided);
    const probabilities = new Float32Array(2 * decisions.length);
    return unitValues(
      "balanced_accuracy",
      Int32Array.from(label!),
      { probabilities, decisions },
      2,
    );
  };
  return { a: of(first!), b: of(second!), clusters: Int32Array.from(clusters!) };
}

test("95% intervals over few or many contexts cover the truth; those of rows do not", () => {
  const runs = 200;
  for (const count of [3, 5, 10, 30]) {
    let [whole, rows, paired] = [0, 0, 0];
    for (let seed = 0; seed < runs; seed++) {
      const { a, b, clusters } = contexts(count, 1000 * count + seed, 0.02);
      const options = { seed, draws: 500 };
      const score = clusterScoreInterval(a, clusters, UNIT, options);
      if (score.low <= RIGHT && RIGHT <= score.high) whole++;
      const naive = scoreInterval(a, options);
      if (naive.low <= RIGHT && RIGHT <= naive.high) rows++;
      const d = pairedClusterBootstrap(a, b, clusters, UNIT, options);
      if (d.low <= 0.02 && 0.02 <= d.high) paired++;
    }
    const shares = `${count} contexts: ${whole}, ${rows} by rows, ${paired} paired of ${runs}`;
    // Four standard errors of 200 runs below 94%; unequal contexts make few of them cautious.
    if (whole < 0.875 * runs || paired < 0.875 * runs || rows > 0.65 * runs)
      throw new Error(shares);
  }
});

test("rows that are clusters of their own have the interval of rows", () => {
  const { a } = contexts(8, 5);
  const each = Int32Array.from(a.values, (_, row) => row);
  const [rows, clusters] = [
    scoreInterval(a, { seed: 1 }),
    clusterScoreInterval(a, each, UNIT, { seed: 1 }),
  ];
  expect(clusters.score).toBeCloseTo(rows.score, 12);
  expect((clusters.high - clusters.low) / (rows.high - rows.low)).toBeCloseTo(1, 1);
});

/** Five contexts of 100 rows; the first alone has the rare class, 20 rows of it. */
function loneClass() {
  const label = Int32Array.from({ length: 500 }, (_, i) => (i < 20 ? 1 : 0));
  const decisions = label.map((c, i) => (i % 3 === 0 ? 1 - c : c));
  const predictions = { probabilities: new Float32Array(1000), decisions };
  const values = unitValues("balanced_accuracy", label, predictions, 2);
  return { label, values, clusters: Int32Array.from(label, (_, i) => Math.floor(i / 100)) };
}

test("a class that one context alone has: its rows vary, and no interval is narrower", () => {
  const { label, values, clusters } = loneClass();
  const rows = scoreInterval(values, { seed: 1 });
  const { score, low, high } = clusterScoreInterval(values, clusters, UNIT, { seed: 1 });
  expect(score).toBeCloseTo(rows.score, 12);
  expect(rows.high - rows.low).toBeGreaterThan(0.15);
  expect(low).toBeLessThanOrEqual(rows.low);
  expect(high).toBeGreaterThanOrEqual(rows.high);
  const data = { context: clusters, group: null, label, classes: ["common", "rare"] };
  const all = Uint32Array.from(label.keys());
  const { notes } = sealedUnits(data, all, "balanced_accuracy", true);
  expect(notes[1]).toContain('class "rare"');
  // Where classes have no weight of their own, it matters to nobody.
  expect(sealedUnits(data, all, "accuracy", true).notes).toHaveLength(1);
});

test("degrees of freedom: of equal and unequal contexts, and of the class with the fewest", () => {
  const each = (sizes: number[]) =>
    Int32Array.from(sizes.flatMap((n, c) => new Array<number>(n).fill(c)));
  const of = (sizes: number[]) => countClusters(each(sizes), null);
  expect(of([50, 50, 50, 50])).toEqual({ clusters: 4, degrees: 3, lone: [] });
  expect(of([970, 10, 10, 10])).toEqual({ clusters: 4, degrees: 1, lone: [] });
  expect(of([100])).toEqual({ clusters: 1, degrees: 0, lone: [0] });
  const clusters = each([50, 50, 50, 50]);
  const two = clusters.map((c, i) => (c < 2 && i % 10 === 0 ? 1 : 0));
  expect(countClusters(clusters, two)).toEqual({ clusters: 4, degrees: 1, lone: [] });
  const one = clusters.map((c, i) => (c === 0 && i % 10 === 0 ? 1 : 0));
  expect(countClusters(clusters, one)).toEqual({ clusters: 4, degrees: 2, lone: [1] });
});

test("sealed: contexts only when they are held out whole, copies together, else rows", () => {
  const { a, b, clusters } = contexts(3, 9);
  const rows = Uint32Array.from(clusters.keys());
  const units = (group: Int32Array | null, by_context: boolean, context = clusters) =>
    sealedUnits(
      { context, group, label: a.strata!, classes: ["0", "1"] },
      rows,
      "balanced_accuracy",
      by_context,
    );
  const known = units(null, false);
  expect(known).toEqual({ clusters: null, range: UNIT, notes: [] });
  const fresh = units(null, true);
  expect(fresh.notes[0]).toContain("3 contexts");
  expect(fresh.notes[0]).toContain("split.sealed");
  const width = (u: typeof fresh) => {
    const { low, high } = sealedInterval(a, u, 1);
    return high - low;
  };
  expect(width(fresh)).toBeGreaterThan(2 * width(known));
  const difference = pairedInterval(a, b, fresh, 1);
  expect(difference.difference).toBeCloseTo(pairedInterval(a, b, known, 1).difference, 12);
  expect(difference.low).toBeGreaterThanOrEqual(-1);
  // Five copies of each row.
  const copies = units(
    Int32Array.from(rows, (row) => Math.floor(row / 5)),
    false,
  );
  expect(copies.notes[0]).toContain(`${Math.ceil(rows.length / 5)} different rows`);
  expect(units(Int32Array.from(rows), false).clusters).toBeNull();
  const single = units(null, true, new Int32Array(rows.length));
  expect(single.clusters).toBeNull();
  expect(single.notes[0]).toContain("a single context");
});
