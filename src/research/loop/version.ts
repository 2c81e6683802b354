/**
 * One version of Algorithm 1: error analysis of the leading model, strategies of different
 * families aimed at its failures, a sweep of each, the best of all. A version's trials go out in
 * fixed batches: every strategy makes its first guesses, then those that do best get the rest.
 */
import { canonicalJson } from "../../core/bytes.ts";
import { chooseStrategies, type Ranked, rankStrategies } from "../search/bandit.ts";
import { mergeConfigurations } from "../search/merge.ts";
import { SweepSearch } from "../search/sweep-search.ts";
import type { Configuration, Failure, Strategy, Sweep, Trial } from "../types.ts";
import type { StrategyChoice } from "./events.ts";
import type { Priors, Proposal, Signature } from "./faces.ts";
import { LOOP_LIMITS } from "./limits.ts";
import type { RunState } from "./run-state.ts";
import { askFailures, askPriors, askSpent, askTeacher, type Part, tell } from "./steps.ts";

/** One strategy in one version. */
export interface Arm {
  readonly ranked: Ranked;
  readonly sweep: Sweep;
  readonly search: SweepSearch;
  readonly trials: Trial[];
  /** Best full-fidelity trial. */
  best: Trial | null;
  opening: number;
  exhausted: boolean;
}

export interface Explored {
  readonly failures: readonly Failure[];
  readonly signature: Signature;
  readonly arms: readonly Arm[];
  readonly teacher: { offered: number; refused: number };
  /** The best of all arms at full fidelity, null when nothing ran. */
  readonly best: Trial | null;
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
    metric: run.domain.metric,
    failures: failures.map(({ kind, strength }) => ({ kind, strength })),
  };
  const priors = yield* askPriors(version, signature);
  const picked = choose(run, version, failures, priors, trials);
  yield* tell({ kind: "strategies", version, chosen: picked.map((p) => choiceOf(p.ranked)) });
  const teacher = { offered: 0, refused: 0 };
  const taught = yield* teach(run, version, failures, picked, trials, teacher);
  const arms = picked.map((p) => openArm(run, version, p, priors, taught.get(p.ranked) ?? []));
  let left = trials;
  while (left > 0) {
    const batch = nextBatch(run, version, arms, Math.min(left, run.options.batch));
    if (batch.length === 0) break;
    yield* runBatch(run, batch);
    left -= batch.length;
  }
  yield* finish(run, version, arms);
  const merge = yield* mergeWinners(run, version, arms);
  if (merge) arms.push(merge);
  const bests = arms.flatMap((arm) => (arm.best ? [arm.best] : []));
  return { failures, signature, arms, teacher, best: bestOf(bests) };
}

/** Earlier trials win ties. */
export const bestOf = (trials: readonly Trial[]): Trial | null =>
  trials.reduce<Trial | null>(
    (best, t) => (best && best.outcome!.score >= t.outcome!.score ? best : t),
    null,
  );

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

interface Picked {
  readonly ranked: Ranked;
  readonly sweep: Sweep;
}

