/**
 * The tabular domain end to end on generated data: honest out-of-fold scores, equal outcomes for
 * equal specifications, cached members, final model, sealed part.
 */
import { describe, expect, test } from "bun:test";
import * as learners from "../../../src/native/learners.ts";
import { loadModel } from "../../../src/research/tabular/final-model.ts";
import { predictRows } from "../../../src/research/tabular/predict.ts";
import type { TrialOutcome } from "../../../src/research/types.ts";
import { sampleDomain, sampleTable, specOf } from "./sample.ts";

const BOOSTING = { learner: "boosting", params: { trees: 30, depth_max: 3 } };
const ONE_THREAD = { threads: 1 };

/** An outcome without what clocks measured. */
const timeless = (outcome: TrialOutcome) => ({
  ...outcome,
  cpu_s: 0,
  figures: { ...outcome.figures, once_s: 0 },
});

test("equal specifications give equal bytes, from the cache and from a fresh domain", async () => {
  const configuration = {
    members: [{ ...BOOSTING, params: { ...BOOSTING.params, row_share: 0.7 }, bags: 2 }],
    decision: { rule: "tuned" },
  };
  const first = sampleDomain();
  const other = sampleDomain();
  const a = await first.evaluate(specOf(first, configuration), ONE_THREAD);
  const again = await first.evaluate(specOf(first, configuration), ONE_THREAD);
  const b = await other.evaluate(specOf(other, configuration), { threads: 2 });
  expect(again.outputs).toEqual(a.outputs);
  expect(b.outputs).toEqual(a.outputs);
  expect(timeless(b)).toEqual(timeless(a));
  expect(again.cpu_s).toBeLessThan(0.5 * a.cpu_s); // the members come from the cache
  const seeded = await first.evaluate(specOf(first, configuration, 2), ONE_THREAD);
  expect(seeded.score).not.toBe(a.score);
});

test("what a domain has evaluated before does not change an outcome", async () => {
  const configuration = {
    members: [{ learner: "logistic", features: { top_k: 2 } }],
    rows: { noise_share: 0.1 },
  };
  // Leave-one-context-out folds are the same rows at every seed.
  const options = { rows: 300, context_shift: 2, task: { drop: ["rule"], context: "place" } };
  const busy = sampleDomain(options);
  const fresh = sampleDomain(options);
  await busy.evaluate(specOf(busy, configuration, 2), ONE_THREAD);
  const after = await busy.evaluate(specOf(busy, configuration, 1), ONE_THREAD);
  const alone = await fresh.evaluate(specOf(fresh, configuration, 1), ONE_THREAD);
  expect(timeless(after)).toEqual(timeless(alone));
});

test("data is known by its labels, whatever columns a task keeps and however it is split", () => {
  const [all, fewer] = [
    sampleDomain({ rows: 300 }),
    sampleDomain({ rows: 300, task: { seed: 2 } }),
  ];
  const dropped = sampleDomain({ rows: 300, task: { name: "other", drop: ["rule"] } });
  expect(fewer.task_hash).not.toBe(all.task_hash);
  expect([fewer.data_hash, dropped.data_hash]).toEqual([all.data_hash, all.data_hash]);
  expect(sampleDomain({ rows: 301 }).data_hash).not.toBe(all.data_hash);
});

test("a tuned threshold finds the rare class that argmax leaves out", async () => {
  const domain = sampleDomain({ rows: 900, share: 0.08 });
  const argmax = await domain.evaluate(specOf(domain, { members: [BOOSTING] }), ONE_THREAD);
  const tuned = await domain.evaluate(
    specOf(domain, { members: [BOOSTING], decision: { rule: "tuned" } }),
    ONE_THREAD,
  );
  const { difference, low } = domain.compare(argmax, tuned, 1);
  expect(difference).toBeCloseTo(tuned.score - argmax.score, 6);
  expect(low).toBeGreaterThan(0.05);
  expect(tuned.figures.threshold).toBeLessThan(0.3);
});

describe("shuffled labels end at chance: nothing that is fitted leaks its own rows", () => {
  const rules = {
    tuned: { decision: { rule: "tuned" } },
    isotonic: { calibration: "isotonic", decision: { rule: "tuned" } },
    platt: { calibration: "platt", decision: { rule: "tuned" } },
    greedy: { combination: "greedy", decision: { rule: "tuned" } },
    voting: { combination: "voting", decision: { rule: "tuned" } },
    offsets: { decision: { rule: "tuned", context: "offsets", shrinkage: 1 } },
    thresholds: { decision: { rule: "tuned", context: "thresholds" } },
  };
  const domain = sampleDomain({ shuffled: true, task: { drop: ["rule"], context: "place" } });
  for (const [name, rule] of Object.entries(rules))
    test(name, async () => {
      const second = { ...BOOSTING, params: { trees: 10, depth_max: 6 } };
      const configuration = { members: [BOOSTING, second], ...rule };
      const { score } = await domain.evaluate(specOf(domain, configuration), ONE_THREAD);
      expect(Math.abs(score - 0.5)).toBeLessThan(0.075); // 3 standard errors of 390 rows
    });
});

