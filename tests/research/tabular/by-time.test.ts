/**
 * The tabular domain in the order of time, and what the coordinator pays for: probes of error
 * analysis are kept from version to version, and a look at the gate fits two models.
 */
import { expect, test } from "bun:test";
import type { Learners } from "../../../src/native/learner-types.ts";
import * as learners from "../../../src/native/learners.ts";
import { parseTabular } from "../../../src/research/tabular/configuration.ts";
import { TabularDomain } from "../../../src/research/tabular/domain.ts";
import { coveredRows } from "../../../src/research/tabular/outputs.ts";
import { allRows, takeRows } from "../../../src/research/tabular/part.ts";
import { PartFitter } from "../../../src/research/tabular/part-fitter.ts";
import { Prober } from "../../../src/research/tabular/probe.ts";
import { trialOf } from "../planted/lab.ts";
import { sampleDomain, specOf } from "./sample.ts";

const ONE_THREAD = { threads: 1 };
const BOOSTING = { learner: "boosting", params: { trees: 20 } };
const TUNED = { members: [BOOSTING], decision: { rule: "tuned" } };

/** The same domain with its fits counted. */
function counted(domain: TabularDomain) {
  const count = { fits: 0 };
  const counting: Learners = {
    ...learners,
    fit: (...args) => {
      count.fits++;
      return learners.fit(...args);
    },
  };
  return { domain: new TabularDomain(domain.task, domain.data, counting), count };
}

test("with a time the newest rows are sealed, and the oldest are never validated", async () => {
  const domain = sampleDomain({ rows: 900, task: { time: "d" } });
  const time = domain.data.time!;
  const of = (rows: Uint32Array) => Array.from(rows, (row) => time[row]!);
  const { search, gate, sealed } = domain.parts;
  expect(Math.max(...of(search))).toBeLessThan(Math.min(...of(gate)));
  expect(Math.max(...of(gate))).toBeLessThan(Math.min(...of(sealed)));
  const boosting = await trialOf(domain, TUNED);
  const rows = coveredRows(boosting.outcome!.outputs, 2);
  expect(rows.length / search.length).toBeCloseTo(0.56, 1);
  const covered = new Set(rows);
  const never = search.filter((_, i) => !covered.has(i));
  expect(Math.max(...of(never))).toBeLessThan(
    Math.min(...of(search.filter((_, i) => covered.has(i)))),
  );
  const logistic = await trialOf(domain, { members: [{ learner: "logistic" }] }, 1);
  const { difference } = domain.compare(boosting.outcome!, logistic.outcome!, 1);
  expect(difference).toBeCloseTo(logistic.outcome!.score - boosting.outcome!.score, 6);
  // At another seed and at a lower fidelity no other rows are judged.
  const fidelity = domain.fidelities[0]!;
  const spec = { ...specOf(domain, TUNED, 2), fidelity };
  expect(coveredRows((await domain.evaluate(spec, ONE_THREAD)).outputs, 2)).toEqual(rows);
  for (const failure of await domain.analyse(boosting, [boosting, logistic]))
    expect(Number.isFinite(failure.strength)).toBe(true);
  const model = await domain.fitFinal(boosting.spec);
  const opened = await domain.openSealed(model, await domain.fitFinal(logistic.spec));
  expect(opened.model.units).toBe(sealed.length);
  expect(opened.model.low).toBeGreaterThan(opened.trivial.score);
  await domain.close();
});

test("with a time a context left out is judged on its newer rows by older ones", async () => {
  const task = { time: "d", drop: ["rule"], context: "place" };
  const domain = sampleDomain({ rows: 900, context_shift: 1, task });
  const outcome = await domain.evaluate(specOf(domain, TUNED), ONE_THREAD);
  expect(Object.keys(outcome.figures.loco_hit_rates as object)).toHaveLength(6);
  expect(outcome.figures.loco_score as number).toBeGreaterThan(0.6);
  await domain.close();
});

test("split.by_time: false splits at random", async () => {
  const domain = sampleDomain({ rows: 400, task: { time: "d", split: { by_time: false } } });
  const { parts } = sampleDomain({ rows: 400, task: { drop: ["rule", "place", "d"] } });
  expect(domain.parts).toEqual(parts);
  const { outputs } = await domain.evaluate(specOf(domain, TUNED), ONE_THREAD);
  expect(coveredRows(outputs, 2).length).toBe(parts.search.length);
  await domain.close();
});

test("an analysis of the same model, or of one that decides otherwise, fits nothing again", async () => {
  for (const task of [{}, { time: "d" }]) {
    const { domain, count } = counted(sampleDomain({ rows: 500, task }));
    const trial = await trialOf(domain, { members: [BOOSTING] });
    const before = count.fits;
    const found = await domain.analyse(trial, [trial]);
    expect(count.fits - before).toBeGreaterThan(10);
    const paid = count.fits;
    expect(await domain.analyse(trial, [trial])).toEqual(found);
    expect(count.fits).toBe(paid);
    const tuned = await trialOf(domain, TUNED, 1);
    await domain.analyse(tuned, [trial, tuned]);
    expect(count.fits).toBe(paid);
    await domain.close();
  }
});

test("a probe without some rows is not taken for one without as many others", async () => {
  const { data } = sampleDomain({ rows: 400 });
  const part = takeRows(data, allRows(400));
  const features = { top_k: 2 };
  const configuration = parseTabular(
    { members: [{ ...BOOSTING, features }] },
    { contexts: false, pipeline: false, time: false },
  );
  const ask = (prober: Prober, without: Uint32Array) =>
    prober.over(allRows(400))({ configuration, positions: allRows(400), folds: 3, without });
  const some = allRows(400).filter((row) => part.label[row] === 0 && row % 2 === 0);
  const others = allRows(400)
    .filter((row) => part.label[row] === 1)
    .slice(0, some.length);
  expect(others.length).toBe(some.length);
  const one = new PartFitter(learners, part);
  const prober = new Prober(one, false);
  const first = await ask(prober, some);
  const second = await ask(prober, others);
  expect(second).not.toEqual(first);
  const fresh = new PartFitter(learners, part);
  expect(await ask(new Prober(fresh, false), others)).toEqual(second);
  one.close();
  fresh.close();
});

test("a look at the gate fits each model once, and no folds that it does not need", async () => {
  const { domain, count } = counted(sampleDomain({ rows: 500 }));
  const other = specOf(domain, { members: [BOOSTING] });
  await domain.gateScores(specOf(domain, domain.baseline()), other);
  expect(count.fits).toBe(2);
  await domain.close();
});
