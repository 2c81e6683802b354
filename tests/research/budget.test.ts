/**
 * A budget of time is kept within 5%, whatever trials cost, and the time while a run does not run is
 * not charged. Clocks are simulated: each trial, gate read, final fit and analysis moves them by what
 * its configuration costs, so that thousands of seconds pass in none.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { canonicalJson } from "../../src/core/bytes.ts";
import { seededRandom } from "../../src/core/random.ts";
import { Budget } from "../../src/research/loop/budget.ts";
import {
  type Proposal,
  RECALL,
  type Spent,
  type TrialRunner,
} from "../../src/research/loop/faces.ts";
import { Gate } from "../../src/research/loop/gate.ts";
import { polish } from "../../src/research/loop/polish.ts";
import { runResearch } from "../../src/research/loop/run.ts";
import { type Model, RunState } from "../../src/research/loop/run-state.ts";
import type {
  Configuration,
  ResearchDomain,
  Strategy,
  Trial,
  TrialSpec,
} from "../../src/research/types.ts";
import { syntheticDomain } from "./synthetic.ts";

interface World {
  readonly seed: number;
  readonly kind: "cpu_s" | "wall_s";
  /** Baseline trials in the budget. */
  readonly trials: number;
  /** Cost of a trial at the ends of an axis, over the baseline's: 0.1 to 10. */
  readonly low: number;
  readonly high: number;
  /** Costs of equal trials differ by up to this factor. */
  readonly noise: number;
  /** CPU seconds of a fit over those of a trial. */
  readonly fit: number;
  /** Of a gate read's fits, over those of the end: on fewer rows. */
  readonly gate: number;
  readonly analysis: number;
  /** Of computing a trial again here, over what it took elsewhere; 0: no other machine. */
  readonly vouch: number;
  readonly workers: number;
  readonly fidelities: readonly number[];
}

const BUDGET = 100;
const RUNS = 30;
const PLAIN: World = {
  ...{ seed: 1, kind: "cpu_s", trials: 100, low: 1, high: 3, noise: 1.1 },
  ...{ fit: 0.6, gate: 0.8, analysis: 0.5, vouch: 0, workers: 2, fidelities: [0.5, 1] },
};

/** A domain and a runner that share the clocks. */
function simulated(
  world: World,
  began: Spent = { cpu_s: 0, wall_s: 0 },
  inner: ResearchDomain = syntheticDomain({ units: 40, fidelities: world.fidelities }),
) {
  const random = seededRandom(world.seed);
  const baseline_s = BUDGET / world.trials;
  const clocks = { ...began };
  const alone = (s: number) => {
    clocks.cpu_s += s;
    clocks.wall_s += s;
  };
  const noisy = () => world.noise ** (2 * random.next() - 1);
  const { low, high } = world;
  /** The baseline has a = 0.1, the optimum is at 0.8; c costs as well. */
  const costOf = (c: Configuration) => {
    const at = (Number(c.a) - 0.1) / 0.9;
    const factor = at >= 0 ? high ** at : low ** (at / -0.1);
    return baseline_s * Math.min(10, Math.max(0.1, factor * (Number(c.c) / 50) ** 0.3));
  };
  const domain: ResearchDomain = {
    ...inner,
    async analyse(best, trials) {
      alone(world.analysis * baseline_s * noisy());
      return inner.analyse(best, trials);
    },
    async gateScores(a, b) {
      for (const spec of [a, b])
        alone(costOf(spec.configuration) * world.fit * world.gate * noisy());
      return inner.gateScores(a, b);
    },
    async fitFinal(spec) {
      alone(costOf(spec.configuration) * world.fit * noisy());
      return inner.fitFinal(spec);
    },
  };
  let count = 0;
  const one = async (spec: TrialSpec, limit_s: number) => {
    const cpu_s = costOf(spec.configuration) * spec.fidelity * noisy();
    // The worker's process is looked at ten times a second.
    if (cpu_s > limit_s) return { cpu_s: limit_s + 0.1, outcome: null };
    const outcome = await inner.evaluate(spec, { threads: 1 });
    return { cpu_s, outcome: { ...outcome, cpu_s } };
  };
  const steps = new Map<string, unknown>();
  const took: number[] = [];
  const vouched = new Set<number>();
  const runner: TrialRunner = {
    async run(batch, { cpu_limit_s }) {
      const busy = new Array<number>(world.workers).fill(0);
      const trials: Trial[] = [];
      for (const proposal of batch) {
        const { cpu_s, outcome } = await one(proposal.spec, cpu_limit_s ?? Infinity);
        took.push(cpu_s);
        clocks.cpu_s += cpu_s * 1.02;
        busy[busy.indexOf(Math.min(...busy))]! += cpu_s * 1.02;
        const state = outcome ? "done" : "timed_out";
        const error = outcome ? null : "it took too long";
        trials.push({ index: count++, ...proposal, state, outcome, error });
      }
      clocks.wall_s += Math.max(...busy);
      return trials;
    },
    async vouch(trials) {
      for (const index of trials.filter((i) => !vouched.has(i))) {
        vouched.add(index);
        alone(took[index]! * world.vouch);
      }
    },
    spent: () => ({ ...clocks }),
    async once<T>(key: string, step: () => T | Promise<T>) {
      if (!steps.has(key)) steps.set(key, await step());
      return steps.get(key) as T;
    },
  };
  return { domain, runner, clocks };
}

