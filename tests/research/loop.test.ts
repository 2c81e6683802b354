/**
 * Algorithm 1 on a domain with a known optimum: it finds it, keeps its promises about gate, sealed
 * part and budget, makes the same proposals again, and finds nothing where there is nothing.
 */
import { describe, expect, test } from "bun:test";
import { canonicalJson } from "../../src/core/bytes.ts";
import { systemClock } from "../../src/core/clock.ts";
import { seededRandom } from "../../src/core/random.ts";
import type { ResearchEvent, ResearchResult } from "../../src/research/loop/events.ts";
import { type Insight, RECALL, type TrialRunner } from "../../src/research/loop/faces.ts";
import { LOOP_LIMITS } from "../../src/research/loop/limits.ts";
import { type ResearchOptions, runResearch } from "../../src/research/loop/run.ts";
import type {
  Configuration,
  PairedDifference,
  ResearchDomain,
  Strategy,
  Trial,
  TrialSpec,
} from "../../src/research/types.ts";
import { localRunner } from "./local-runner.ts";
import { type SyntheticOptions, syntheticDomain } from "./synthetic.ts";

type Extra = Partial<ResearchOptions> & { synthetic?: SyntheticOptions };

async function run(extra: Extra = {}) {
  const domain = syntheticDomain(extra.synthetic);
  const events: ResearchEvent[] = [];
  const { result, model } = await runResearch({
    domain,
    budget: { trials: 60 },
    seed: 1,
    runner: localRunner({ domain, clock: systemClock }),
    onEvent: (event) => events.push(event),
    ...extra,
  });
  return { domain, events, result, model };
}

/** A result without what clocks measured. */
const timeless = (result: ResearchResult) =>
  canonicalJson({
    ...result,
    spent: 0,
    cost_so_far: 0,
    versions: result.versions.map((v) => ({
      ...v,
      spent: 0,
      strategies: v.strategies.map((s) => ({ ...s, cpu_s: 0 })),
    })),
  });

describe("the loop", () => {
  test("climbs to the known optimum and is believed by the sealed part", async () => {
    const { result, domain, model } = await run();
    expect(result.final.reason).not.toBe("baseline");
    // The optimum is 0.9, the baseline 0.586.
    expect(result.sealed.model.score).toBeGreaterThan(0.82);
    expect(result.sealed.difference.low).toBeGreaterThan(0);
    expect(result.sealed.no_edge).toBe(false);
    expect(model.configuration).toEqual(result.final.candidate.configuration);
    expect(domain.reads.sealed).toBe(1);
    expect(result.trials.done).toBeLessThanOrEqual(60);
    expect(result.best_so_far).toHaveLength(result.trials.done!);
  });

  test("versions name their failures and the strategies aimed at them", async () => {
    const { result } = await run();
    const first = result.versions[0]!;
    expect(first.failures.map((f) => f.kind)).toEqual(["overfit", "underfit", "interactions"]);
    const aimed = first.strategies.filter((s) => s.strategy !== "merge");
    expect(aimed.map((s) => s.family).sort()).toEqual(["family-a", "family-b", "family-c"]);
    for (const s of aimed) expect(s.why).toContain("aimed at");
    expect(first.verdict?.reason).toContain("lower bound");
  });

  test("what several strategies of a version found is tried together and wins", async () => {
    const { result } = await run({ budget: { trials: 150 } });
    const merges = result.versions.flatMap((v) => v.strategies.filter((s) => s.family === "merge"));
    expect(merges.length).toBeGreaterThan(0);
    expect(merges.some((m) => m.result === "accepted")).toBe(true);
  });

  test("where nothing can be learnt it keeps to the baseline's level and says so", async () => {
    let accepted = 0;
    let versions = 0;
    for (let seed = 1; seed <= 6; seed++) {
      const synthetic = { scale: 0, trial_noise: 0.3 };
      const { result } = await run({ seed, synthetic });
      accepted += result.versions.filter((v) => v.verdict?.accepted).length;
      versions += result.versions.length;
      expect(Math.abs(result.sealed.model.score - 0.5)).toBeLessThan(0.12);
      expect(result.sealed.no_edge || result.sealed.model.low < 0.53).toBe(true);
    }
    expect(versions).toBeGreaterThan(12);
    expect(accepted / versions).toBeLessThan(0.25);
  });

  test("the gate answers no more queries than it may, the sealed part opens once", async () => {
    const { result, domain, events } = await run({ budget: { trials: 700 }, patience: 40 });
    expect(domain.reads.gate).toBeLessThanOrEqual(LOOP_LIMITS.gate_queries);
    expect(result.gate_queries).toHaveLength(domain.reads.gate);
    expect(domain.reads.sealed).toBe(1);
    expect(events.filter((e) => e.kind === "sealed")).toHaveLength(1);
    expect(events.filter((e) => e.kind === "gate")).toHaveLength(domain.reads.gate);
  });

  test("converges after versions without a gain and leaves the rest of the budget", async () => {
    const { result, events } = await run({ budget: { trials: 900 }, patience: 2, epsilon: 0.02 });
    expect(result.stop).toBe("converged");
    expect(events.some((e) => e.kind === "converged")).toBe(true);
    expect(result.versions.slice(-2).every((v) => v.gain < 0.02)).toBe(true);
    expect(result.trials.done!).toBeLessThan(500);
  });
});

