/**
 * One version of Algorithm 1: error analysis of the leading model, strategies of different
 * families aimed at its failures, a sweep of each, the best of all. A version's trials go out in
 * fixed batches: every strategy makes its first guesses, then those that do best get the rest.
 */
import { chooseStrategies, type Ranked, rankStrategies } from "../search/bandit.ts";
import type { Configuration, Failure, Strategy, StrategyState, Sweep, Trial } from "../types.ts";
import {
  type Arm,
  bestOf,
  finish,
  mergeWinners,
  nextBatch,
  openArm,
  type Picked,
  parseOrNull,
  runBatch,
  unitOf,
} from "./arms.ts";
import type { StrategyChoice } from "./events.ts";
import { type Priors, RECALL, type Signature } from "./faces.ts";
import { LOOP_LIMITS } from "./limits.ts";
import { runOpenings } from "./openings.ts";
import { type RunState, stateOf } from "./run-state.ts";
import { askFailures, askPriors, askSpent, askTeacher, type Part, tell } from "./steps.ts";

export interface Explored {
  readonly failures: readonly Failure[];
  readonly signature: Signature;
  readonly arms: readonly Arm[];
  readonly teacher: { offered: number; refused: number };
  /** The best of all arms at full fidelity, null when nothing ran. */
  readonly best: Trial | null;
  /** The best opening: of a few, where the best of all may be the luckiest of many. */
  readonly opening: Trial | null;
}

/** Runs a version's sweeps; `trials` is its allotment. */
export function* explore(
  run: RunState,
  version: number,
  trials: number,
  known: readonly Failure[] | null,
): Part<Explored> {
  const failures = known ?? (yield* analyse(run, version));
  yield* tell({ kind: "failures", version, failures });
  const signature: Signature = {
    facts: run.domain.facts,
    data: run.domain.data_hash,
    metric: run.domain.metric,
    failures: failures.map(({ kind, strength }) => ({ kind, strength })),
  };
  const priors = yield* askPriors(version, signature);
  // What other tasks ended with is tried before anything is planned around the baseline: where it
  // is better, nothing is, and the next version starts from it. So are all openings where trials
  // are counted: a strategy around a model that they have left behind would be wasted, and only
  // what builds on all trials goes on at once.
  const open = () => runOpenings(run, version, failures, priors);
  const { counted } = run.budget;
  const early = version === 1 && (counted || recalls(priors)) ? yield* open() : null;
  const settles = (arm: Arm) => (counted || isRecalled(arm)) && improves(run, arm);
  const settled = early?.some(settles) ?? false;
  const state = stateOf(run, failures);
  const apart = sharedOut(run, state);
  const ranked = settled ? [] : choose(run, version, state, priors, trials, apart);
  const picked = [...apart, ...ranked];
  yield* tell({ kind: "strategies", version, chosen: picked.map((p) => choiceOf(p.ranked)) });
  const teacher = { offered: 0, refused: 0 };
  const taught = yield* teach(run, version, failures, picked, trials, teacher);
  const opened = early ?? (version === 1 ? yield* open() : []);
  const arms = picked.map((p) => openArm(run, version, p, priors, taught.get(p.ranked) ?? []));
  const typical = run.typicalCost();
  let left = trials;
  while (left > 0) {
    const batch = nextBatch(run, version, arms, Math.min(Math.ceil(left), run.options.batch));
    if (batch.length === 0) break;
    yield* runBatch(run, batch);
    left -= sizeOf(run, batch, typical);
  }
  arms.push(...opened);
  yield* finish(run, version, arms);
  const merge = yield* mergeWinners(run, version, arms);
  if (merge) arms.push(merge);
  const best = bestOfArms(arms);
  return { failures, signature, arms, teacher, best, opening: bestOfArms(opened) };
}

const bestOfArms = (arms: readonly Arm[]): Trial | null =>
  bestOf(arms.flatMap((arm) => (arm.best ? [arm.best] : [])));

const recalls = (priors: Priors) => (priors[RECALL]?.configurations ?? []).length > 0;
const isRecalled = (arm: Arm) => arm.ranked.strategy.id === RECALL;

/** Whether an arm's best is above the leading model by more than the seeds move that. */
const improves = (run: RunState, { best }: Arm): boolean =>
  best !== null && best.outcome!.score - run.leader.trials[0]!.outcome!.score > run.noise.floor;

/** How much of a version's allotment a batch was: on a budget of time, by its cost. */
function sizeOf(run: RunState, batch: readonly { arm: Arm }[], typical: number): number {
  if (!run.budget.timed || typical === 0) return batch.length;
  const trials = run.trials.slice(-batch.length);
  const cost = trials.reduce((sum, t) => sum + (t.outcome?.cpu_s ?? typical), 0);
  return Math.max(batch.length / 8, cost / typical);
}