const worlds: fc.Arbitrary<World> = fc.record({
  seed: fc.nat(1e6),
  kind: fc.constantFrom("cpu_s" as const, "wall_s" as const),
  trials: fc.integer({ min: 55, max: 120 }),
  low: fc.double({ min: 0.1, max: 1, noNaN: true }),
  high: fc.double({ min: 0.5, max: 10, noNaN: true }),
  noise: fc.double({ min: 1, max: 1.3, noNaN: true }),
  fit: fc.double({ min: 0.1, max: 2, noNaN: true }),
  gate: fc.double({ min: 0.5, max: 1.1, noNaN: true }),
  analysis: fc.double({ min: 0, max: 2, noNaN: true }),
  vouch: fc.constant(0),
  workers: fc.constantFrom(1, 2, 4),
  fidelities: fc.constantFrom([1], [0.5, 1], [0.25, 0.5, 1]),
});

const spentOf = async (world: World) => {
  const { domain, runner } = simulated(world);
  const budget = { [world.kind]: BUDGET };
  const { result } = await runResearch({ domain, budget, seed: world.seed, runner });
  return { result, share: result.spent[world.kind] / BUDGET };
};

describe("budgets of time", () => {
  test("end within 5%, whatever trials, gate reads, fits and analyses cost", async () => {
    let exhausted = 0;
    await fc.assert(
      fc.asyncProperty(worlds, async (world) => {
        const { share, result } = await spentOf(world);
        // Where every configuration has been tried there is nothing to spend the rest on.
        if (result.stop === "exhausted") exhausted++;
        else expect(share).toBeGreaterThanOrEqual(0.95);
        expect(share).toBeLessThanOrEqual(1.05);
      }),
      { numRuns: RUNS },
    );
    expect(exhausted).toBeLessThan(RUNS / 5);
  });

  test("what passed before a resumption is not charged twice, nor the time between", async () => {
    // The clocks of the runner go on where the earlier life's stood; only they are asked.
    const world = { ...PLAIN, kind: "wall_s" as const };
    const { domain, runner } = simulated(world, { cpu_s: 40, wall_s: 40 });
    const { result } = await runResearch({ domain, budget: { wall_s: BUDGET }, seed: 1, runner });
    expect(result.spent.wall_s / BUDGET).toBeGreaterThanOrEqual(0.95);
    expect(result.spent.wall_s / BUDGET).toBeLessThanOrEqual(1.05);
  });

  test("end within 5% where all that other machines say is computed again here", async () => {
    for (const kind of ["cpu_s", "wall_s"] as const)
      for (let seed = 1; seed <= 10; seed++) {
        const world = { ...PLAIN, kind, seed, trials: 80, vouch: 1 };
        const { share, result } = await spentOf(world);
        expect({ seed, kind, over: share > 1.05, share }).toMatchObject({ over: false });
        const under = share < 0.95 && result.stop !== "exhausted";
        expect({ seed, kind, under, share }).toMatchObject({ under: false });
      }
  });

  test("a recalled configuration is stopped at a sixteenth of what is left, others later", async () => {
    const { domain, runner } = simulated({ ...PLAIN, noise: 1, fidelities: [1] });
    const configurations = [{ a: 0.7, b: 0.3, c: 12, shape: "flat" }];
    const told = { gain: 0, spread: 0, weight: 1, settings: [], configurations };
    const knowledge = { prior: () => ({ [RECALL]: told }), record: () => undefined };
    const limits = new Map<string, number>();
    const noting: TrialRunner = {
      ...runner,
      run(batch, options) {
        const { strategy } = batch[0]!.place;
        if (!limits.has(strategy)) limits.set(strategy, options.cpu_limit_s!);
        return runner.run(batch, options);
      },
    };
    const budget = { cpu_s: BUDGET };
    await runResearch({ domain, budget, seed: 1, runner: noting, knowledge });
    expect(limits.get(RECALL)).toBeGreaterThan(BUDGET / 20);
    expect(limits.get(RECALL)).toBeLessThanOrEqual(BUDGET / 16);
    const [, other] = [...limits].find(([id]) => id.startsWith("mend"))!;
    expect(other).toBeGreaterThan(BUDGET / 16);
  });

  test("a measured final fit stays what later gate reads are planned beside", () => {
    const budget = new Budget({ cpu_s: 100 });
    budget.begin({ cpu_s: 0, wall_s: 0 });
    budget.fitDone(10, { cpu_s: 30, wall_s: 30 });
    budget.gateDone(10, { cpu_s: 35, wall_s: 35 });
    const reserve = { trials: 0, confirm_s: 0, gate_s: 0, fit_s: 10 };
    expect(budget.left_s(reserve)).toBeCloseTo(100 - 35 - 30, 9);
  });
});