test("a lower fidelity covers some rows, and the comparison is of the rows that both cover", async () => {
  const domain = sampleDomain();
  expect(domain.fidelities.length).toBeGreaterThan(1);
  const spec = specOf(domain, { members: [BOOSTING] });
  const low = await domain.evaluate({ ...spec, fidelity: 0.1 }, ONE_THREAD);
  const full = await domain.evaluate(spec, ONE_THREAD);
  expect(low.fold_scores.length).toBeLessThan(full.fold_scores.length);
  expect(low.outputs.some(Number.isNaN)).toBe(true);
  expect(full.outputs.some(Number.isNaN)).toBe(false);
  expect(Number.isFinite(domain.compare(low, full, 1).difference)).toBe(true);
});

test("several classes: per-class weights, the final model, the sealed part", async () => {
  const domain = sampleDomain({ rows: 900, classes: 3 });
  const spec = specOf(domain, { members: [BOOSTING], decision: { rule: "tuned" } });
  const outcome = await domain.evaluate(spec, ONE_THREAD);
  expect(outcome.outputs.length).toBe(domain.parts.search.length * 6);
  const model = await domain.fitFinal(spec);
  const baseline = await domain.fitFinal(specOf(domain, domain.baseline()));
  const opened = await domain.openSealed(model, baseline);
  expect(opened.trivial.score).toBeCloseTo(1 / 3, 6);
  expect(opened.model.low).toBeGreaterThan(opened.trivial.score);
  expect(Math.abs(opened.model.score - outcome.score)).toBeLessThan(0.1);
  const gate = await domain.gateScores(specOf(domain, domain.baseline()), spec);
  expect(gate.gate.low).toBeLessThanOrEqual(gate.gate.difference);
});

test("contexts: offsets help where the odds move, and a context never seen has none", async () => {
  const task = { drop: ["rule"], context: "place" };
  const domain = sampleDomain({ rows: 1200, context_shift: 3, task });
  const run = (decision: object) =>
    domain.evaluate(
      specOf(domain, { members: [BOOSTING], decision: { rule: "tuned", ...decision } }),
      ONE_THREAD,
    );
  const plain = await run({});
  const offsets = await run({ context: "offsets" });
  expect(domain.compare(plain, offsets, 1).low).toBeGreaterThan(0);
  expect(Object.keys(plain.figures.loco_hit_rates as object)).toHaveLength(6);
  // At another seed it is left out: a confirmation costs what the score costs.
  const other = await domain.evaluate(specOf(domain, { members: [BOOSTING] }, 2), ONE_THREAD);
  expect(other.figures.loco_score).toBeUndefined();
  expect(Number(plain.figures.once_s)).toBeGreaterThan(Number(other.figures.once_s));
  const gap = (o: typeof plain) => o.score - (o.figures.loco_score as number);
  expect(gap(offsets)).toBeGreaterThan(gap(plain)); // seen contexts gain, new ones cannot
});

test("a task about new contexts is scored on contexts held out, with those seen beside", async () => {
  const task = {
    drop: ["rule"],
    context: "place",
    split: { by_context: true, gate: 0.2, sealed: 0.25 },
  };
  const domain = sampleDomain({ rows: 1200, context_shift: 3, task });
  const used = (rows: Uint32Array) => new Set(Array.from(rows, (r) => domain.data.context![r]));
  const { search, sealed } = domain.parts;
  expect([...used(search)].filter((c) => used(sealed).has(c))).toEqual([]);
  const member = { ...BOOSTING, features: { context: true } };
  const { score, figures } = await domain.evaluate(
    specOf(domain, { members: [member] }),
    ONE_THREAD,
  );
  expect(figures.loco_score).toBeUndefined();
  expect(figures.seen_score).toBeGreaterThan(score + 0.03); // the context helps where it is known
  // The sealed interval is of contexts, and says so.
  const model = await domain.fitFinal(specOf(domain, { members: [member] }));
  const opened = await domain.openSealed(model, model);
  expect(opened.notes.join()).toContain(`${used(sealed).size} contexts`);
  expect(opened.model.high - opened.model.low).toBeGreaterThan(0.2);
  expect(opened.difference.low).toBe(0);
});

test("the pipeline's class as a feature and the residual target beat the plain model", async () => {
  const task = { drop: ["place"], pipeline: "rule" };
  for (const classes of [2, 3]) {
    const domain = sampleDomain({ rows: 700, classes, task });
    const run = (more: object, features = {}) =>
      domain.evaluate(
        specOf(domain, { members: [{ ...BOOSTING, features }], ...more }),
        ONE_THREAD,
      );
    const plain = await run({});
    expect((await run({}, { pipeline: true })).score).toBeGreaterThan(plain.score + 0.02);
    const residual = await run({ target: "residual" });
    expect(residual.score).toBeGreaterThan(plain.score + 0.01);
  }
});