export const choiceOf = (ranked: Ranked): StrategyChoice => ({
  strategy: ranked.strategy.id,
  family: ranked.strategy.family,
  summary: ranked.strategy.summary,
  why: ranked.why,
});

function* analyse(run: RunState, version: number): Part<Failure[]> {
  const failures = yield* askFailures(version, run.leader.trials[0]!, run.full());
  run.budget.analysisDone(yield* askSpent());
  return failures;
}

/** Strategies with a share of their own that have a sweep to offer. */
const sharedOut = (run: RunState, state: StrategyState): Picked[] =>
  run.domain.strategies.flatMap((strategy) => {
    const sweep = strategy.share === undefined ? null : strategy.sweep(state);
    return sweep ? [{ ranked: unranked(strategy, "has a share of every version"), sweep }] : [];
  });

/** Strategies that have a sweep to offer, of different families, for what `apart` leaves. */
function choose(
  run: RunState,
  version: number,
  state: StrategyState,
  priors: Priors,
  trials: number,
  apart: readonly Picked[],
): Picked[] {
  const { failures } = state;
  const sweeps = new Map<string, Sweep>();
  const ranked = rankStrategies({
    strategies: run.domain.strategies.filter(
      (s) => !s.opening && s.dear_s === undefined && s.share === undefined,
    ),
    failures,
    experience: run.experience,
    priors,
    unit: unitOf(run),
    random: run.random(`strategies/${version}`),
  }).filter((r) => {
    const sweep = r.strategy.sweep(state);
    if (sweep) sweeps.set(r.strategy.id, sweep);
    return sweep !== null;
  });
  const left = apart.reduce((part, { ranked: r }) => part - r.strategy.share!, 1);
  const wanted = Math.round((trials * left) / LOOP_LIMITS.trials_per_strategy);
  const count = Math.min(LOOP_LIMITS.strategies_max, Math.max(LOOP_LIMITS.strategies_min, wanted));
  const usual = chooseStrategies(ranked, failures, count).map((r) => ({
    ranked: r,
    sweep: sweeps.get(r.strategy.id)!,
  }));
  return [...usual, ...dearOnes(run, state)];
}

/** A strategy that no ranking has picked. */
const unranked = (strategy: Strategy, why: string): Ranked => ({
  strategy,
  ...{ failures: [], expected: 0, drawn: 0, in_vain: 0, why },
});

/** Strategies many times as dear as others: see Strategy.dear_s. */
function dearOnes(run: RunState, state: StrategyState): Picked[] {
  const last = run.versions.at(-1);
  if (!last || last.gain > 0) return [];
  return run.domain.strategies.flatMap((strategy) => {
    const { id, dear_s } = strategy;
    if (dear_s === undefined || run.experience.some((past) => past.strategy === id)) return [];
    const ahead = run.budget.trialsAhead(dear_s, run.reserve(true));
    const sweep = ahead >= LOOP_LIMITS.dear_trials_left ? strategy.sweep(state) : null;
    if (!sweep) return [];
    const why = "the last version brought nothing and the budget allows a dear try";
    return [{ ranked: unranked(strategy, why), sweep }];
  });
}

/** Asks the teacher once for the whole version; checked configurations by strategy. */
function* teach(
  run: RunState,
  version: number,
  failures: readonly Failure[],
  picked: readonly Picked[],
  trials: number,
  count: { offered: number; refused: number },
): Part<Map<Ranked, Configuration[]>> {
  const taught = new Map<Ranked, Configuration[]>();
  if (!run.options.taught || picked.length === 0) return taught;
  const tried = [...run.full()]
    .sort((a, b) => b.outcome!.score - a.outcome!.score || a.index - b.index)
    .slice(0, LOOP_LIMITS.teacher_trials);
  const { proposals, note } = yield* askTeacher({
    version,
    metric: run.domain.metric,
    facts: run.domain.facts,
    best: {
      configuration: run.leader.configuration,
      score: run.leader.trials[0]!.outcome!.score,
    },
    failures,
    sweeps: picked.map(({ ranked, sweep }) => ({
      strategy: ranked.strategy.id,
      summary: ranked.strategy.summary,
      base: sweep.base,
      space: sweep.space,
      wanted: Math.max(1, Math.floor(LOOP_LIMITS.teacher_share * trials)),
    })),
    tried: tried.map((t) => ({ configuration: t.spec.configuration, score: t.outcome!.score })),
  });
  for (const proposal of proposals) {
    count.offered++;
    const target = picked.find((p) => p.ranked.strategy.id === proposal.strategy);
    const configuration = target && parseOrNull(run, proposal.configuration);
    if (!configuration) count.refused++;
    else taught.set(target.ranked, [...(taught.get(target.ranked) ?? []), configuration]);
  }
  yield* tell({ kind: "teacher", version, ...count, note });
  return taught;
}