describe("a dear strategy", () => {
  const withDear = (trials: number) => {
    const domain = syntheticDomain({ scale: 0 });
    const [like] = domain.strategies;
    const dear = { ...like!, id: "dear", family: "dear", targets: [], dear_s: 10 };
    const both = { ...domain, strategies: [...domain.strategies, dear] };
    const runner = localRunner({ domain: both, clock: systemClock });
    return run({ domain: both, runner, budget: { trials }, synthetic: { scale: 0 } });
  };
  const timesOf = ({ versions }: ResearchResult) =>
    versions.map((v) => v.strategies.filter((s) => s.strategy === "dear").length);

  test("is left alone where the budget is short: the run is the one without it", async () => {
    const { result } = await withDear(60);
    const plain = await run({ synthetic: { scale: 0 } });
    expect(timeless(result)).toBe(timeless(plain.result));
  });

  test("is tried once where the budget is ample, after a version without a gain", async () => {
    const { result } = await withDear(400);
    const times = timesOf(result);
    expect(times.reduce((a, b) => a + b, 0)).toBe(1);
    expect(result.versions[times.indexOf(1) - 1]!.gain).toBeLessThanOrEqual(0);
  });
});

describe("replay", () => {
  test("the order of arrival decides nothing", async () => {
    const plain = await run({ synthetic: { crashes: (c) => Number(c.c) === 7 } });
    const domain = syntheticDomain({ crashes: (c) => Number(c.c) === 7 });
    const inner = localRunner({ domain, clock: systemClock });
    const random = seededRandom(5);
    const shuffled: TrialRunner = {
      ...inner,
      async run(batch, options) {
        const order = batch.map((_, i) => i).sort(() => random.next() - 0.5);
        const trials: Trial[] = [];
        for (const i of order) [trials[i]] = (await inner.run([batch[i]!], options)) as [Trial];
        const least = Math.min(...trials.map((t) => t.index));
        return trials.map((trial, i) => ({ ...trial, index: least + i }));
      },
    };
    const other = await run({ runner: shuffled, synthetic: { crashes: (c) => Number(c.c) === 7 } });
    expect(timeless(other.result)).toBe(timeless(plain.result));
  });

  test("stopped anywhere and resumed from its store it ends with the same result", async () => {
    const whole = await run();
    for (const stopAt of [1, 9, 10, 33, whole.result.trials.done! - 1]) {
      const domain = syntheticDomain();
      const store: Trial[] = [];
      const steps = new Map<string, unknown>();
      const life = (limit: number): TrialRunner => {
        const inner = localRunner({ domain, clock: systemClock });
        let at = 0;
        return {
          spent: inner.spent,
          async run(batch, options) {
            const trials: Trial[] = [];
            for (const proposal of batch) {
              if (at === store.length) {
                if (at === limit) throw new Error("killed");
                const [trial] = await inner.run([proposal], options);
                store.push({ ...trial!, index: at });
              }
              expect(store[at]!.spec).toEqual(proposal.spec);
              trials.push(store[at++]!);
            }
            return trials;
          },
          async once<T>(key: string, step: () => T | Promise<T>) {
            if (!steps.has(key)) steps.set(key, await step());
            return steps.get(key) as T;
          },
        };
      };
      const options = { domain, budget: { trials: 60 }, seed: 1 };
      const killed = await runResearch({ ...options, runner: life(stopAt) }).catch((e) => e);
      expect(String(killed)).toContain("killed");
      const events: ResearchEvent[] = [];
      const resumed = await runResearch({
        ...options,
        runner: life(Infinity),
        onEvent: (e) => events.push(e),
      });
      expect(timeless(resumed.result)).toBe(timeless(whole.result));
      expect(events).toHaveLength(whole.events.length);
      expect(domain.reads).toEqual(whole.domain.reads);
    }
  });
});