describe("the last comparison", () => {
  test("keeps the trials of a finalist where another one's fails", async () => {
    const domain = syntheticDomain();
    const options = { seed: 1, batch: 4, patience: null, epsilon: null, taught: false };
    const gate = new Gate(seededRandom(1));
    const run = new RunState(domain, options, new Budget({ trials: 50 }), gate);
    const trialOf = async (proposal: Proposal, index: number): Promise<Trial> => {
      const outcome = await domain.evaluate(proposal.spec, { threads: 1 });
      return { index, ...proposal, state: "done", outcome, error: null };
    };
    const modelOf = async (configuration: Configuration): Promise<Model> => {
      const trials = [1, 2, 3].map((seed, i) =>
        trialOf(
          { place: run.place(1, "guess", "optimizer"), spec: run.spec(configuration, seed) },
          i,
        ),
      );
      return { configuration, version: 1, strategy: "guess", trials: await Promise.all(trials) };
    };
    run.baseline = await modelOf(domain.baseline());
    const [good, frail] = [
      { a: 0.8, b: 0.1, c: 12 },
      { a: 0.7, b: 0.1, c: 12 },
    ].map((c) => modelOf(domain.parse(c)));
    run.incumbent = run.leader = await good!;
    run.confirmed.push(await good!, await frail!);
    const part = polish(run);
    let answer: unknown;
    for (let step = part.next(); !step.done; step = part.next(answer)) {
      answer = { cpu_s: 0, wall_s: 0 };
      if (step.value.kind !== "trials") continue;
      answer = await Promise.all(
        step.value.batch.map(async (proposal, i): Promise<Trial> => {
          const trial = await trialOf(proposal, 10 + i);
          const lost = canonicalJson(proposal.spec.configuration).includes('"a":0.7');
          return lost ? { ...trial, state: "crashed", outcome: null, error: "lost" } : trial;
        }),
      );
    }
    expect((await good!).trials.map((t) => t.spec.seed)).toEqual([1, 2, 3, 4]);
    expect((await frail!).trials).toHaveLength(3);
  });
});

test("a find far above the noise is confirmed by the seeds that fit, not lost for want of any", async () => {
  // The portfolio has the optimum, at six times the baseline's cost.
  const optimum = { a: 0.8, b: 0.1, c: 12, shape: "round" };
  const portfolio: Strategy = {
    ...{ id: "guesses", family: "guesses", targets: [], opening: true, summary: "A good guess." },
    sweep: () => ({ base: optimum, space: {}, first: [optimum], trials_max: 1 }),
  };
  const seeds = new Set<number>();
  for (const trials of [18, 20, 22, 24, 27, 30, 35]) {
    const plain = syntheticDomain({ units: 40 });
    const strategies = [...plain.strategies, portfolio];
    const world = { ...PLAIN, trials, high: 10, noise: 1, fidelities: [1] };
    const { domain, runner } = simulated(world, undefined, { ...plain, strategies });
    const { result } = await runResearch({ domain, budget: { cpu_s: BUDGET }, seed: 1, runner });
    const { candidate, reason } = result.final;
    const told = `a budget of ${trials} baseline trials: ${reason}, ${candidate.score}`;
    if (reason !== "accepted" || candidate.score < 0.9) throw new Error(told);
    seeds.add(candidate.seeds);
    expect(result.spent.cpu_s).toBeLessThanOrEqual(1.05 * BUDGET);
  }
  // All three where they fit, two where they do not.
  expect([...seeds].sort()).toEqual([2, 3]);
});