test("a saved model predicts a table by its columns' names and its levels' texts", async () => {
  const domain = sampleDomain({ task: { drop: [], context: "place", pipeline: "rule" } });
  const configuration = {
    members: [
      { ...BOOSTING, features: { pipeline: true, context: true, interactions: 0 } },
      { ...BOOSTING, params: { trees: 12, row_share: 0.6 }, bags: 2 },
    ],
    calibration: "isotonic",
    decision: { rule: "tuned", context: "offsets" },
  };
  const model = await domain.fitFinal(specOf(domain, configuration));
  expect(model.importance.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 5);
  const loaded = loadModel(model.bytes, learners);
  const table = sampleTable();
  const options = { threads: 1, unknown_levels: "refuse" } as const;
  const whole = await predictRows(loaded, table, options);
  const right = whole.decided.filter((c, row) => whole.classes[c] === `class ${labelAt(row)}`);
  expect(right.length / table.rows).toBeGreaterThan(0.85);
  function labelAt(row: number): number {
    const label = table.columns.at(-1)!;
    return label.kind === "category" ? label.codes[row]! : -1;
  }
  // Other order of columns and levels, label left out: the same answer.
  const columns = table.columns.slice(0, -1).reverse();
  const swapped = columns.map((column) => {
    if (column.kind === "number") return column;
    const levels = [...column.levels].reverse();
    return { ...column, levels, codes: column.codes.map((c) => levels.length - 1 - c) };
  });
  const again = await predictRows(loaded, { rows: table.rows, columns: swapped }, options);
  expect(again.probabilities).toEqual(whole.probabilities);
  const without = { rows: table.rows, columns: columns.filter((c) => c.name !== "a") };
  expect(predictRows(loaded, without, options)).rejects.toThrow('no column "a"');
  const strange = {
    rows: table.rows,
    columns: table.columns.map((c) =>
      c.kind === "category" && c.name === "colour" ? { ...c, levels: ["blue", "teal", "red"] } : c,
    ),
  };
  expect(predictRows(loaded, strange, options)).rejects.toThrow('has "teal" in row');
  await predictRows(loaded, strange, { ...options, unknown_levels: "missing" });
});

test("a residual model answers rows of which the pipeline says nothing, though it met none", async () => {
  const domain = sampleDomain({ rows: 300, task: { drop: ["place"], pipeline: "rule" } });
  const configuration = { members: [BOOSTING], target: "residual" };
  const model = await domain.fitFinal(specOf(domain, configuration));
  const loaded = loadModel(model.bytes, learners);
  const table = sampleTable({ rows: 300 });
  const silent = table.columns.map((c) =>
    c.kind === "category" && c.name === "rule" ? { ...c, codes: c.codes.map(() => -1) } : c,
  );
  const options = { threads: 1, unknown_levels: "refuse" } as const;
  const { decided } = await predictRows(loaded, { rows: 300, columns: silent }, options);
  const label = table.columns.at(-1)!;
  const right = decided.filter((c, row) => label.kind === "category" && label.codes[row] === c);
  expect(right.length / 300).toBeGreaterThan(0.65); // as the plain model, not at chance
});

test("a damaged model is refused", async () => {
  const domain = sampleDomain({ rows: 200 });
  const { bytes } = await domain.fitFinal(specOf(domain, { members: [BOOSTING] }));
  const bad = (change: (copy: Uint8Array) => Uint8Array) => () =>
    loadModel(change(bytes.slice()), learners);
  expect(bad((b) => b.subarray(0, 5))).toThrow("first bytes");
  expect(bad((b) => b.subarray(0, 40))).toThrow("cut off");
  expect(bad((b) => b.subarray(0, b.length - 9))).toThrow("not a saved");
  expect(bad((b) => b.fill(0x20, 12, 30))).toThrow("header");
  expect(bad((b) => new Uint8Array([...b, 1]))).toThrow("after its end");
});

test("where contexts are held out whole, they are what comparisons and the gate resample", async () => {
  const split = { by_context: true, gate: 0.3 };
  const task = { drop: ["rule"], context: "place", split };
  const domain = sampleDomain({ rows: 900, context_shift: 3, task });
  const rows = domain.parts.search;
  const label = rows.values().map((row) => domain.data.label[row]!);
  const truth = Int32Array.from(label);
  const place = Int32Array.from(rows, (row) => domain.data.context![row]!);
  // Right in every row of a context or in half of them: what varies is which contexts there are.
  const outcome = (right: (context: number) => boolean) => {
    const outputs = new Float32Array(4 * rows.length);
    truth.forEach((c, i) => {
      const decided = right(place[i]!) || i % 2 === 0 ? c : 1 - c;
      outputs[4 * i + decided] = 1;
      outputs[4 * i + 2 + decided] = 1;
    });
    return { score: 0, fold_scores: [], outputs, figures: {}, cpu_s: 0 };
  };
  const compared = domain.compare(
    outcome(() => false),
    outcome((c) => c % 2 === 0),
    1,
  );
  expect(new Set(place).size).toBeGreaterThan(2);
  // Rows alone would say about 0.03 each side.
  expect(compared.high - compared.low).toBeGreaterThan(0.3);
  const other = specOf(domain, { members: [BOOSTING] });
  const { gate } = await domain.gateScores(specOf(domain, domain.baseline()), other);
  expect(gate.low).toBeLessThanOrEqual(gate.difference);
});