describe("crashes, teachers and knowledge", () => {
  test("crashed trials are outcomes; a strategy that only crashes is told as crashed", async () => {
    const crashes = (c: { readonly [k: string]: unknown }) => c.b !== 5;
    const { result } = await run({ synthetic: { crashes } });
    const crashed = result.versions.flatMap((v) =>
      v.strategies.filter((s) => s.strategy === "mend-b" && s.trials > 0),
    );
    expect(crashed.length).toBeGreaterThan(0);
    for (const s of crashed) expect([s.result, s.failed]).toEqual(["crashed", s.trials]);
    expect(result.trials.crashed).toBeGreaterThan(0);
    expect(result.sealed.difference.low).toBeGreaterThan(0);
  });

  test("a teacher has at most 30% of a sweep; what the domain refuses is counted", async () => {
    const teacher = {
      async propose() {
        const good = Array.from({ length: 40 }, (_, i) => ({
          strategy: "mend-b",
          configuration: { a: 0.1, b: 0.1 + i / 1000, c: 50, shape: "flat" },
        }));
        const bad = [
          { strategy: "mend-b", configuration: { evil: "code()" } },
          { strategy: "unheard-of", configuration: { a: 0, b: 1, c: 2 } },
        ];
        return { proposals: [...good, ...bad], note: "forty ideas" };
      },
    };
    const { result } = await run({ teacher, budget: { trials: 100 } });
    const taught = result.versions.filter((v) => v.teacher.offered > 0);
    expect(taught.length).toBe(result.versions.length);
    expect(taught.reduce((sum, v) => sum + v.teacher.used, 0)).toBeGreaterThan(0);
    for (const v of taught) {
      const swept = v.strategies.find((s) => s.strategy === "mend-b")?.trials ?? 0;
      expect(v.teacher.used).toBeLessThanOrEqual(LOOP_LIMITS.teacher_share * swept);
      expect(v.teacher.refused).toBeGreaterThanOrEqual(2);
    }
  });

  test("a teacher that fails costs nothing but its ideas", async () => {
    const teacher = {
      async propose(): Promise<never> {
        throw new Error("HTTP 500");
      },
    };
    const { result, events } = await run({ teacher });
    expect(result.final.reason).not.toBe("baseline");
    const notes = events.flatMap((e) => (e.kind === "teacher" ? [e.note] : []));
    expect(notes[0]).toContain("HTTP 500");
  });

  test("every strategy that ran is recorded, good or bad, once", async () => {
    const insights: Insight[] = [];
    const knowledge = { prior: () => ({}), record: (i: Insight) => void insights.push(i) };
    const { result } = await run({ knowledge });
    const ran = result.versions.flatMap((v) =>
      v.strategies.filter((s) => s.trials > 0 && s.strategy !== "merge"),
    );
    // And what the run ended with, once.
    const final = insights.filter((i) => i.strategy === RECALL);
    expect(final.map((i) => i.configuration)).toEqual([result.final.candidate.configuration]);
    expect(final[0]!.difference!.difference).toBeGreaterThan(0);
    expect(insights).toHaveLength(ran.length + 1);
    expect(new Set(insights.map((i) => i.key)).size).toBe(insights.length);
    expect(insights.some((i) => i.result === "accepted")).toBe(true);
    expect(insights.some((i) => i.result !== "accepted")).toBe(true);
    expect(Object.keys(insights.find((i) => i.strategy === "mend-a")!.settings)).toEqual([
      "a",
      "shape",
    ]);
  });
});

