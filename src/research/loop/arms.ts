/**
 * The strategies of one version at work: each is an arm with its own search. Trials go out in fixed
 * batches; every arm makes its first guesses, then those that do best get the rest, and what the
 * winners changed is tried together.
 */
import type { Ranked } from "../search/bandit.ts";
import { mergeConfigurations } from "../search/merge.ts";
import { SweepSearch } from "../search/sweep-search.ts";
import type { Configuration, Strategy, Sweep, Trial } from "../types.ts";
import { type Priors, type Proposal, RECALL } from "./faces.ts";
import { LOOP_LIMITS } from "./limits.ts";
import type { RunState } from "./run-state.ts";
import type { Part } from "./steps.ts";

/** One strategy in one version. */
export interface Arm {
  readonly ranked: Ranked;
  readonly sweep: Sweep;
  readonly search: SweepSearch;
  readonly trials: Trial[];
  /** Best full-fidelity trial. */
  best: Trial | null;
  exhausted: boolean;
}

/** A strategy that was drawn, with what it wants searched. */
export interface Picked {
  readonly ranked: Ranked;
  readonly sweep: Sweep;
}

/** Earlier trials win ties. */
export const bestOf = (trials: readonly Trial[]): Trial | null =>
  trials.reduce<Trial | null>(
    (best, t) => (best && best.outcome!.score >= t.outcome!.score ? best : t),
    null,
  );

/** A small difference of scores: between seeds, or where seeds agree a thousandth. */
export const unitOf = (run: RunState): number => Math.max(run.noise.deviation, 1e-3);

export function parseOrNull(run: RunState, configuration: unknown): Configuration | null {
  try {
    return run.domain.parse(configuration);
  } catch {
    // Refused is an answer here: the caller counts it.
    return null;
  }
}

export function openArm(
  run: RunState,
  version: number,
  { ranked, sweep }: Picked,
  priors: Priors,
  taught: readonly Configuration[],
  fidelities: readonly number[] = rungs(run),
): Arm {
  const { id } = ranked.strategy;
  const starts = new Map(
    run.versions.map((v) => [v.version, run.trials[v.started_from.trial]?.outcome?.score ?? 0]),
  );
  const lead = run.leader.trials[0]!.outcome!.score;
  const base = run.tried(sweep.base, run.options.seed)?.outcome;
  const earlier = run
    .full()
    .filter((t) => t.place.strategy === id && starts.has(t.place.version))
    .map((t) => ({
      configuration: t.spec.configuration,
      gain: t.outcome!.score - starts.get(t.place.version)!,
    }));
  // A sweep around the leading model knows one point already.
  if (base) earlier.push({ configuration: sweep.base, gain: base.score - lead });
  const search = new SweepSearch({
    sweep,
    fidelities,
    remembered: priors[id]?.settings ?? [],
    earlier,
    taught,
    taught_share: LOOP_LIMITS.teacher_share,
    parse: (configuration) => parseOrNull(run, configuration),
    tried: (configuration) => run.tried(configuration, run.options.seed) !== undefined,
    trials: () => run.full(),
    random: run.random(`sweep/${version}/${id}`),
  });
  return { ranked, sweep, search, trials: [], best: null, exhausted: false };
}

/** Trials at less effort save time; where trials are counted they would only be spent. */
const rungs = (run: RunState): readonly number[] =>
  run.budget.timed ? run.domain.fidelities : [1];

interface Issued extends Proposal {
  readonly arm: Arm;
}

/** The next proposals, as many as fit the budget; empty ends the version. */
export function nextBatch(
  run: RunState,
  version: number,
  arms: readonly Arm[],
  size: number,
): Issued[] {
  const reserve = run.reserve(true);
  const batch: Issued[] = [];
  const costs: number[] = [];
  const closed = new Set<Arm>();
  while (batch.length < size) {
    const arm = pickArm(run, arms, batch, closed);
    if (!arm) break;
    const cost = armCost(run, arm);
    // Near the end of a budget they go one by one.
    if (run.budget.together([...costs, cost], reserve) <= batch.length) break;
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

/** Who is next: who has less than its share, first trials in order, then the best upper index. */
function pickArm(
  run: RunState,
  arms: readonly Arm[],
  batch: readonly Issued[],
  closed: ReadonlySet<Arm>,
): Arm | null {
  const open = arms.filter((arm) => !arm.exhausted && !closed.has(arm));
  const issued = (arm: Arm) => arm.trials.length + batch.filter((b) => b.arm === arm).length;
  const all = arms.reduce((sum, arm) => sum + issued(arm), 0);
  const due = open.find((arm) => issued(arm) < (arm.ranked.strategy.share ?? 0) * (all + 1));
  if (due) return due;
  for (let round = 0; round < LOOP_LIMITS.opening_trials; round++) {
    const waiting = open.find((arm) => issued(arm) <= round);
    if (waiting) return waiting;
  }
  const lead = run.leader.trials[0]!.outcome!.score;
  const unit = unitOf(run);
  const index = (arm: Arm) => {
    // On a budget of time a dear arm has had more of its share with the same number of trials.
    const dear = run.budget.timed ? armCost(run, arm) / (run.typicalCost() || 1) : 1;
    const n = Math.max(0.5, issued(arm) * dear);
    const gain = arm.best ? arm.best.outcome!.score - lead : arm.ranked.expected - n * unit;
    return gain + (LOOP_LIMITS.explore * unit) / Math.sqrt(n);
  };
  return open.reduce<Arm | null>(
    (best, arm) => (best && index(best) >= index(arm) ? best : arm),
    null,
  );
}

/** What a full trial of this arm will cost, from its own trials, its strategy's, or from all. */
function armCost(run: RunState, arm: Arm): number {
  const { id } = arm.ranked.strategy;
  const costsOf = (trials: readonly Trial[]) =>
    trials.flatMap((t) => (t.outcome ? [t.outcome.cpu_s / t.spec.fidelity] : []));
  let costs = costsOf(arm.trials);
  if (costs.length === 0) costs = costsOf(run.trials.filter((t) => t.place.strategy === id));
  if (costs.length === 0) return run.typicalCost();
  return costs.reduce((a, b) => a + b, 0) / costs.length;
}

export function* runBatch(run: RunState, batch: readonly Issued[], most_s = Infinity): Part<void> {
  const proposals = batch.map(({ place, spec }) => ({ place, spec }));
  const trials = yield* run.run(proposals, run.reserve(true), most_s);
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
export function* finish(run: RunState, version: number, arms: readonly Arm[]): Part<void> {
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
export const isOfDomain = (strategy: Strategy): boolean =>
  strategy.id !== MERGE.id && strategy.id !== RECALL;

/** Tries the changes of the winning strategies together; null where fewer than two won. */
export function* mergeWinners(
  run: RunState,
  version: number,
  arms: readonly Arm[],
): Part<Arm | null> {
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
  const ranked = { strategy: MERGE, failures: [], expected: 0, drawn: 0, in_vain: 0 };
  const why = `${winners.length} strategies improved on the model: ${winners
    .map((t) => t.place.strategy)
    .join(", ")}`;
  const sweep = { base: top!.spec.configuration, space: {}, first: merged, trials_max: 8 };
  const arm = openArm(run, version, { ranked: { ...ranked, why }, sweep }, {}, [], [1]);
  const batch = nextBatch(run, version, [arm], merged.length);
  if (batch.length > 0) yield* runBatch(run, batch);
  return arm.trials.length > 0 ? arm : null;
}