/** Strategies that have a sweep to offer, of different families. */
function choose(
  run: RunState,
  version: number,
  failures: readonly Failure[],
  priors: Priors,
  trials: number,
): Picked[] {
  const state = { best: run.leader.trials[0]!, trials: run.full(), failures };
  const sweeps = new Map<string, Sweep>();
  const ranked = rankStrategies({
    strategies: run.domain.strategies,
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
  const wanted = Math.round(trials / LOOP_LIMITS.trials_per_strategy);
  const count = Math.min(LOOP_LIMITS.strategies_max, Math.max(LOOP_LIMITS.strategies_min, wanted));
  return chooseStrategies(ranked, failures, count).map((r) => ({
    ranked: r,
    sweep: sweeps.get(r.strategy.id)!,
  }));
}

/** A small difference of scores: between seeds, or where seeds agree a thousandth. */
export const unitOf = (run: RunState): number => Math.max(run.noise.deviation, 1e-3);

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

function parseOrNull(run: RunState, configuration: unknown): Configuration | null {
  try {
    return run.domain.parse(configuration);
  } catch {
    // Refused is an answer here: the caller counts it.
    return null;
  }
}

function openArm(
  run: RunState,
  version: number,
  { ranked, sweep }: Picked,
  priors: Priors,
  taught: readonly Configuration[],
  fidelities: readonly number[] = run.domain.fidelities,
): Arm {
  const { id } = ranked.strategy;
  const starts = new Map(
    run.versions.map((v) => [v.version, run.trials[v.started_from.trial]?.outcome?.score ?? 0]),
  );
  const earlier = run
    .full()
    .filter((t) => t.place.strategy === id && starts.has(t.place.version))
    .map((t) => ({
      configuration: t.spec.configuration,
      gain: t.outcome!.score - starts.get(t.place.version)!,
    }));
  const search = new SweepSearch({
    sweep,
    fidelities,
    remembered: priors[id]?.settings ?? [],
    earlier,
    taught,
    taught_share: LOOP_LIMITS.teacher_share,
    parse: (configuration) => parseOrNull(run, configuration),
    tried: (configuration) => run.tried(configuration, run.options.seed) !== undefined,
    random: run.random(`sweep/${version}/${id}`),
  });
  const opening = Math.max(1, Math.min(LOOP_LIMITS.opening_trials, search.opening));
  return { ranked, sweep, search, trials: [], best: null, opening, exhausted: false };
}

interface Issued extends Proposal {
  readonly arm: Arm;
}

/** The next proposals, as many as fit the budget; empty ends the version. */
function nextBatch(run: RunState, version: number, arms: readonly Arm[], size: number): Issued[] {
  const reserve = run.reserve(true);
  const batch: Issued[] = [];
  const costs: number[] = [];
  const closed = new Set<Arm>();
  while (batch.length < size) {
    const arm = pickArm(run, arms, batch, closed);
    if (!arm) break;
    const cost = armCost(run, arm);
    if (run.budget.fitting([...costs, cost], reserve) <= costs.length) {
      // Too dear for what is left: a cheaper strategy may still fit.
      closed.add(arm);
      continue;
    }
    const next = arm.search.next();
    if (!next) {
      arm.exhausted = true;
      continue;
    }
    costs.push(cost * next.fidelity);
    batch.push(issue(run, version, arm, next));
  }
  return batch;
}

function issue(
  run: RunState,
  version: number,
  arm: Arm,
  next: NonNullable<ReturnType<SweepSearch["next"]>>,
): Issued {
  return {
    arm,
    place: run.place(version, arm.ranked.strategy.id, next.proposer),
    spec: run.spec(next.configuration, run.options.seed, next.fidelity),
  };
}

/** Who is next: openings in order, then the best upper index. */
function pickArm(
  run: RunState,
  arms: readonly Arm[],
  batch: readonly Issued[],
  closed: ReadonlySet<Arm>,
): Arm | null {
  const open = arms.filter((arm) => !arm.exhausted && !closed.has(arm));
  const issued = (arm: Arm) => arm.trials.length + batch.filter((b) => b.arm === arm).length;
  for (let round = 0; round < LOOP_LIMITS.opening_trials; round++) {
    const waiting = open.find((arm) => issued(arm) <= round && round < arm.opening);
    if (waiting) return waiting;
  }
  const lead = run.leader.trials[0]!.outcome!.score;
  const unit = unitOf(run);
  const index = (arm: Arm) => {
    const n = Math.max(1, issued(arm));
    const gain = arm.best ? arm.best.outcome!.score - lead : arm.ranked.expected - n * unit;
    return gain + (LOOP_LIMITS.explore * unit) / Math.sqrt(n);
  };
  return open.reduce<Arm | null>(
    (best, arm) => (best && index(best) >= index(arm) ? best : arm),
    null,
  );
}

/** What a full trial of this arm will cost, from its own trials or from all. */
function armCost(run: RunState, arm: Arm): number {
  const costs = arm.trials.flatMap((t) => (t.outcome ? [t.outcome.cpu_s / t.spec.fidelity] : []));
  if (costs.length === 0) return run.typicalCost();
  return costs.reduce((a, b) => a + b, 0) / costs.length;
}

function* runBatch(run: RunState, batch: readonly Issued[]): Part<void> {
  const proposals = batch.map(({ place, spec }) => ({ place, spec }));
  const trials = yield* run.run(proposals, run.reserve(true));
  const lead = run.leader.trials[0]!.outcome!.score;
  for (const [i, trial] of trials.entries()) {
    const { arm } = batch[i]!;
    arm.trials.push(trial);
    const score = trial.outcome?.score ?? null;
    const { configuration, fidelity } = trial.spec;
    arm.search.tell(configuration, fidelity, score === null ? null : score - lead);
    if (trial.outcome && fidelity === 1) arm.best = arm.best ? bestOf([arm.best, trial]) : trial;
  }
}

/** Strategies whose halving did not reach full fidelity have their best one lifted. */
function* finish(run: RunState, version: number, arms: readonly Arm[]): Part<void> {
  if (run.domain.fidelities.length === 1) return;
  for (const arm of arms) {
    if (arm.trials.length === 0 || arm.best) continue;
    if (run.budget.fitting([armCost(run, arm)], run.reserve(true)) === 0) continue;
    const next = arm.search.finish();
    if (next) yield* runBatch(run, [issue(run, version, arm, next)]);
  }
}

/** Not of any domain's catalogue: it joins what the strategies of a version found. */
const MERGE: Strategy = {
  id: "merge",
  family: "merge",
  targets: [],
  summary: "Joins what this version's best strategies changed, each on its own axes.",
  sweep: () => null,
};

/** Whether a strategy is one of the domain's, to learn about. */
export const isOfDomain = (strategy: Strategy): boolean => strategy !== MERGE;

/** Tries the changes of the winning strategies together; null where fewer than two won. */
function* mergeWinners(run: RunState, version: number, arms: readonly Arm[]): Part<Arm | null> {
  const base = run.leader.configuration;
  const lead = run.leader.trials[0]!.outcome!.score;
  const winners = arms
    .flatMap((arm) => (arm.best && arm.best.outcome!.score > lead ? [arm.best] : []))
    .sort((a, b) => b.outcome!.score - a.outcome!.score || a.index - b.index)
    .slice(0, LOOP_LIMITS.merged_max);
  if (winners.length < 2) return null;
  const merged: Configuration[] = [];
  let joined = winners[0]!.spec.configuration;
  for (const winner of winners.slice(1)) {
    joined = mergeConfigurations(base, joined, winner.spec.configuration);
    merged.push(joined);
  }
  const [top] = winners;
  const ranked = { strategy: MERGE, failures: [], expected: 0, drawn: 0 };
  const why = `${winners.length} strategies improved on the model: ${winners
    .map((t) => t.place.strategy)
    .join(", ")}`;
  const sweep = { base: top!.spec.configuration, space: {}, first: merged, trials_max: 8 };
  const arm = openArm(run, version, { ranked: { ...ranked, why }, sweep }, {}, [], [1]);
  const batch = nextBatch(run, version, [arm], merged.length);
  if (batch.length > 0) yield* runBatch(run, batch);
  return arm.trials.length > 0 ? arm : null;
}

/** Whether two configurations are the same. */
export const sameConfiguration = (a: Configuration, b: Configuration): boolean =>
  canonicalJson(a) === canonicalJson(b);