describe("openings", () => {
  const guess = { a: 0.7, b: 0.3, c: 12, shape: "flat" };
  const portfolio: Strategy = {
    ...{ id: "guesses", family: "guesses", targets: [], opening: true, summary: "Good guesses." },
    sweep: () => ({ base: guess, space: {}, first: [guess, { ...guess, a: 0.6 }], trials_max: 2 }),
  };
  const recalled = { ...guess, b: 0.2 };
  const knowing = (configurations: Configuration[]) => ({
    prior: () => ({ [RECALL]: { gain: 0, spread: 0, weight: 1, settings: [], configurations } }),
    record: () => undefined,
  });
  const searched = (events: ResearchEvent[]) =>
    events.flatMap((e) =>
      e.kind === "trial" && e.place.version > 0 && e.seed === 1 ? [e.place.strategy] : [],
    );

  test("what the knowledge base recalls is tried first, then the domain's portfolio", async () => {
    const domain = {
      ...syntheticDomain(),
      strategies: [...syntheticDomain().strategies, portfolio],
    };
    const runner = localRunner({ domain, clock: systemClock });
    // The second is of a task that offers more: refused by the domain, it costs no trial.
    const knowledge = knowing([recalled, { ...recalled, other: 7 }]);
    const { events } = await run({ domain, runner, knowledge });
    expect(searched(events).slice(0, 3)).toEqual([RECALL, "guesses", "guesses"]);
    // Once in a run.
    expect(searched(events).filter((s) => s === "guesses")).toHaveLength(2);
    const first = events.find((e) => e.kind === "strategies")!;
    expect(first.kind === "strategies" && first.chosen.map((c) => c.strategy)).not.toContain(
      "guesses",
    );
  });

  test("a recalled one that is better ends the first version, the next starts from it", async () => {
    const { result } = await run({ knowledge: knowing([recalled]) });
    const [first, second] = result.versions;
    expect(first!.strategies.map((s) => s.strategy)).toEqual([RECALL]);
    expect(second!.started_from.configuration).toMatchObject(recalled);
    expect(second!.strategies.length).toBeGreaterThan(1);
  });

  test("one that is no better costs its trial: the first version is planned as ever", async () => {
    const worse = { a: 0.1, b: 9, c: 60, shape: "flat" };
    const { result } = await run({ knowledge: knowing([worse]) });
    const strategies = result.versions[0]!.strategies.filter((s) => s.strategy !== "merge");
    expect(strategies.map((s) => s.family).sort()).toEqual([
      ...["family-a", "family-b", "family-c", RECALL],
    ]);
  });

  test("what only makes sense on the other task is left out of a recalled one", async () => {
    const adopt = ({ other, ...rest }: Configuration) => rest;
    const domain = { ...syntheticDomain(), adopt };
    const runner = localRunner({ domain, clock: systemClock });
    const knowledge = knowing([{ ...recalled, other: 7 }]);
    const { events } = await run({ domain, runner, knowledge });
    expect(searched(events)[0]).toBe(RECALL);
  });

  describe("where trials are counted", () => {
    const varied: number[] = [];
    /** Steps from the best trial so far. */
    const own: Strategy = {
      ...{ id: "own", family: "own", targets: [], share: 0.75, summary: "Goes on from the best." },
      sweep: ({ best, counted }) =>
        counted
          ? {
              ...{ base: best.spec.configuration, space: {}, first: [], trials_max: 40 },
              propose: (trials, random) => {
                varied.push(trials.length);
                const top = trials.reduce((a, b) => (b.outcome!.score > a.outcome!.score ? b : a));
                return { ...top.spec.configuration, b: Number(random.next().toFixed(6)) };
              },
            }
          : null,
    };
    const ran = async (trials: number, more: Partial<ResearchDomain> = {}) => {
      const plain = syntheticDomain();
      const domain = { ...plain, ...more, strategies: [...plain.strategies, portfolio, own] };
      const runner = localRunner({ domain, clock: systemClock });
      varied.length = 0;
      return run({ domain, runner, budget: { trials } });
    };

    test("nothing is planned around a model that the openings have left behind", async () => {
      const { events, result } = await ran(60);
      const [first, second] = result.versions;
      expect(new Set(searched(events).slice(0, 2))).toEqual(new Set(["guesses"]));
      const ids = first!.strategies.map((s) => s.strategy).filter((id) => id !== "merge");
      expect(ids.sort()).toEqual(["guesses", "own"]);
      expect(second!.strategies.length).toBeGreaterThan(2);
    });

    test("a strategy with a share has it in every version and sees each batch's trials", async () => {
      const { result } = await ran(60);
      for (const { strategies } of result.versions.slice(1)) {
        const planned = strategies.filter((s) => s.strategy !== "merge");
        const all = planned.reduce((sum, s) => sum + s.trials, 0);
        const share = planned.find((s) => s.strategy === "own")!.trials;
        expect(share).toBeGreaterThanOrEqual(0.75 * all - 1);
        expect(share).toBeLessThan(all);
      }
      expect(new Set(varied).size).toBeGreaterThan(result.versions.length);
    });

    test("where the gate objects to the best of many, the best opening may be final", async () => {
      const objected: PairedDifference = {
        ...{ difference: -0.2, standard_error: 0.01, level: 0.95, low: -0.22, high: -0.18 },
      };
      const { gateScores } = syntheticDomain();
      const isOpening = ({ configuration: c }: TrialSpec) => c.b === guess.b;
      const { events, result } = await ran(60, {
        gateScores: async (a, b) => (isOpening(b) ? await gateScores(a, b) : { gate: objected }),
      });
      const confirmed = events.filter(
        (e) => e.kind === "trial" && e.seed !== 1 && e.place.strategy === "guesses",
      );
      expect(confirmed.length).toBeGreaterThan(0);
      expect(result.final.candidate.strategy).toBe("guesses");
    });

    test("few trials are planned as ever", async () => {
      const { result } = await ran(LOOP_LIMITS.counted_trials_min - 1);
      const ids = result.versions.flatMap((v) => v.strategies.map((s) => s.strategy));
      expect(ids).not.toContain("own");
      expect(ids.some((id) => id.startsWith("mend"))).toBe(true);
    });
  });

  test("take no more than their share of a small budget", async () => {
    const many = [0.1, 0.2, 0.3, 0.4].map((b) => ({ ...guess, b }));
    const { events } = await run({ budget: { trials: 14 }, knowledge: knowing(many) });
    const count = searched(events).filter((s) => s === RECALL).length;
    expect(count).toBeGreaterThan(0);
    expect(count).toBeLessThanOrEqual(14 * LOOP_LIMITS.openings_share);
  });
});

describe("budgets", () => {
  test("a budget of nothing is refused with a hint", async () => {
    const error = await run({ budget: { trials: 0 } }).catch((e) => e);
    expect([error.code, error.exit]).toEqual(["BAD_BUDGET", "config"]);
  });

  test("successive halving ends at full fidelity and costs less", async () => {
    const synthetic = { fidelities: [0.25, 0.5, 1] };
    const limited = await run({ budget: { trials: 40 }, synthetic });
    // Where trials are counted, half a trial costs as much as a whole one.
    expect(limited.events.some((e) => e.kind === "trial" && e.fidelity < 1)).toBe(false);
    const burning = { ...synthetic, burn_s: () => 0.03 };
    const { result, events } = await run({ budget: { cpu_s: 1.5 }, synthetic: burning });
    expect(result.sealed.difference.low).toBeGreaterThan(0);
    const trials = events.filter((e) => e.kind === "trial");
    const low = trials.filter((t) => t.fidelity < 1).length;
    expect(low).toBeGreaterThan(trials.length / 4);
    const best = trials.find((t) => t.trial === result.final.candidate.trial)!;
    expect(best.fidelity).toBe(1);
  });
});
