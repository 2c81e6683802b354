/**
 * Algorithm 1 of the paper as a state machine without I/O: baseline and noise floor, versions
 * until the budget ends or they converge, then the final fits and the one look at the sealed part.
 * It yields steps (steps.ts) and goes on with their answers; run.ts drives it.
 */
import { MagnetError } from "../../core/errors.ts";
import type { Configuration, Trial } from "../types.ts";
import { type Arm, isOfDomain } from "./arms.ts";
import type {
  FinalReason,
  ResearchResult,
  StopReason,
  StrategyResult,
  VersionResult,
} from "./events.ts";
import { RECALL } from "./faces.ts";
import { chooseFinal, isRefused, settle } from "./final.ts";
import { type Judgement, judge } from "./judge.ts";
import { LOOP_LIMITS } from "./limits.ts";
import { polish } from "./polish.ts";
import { type Model, NOTHING_MORE, type RunState } from "./run-state.ts";
import { noiseFloor } from "./statistics.ts";
import { askSealed, askSpent, type Part, record, tell } from "./steps.ts";
import { choiceOf, type Explored, explore } from "./version.ts";

/** The whole run. */
export function* research(run: RunState): Part<ResearchResult> {
  yield* startFromBaseline(run);
  let still = 0;
  let converged = false;
  let stop: StopReason | null = null;
  while (stop === null) {
    const version = run.versions.length + 1;
    const trials = versionTrials(run);
    if (trials < 1) {
      stop = "budget";
      break;
    }
    const result = yield* runVersion(run, version, trials);
    if (result.trials === 0) {
      stop = versionTrials(run) < 1 ? "budget" : "exhausted";
      break;
    }
    still = result.gain < epsilonOf(run) ? still + 1 : 0;
    if (converged || still < patienceOf(run)) continue;
    converged = true;
    yield* tell({ kind: "converged", versions: still, epsilon: epsilonOf(run) });
    // A budget of time is spent to its end unless the task asks for convergence: what is left goes
    // into more versions, and a late find is welcome.
    if (run.options.patience !== null || !run.budget.timed) stop = "converged";
  }
  if (stop === "budget") yield* spendRest(run);
  yield* tell({ kind: "stopped", reason: stop, spent: run.budget.spent });
  return yield* finishRun(run, stop);
}

/** No version fits any more: the last comparison, and of time what is left after the final fits. */
function* spendRest(run: RunState): Part<void> {
  if (run.budget.timed) yield* settle(run);
  yield* polish(run);
  if (!run.budget.timed) return;
  // Cheap strategies fit where another seed of the dear finalists does not. Where the choice has
  // changed, its fit comes before anything else is planned.
  for (let trials = Infinity; trials > 0; ) {
    yield* settle(run);
    const version = run.versions.length + 1;
    trials = (yield* runVersion(run, version, LOOP_LIMITS.version_trials_min)).trials;
  }
}

const patienceOf = (run: RunState) => run.options.patience ?? LOOP_LIMITS.patience;

const epsilonOf = (run: RunState): number =>
  run.options.epsilon ??
  Math.max(LOOP_LIMITS.epsilon_min, LOOP_LIMITS.epsilon_deviations * run.noise.deviation);

/** The baseline at the task's seed, then at as many more as are cheap. */
function* startFromBaseline(run: RunState): Part<void> {
  const configuration = run.domain.parse(run.domain.baseline());
  yield* tell({
    kind: "started",
    metric: run.domain.metric,
    facts: run.domain.facts,
    baseline: configuration,
  });
  run.budget.begin(yield* askSpent());
  const first = proposalsAt(run, configuration, "baseline", [run.options.seed]);
  const [trial] = yield* run.run(first, NOTHING_MORE);
  if (!trial?.outcome)
    throw new MagnetError("BASELINE_FAILED", `the baseline's trial failed: ${trial?.error}`, {
      hint: "nothing can be compared without it; check the task's data and budget",
    });
  run.baseline = { configuration, version: 0, strategy: "baseline", trials: [trial] };
  run.incumbent = run.leader = run.baseline;
  // Where trials are counted nothing is decided before the first version has run.
  if (!run.budget.counted) yield* measureNoise(run);
}

/** What another seed makes of the baseline: before the first decision. */
function* measureNoise(run: RunState): Part<void> {
  const { configuration, trials } = run.baseline;
  const seeds = moreSeeds(run, trials[0]!);
  const rest: Trial[] = [];
  for (let i = 0; i < seeds.length; i += run.options.batch) {
    const part = seeds.slice(i, i + run.options.batch);
    rest.push(...(yield* run.run(proposalsAt(run, configuration, "noise", part), NOTHING_MORE)));
  }
  const done = [...trials, ...rest.filter((t) => t.outcome)];
  yield* run.vouch(done);
  run.baseline = { ...run.baseline, trials: done };
  run.incumbent = run.leader = run.baseline;
  run.measured = true;
  run.noise = noiseFloor(done.map((t) => t.outcome!.score));
  yield* tell({ kind: "noise_floor", ...run.noise });
}

/** Seeds after the task's own: eight in all where that is cheap, three where the budget has room. */
function moreSeeds(run: RunState, baseline: Trial): number[] {
  const cost = baseline.outcome!.cpu_s;
  const ahead = 1 + run.budget.trialsAhead(cost, run.reserve(false));
  const { noise_seeds: many, noise_seeds_few: few, noise_share } = LOOP_LIMITS;
  // After the first version: what it had to leave over is for these and a confirmation.
  const share = run.budget.counted ? few / (2 * few - 1) : 0.5;
  const count = [many, few, 2].find((n) => n <= ahead * (n === many ? noise_share : share));
  return Array.from({ length: (count ?? 1) - 1 }, (_, i) => run.options.seed + 1 + i);
}

const proposalsAt = (
  run: RunState,
  configuration: Configuration,
  strategy: "baseline" | "noise",
  seeds: readonly number[],
) =>
  seeds.map((seed) => ({
    place: run.place(0, strategy, "baseline"),
    spec: run.spec(configuration, seed),
  }));

/** Trials for the next version: a share of what is left, so that several versions fit. */
function versionTrials(run: RunState): number {
  const left = Math.floor(run.budget.trialsAhead(run.typicalCost(), run.reserve(true)) + 0.5);
  const share = Math.round(left * LOOP_LIMITS.version_share);
  const { version_trials_max: max } = LOOP_LIMITS;
  const onGoing = run.budget.counted && run.domain.strategies.some((s) => s.share !== undefined);
  const min = LOOP_LIMITS[onGoing ? "version_counted_min" : "version_trials_min"];
  const wanted = Math.max(min, Math.min(max, share));
  // No crumbs: what would be left for a last version of a few trials goes into this one.
  return left - wanted < min ? left : wanted;
}

function* runVersion(
  run: RunState,
  version: number,
  trials: number,
): Part<{ gain: number; trials: number }> {
  const started_from = run.candidate(run.leader);
  let start = run.leader;
  yield* tell({ kind: "version", version, best: started_from });
  const last = run.versions.at(-1);
  // Error analysis that would eat what is left is not repeated.
  const cheap = run.budget.analysis_s <= LOOP_LIMITS.analysis_share * leftSeconds(run);
  const known = last && !cheap ? last.failures : null;
  const explored = yield* explore(run, version, trials, known);
  if (!run.measured) {
    yield* measureNoise(run);
    start = run.leader;
  }
  const judgement = yield* judged(run, version, explored);
  const results = explored.arms.map((arm) => resultOf(run, start, arm, judgement));
  for (const [i, result] of results.entries()) {
    yield* tell({ kind: "strategy_result", version, result });
    yield* learn(run, version, explored, explored.arms[i]!, result);
  }
  const done: VersionResult = {
    version,
    started_from,
    failures: explored.failures,
    strategies: explored.arms.map((arm, i) => ({ ...choiceOf(arm.ranked), ...results[i]! })),
    teacher: { ...explored.teacher, used: taughtTrials(explored) },
    contender: judgement && run.candidate(judgement.contender),
    verdict: judgement?.verdict ?? null,
    gain: judgement?.gain ?? 0,
    spent: run.budget.spent,
  };
  const count = explored.arms.reduce((sum, arm) => sum + arm.trials.length, 0);
  if (count > 0) run.versions.push(done);
  return { gain: done.gain, trials: count };
}

/**
 * The best of a version. Where trials are counted it is the best of many, the luckiest maybe: where
 * the gate objects to it, the best opening is judged too.
 */
function* judged(run: RunState, version: number, explored: Explored): Part<Judgement | null> {
  const { best, opening } = explored;
  if (!best) return null;
  const start = run.leader;
  const first = yield* judge(run, version, best);
  const stands = !isRefused(run, first.contender);
  if (stands || !run.budget.counted || !opening || opening === best) return first;
  const second = yield* judge(run, version, opening, start);
  return second.verdict.accepted ? second : first;
}

const leftSeconds = (run: RunState) => run.budget.left_s(run.reserve(true));

const taughtTrials = (explored: Explored) =>
  explored.arms.flatMap((arm) => arm.trials).filter((t) => t.place.proposer === "teacher").length;

/** What a strategy brought against the model that the version started from. */
function resultOf(
  run: RunState,
  start: Model,
  arm: Arm,
  judgement: Judgement | null,
): StrategyResult {
  const won = judgement?.contender.trials[0] === arm.best && arm.best !== null;
  const model = won
    ? judgement!.contender
    : arm.best && { ...start, configuration: arm.best.spec.configuration, trials: [arm.best] };
  const difference = model ? run.difference(start, model).difference : null;
  const failed = arm.trials.filter((t) => !t.outcome).length;
  const result = (): StrategyResult["result"] => {
    if (failed > 0 && failed === arm.trials.length) return "crashed";
    // The budget ended before it reached full fidelity: nothing is known against it.
    if (!difference) return "tied";
    if (won && judgement!.verdict.accepted) return "accepted";
    return difference.high < 0 ? "worse" : "tied";
  };
  return {
    strategy: arm.ranked.strategy.id,
    family: arm.ranked.strategy.family,
    trials: arm.trials.length,
    failed,
    cpu_s: arm.trials.reduce((sum, t) => sum + (t.outcome?.cpu_s ?? 0), 0),
    best_score: arm.best ? arm.best.outcome!.score : null,
    best_trial: arm.best?.index ?? null,
    difference,
    result: result(),
  };
}

/** Into the bandit's memory and the knowledge base, whatever came of it. */
function* learn(
  run: RunState,
  version: number,
  explored: Explored,
  arm: Arm,
  result: StrategyResult,
): Part<void> {
  const { strategy } = arm.ranked;
  const nothing = result.difference === null && result.result !== "crashed";
  if (arm.trials.length === 0 || nothing || !isOfDomain(strategy)) return;
  run.experience.push({
    strategy: strategy.id,
    family: strategy.family,
    failures: arm.ranked.failures.map((f) => f.kind),
    gain: Math.max(result.difference?.difference ?? 0, 0),
  });
  const seeds = new Set(arm.trials.map((t) => t.spec.seed));
  yield* record({
    key: `${run.domain.task_hash}/${run.options.seed}/${version}/${strategy.id}`,
    task_hash: run.domain.task_hash,
    signature: explored.signature,
    version,
    strategy: strategy.id,
    family: strategy.family,
    result: result.result,
    difference: result.difference,
    units: unitsOf(arm.best),
    trials: result.trials,
    seeds: [...seeds],
    cpu_s: result.cpu_s,
    settings: arm.best ? arm.search.settingsOf(arm.best.spec.configuration) : {},
  });
}

/** Units that the out-of-fold outputs are over, as far as a trial tells. */
const unitsOf = (trial: Trial | null): number => {
  const units = trial?.outcome?.figures.units;
  return typeof units === "number" ? units : (trial?.outcome?.outputs.length ?? 0);
};

/** What the run ended with, for tasks like this one; nothing where the baseline stayed. */
function* remember(run: RunState, model: Model, reason: FinalReason): Part<void> {
  const [first] = run.versions;
  if (model === run.baseline || !first) return;
  const { facts, metric, task_hash, data_hash } = run.domain;
  const failures = first.failures.map(({ kind, strength }) => ({ kind, strength }));
  yield* record({
    key: `${task_hash}/${run.options.seed}/final`,
    task_hash,
    signature: { facts, data: data_hash, metric, failures },
    version: model.version,
    strategy: RECALL,
    family: RECALL,
    result: reason === "tied" ? "tied" : "accepted",
    difference: run.difference(run.baseline, model).difference,
    units: unitsOf(model.trials[0]!),
    trials: run.trials.length,
    seeds: model.trials.map((t) => t.spec.seed),
    cpu_s: run.trials.reduce((sum, t) => sum + (t.outcome?.cpu_s ?? 0), 0),
    settings: {},
    configuration: model.configuration,
  });
}

/** The final model, its fits, and the sealed part. */
function* finishRun(run: RunState, stop: StopReason): Part<ResearchResult> {
  const { model, reason, words } = yield* chooseFinal(run);
  const candidate = run.candidate(model);
  yield* tell({ kind: "final", candidate, reason: words });
  const { seed } = run.options;
  const sealed = yield* askSealed(
    run.spec(model.configuration, seed),
    run.spec(run.baseline.configuration, seed),
  );
  yield* tell({ kind: "sealed", sealed });
  yield* remember(run, model, reason);
  const states: { [state: string]: number } = {};
  for (const trial of run.trials) states[trial.state] = (states[trial.state] ?? 0) + 1;
  let cost = 0;
  return {
    metric: run.domain.metric,
    facts: run.domain.facts,
    seed,
    stop,
    noise_floor: run.noise,
    baseline: run.candidate(run.baseline),
    versions: run.versions,
    gate_queries: run.queries,
    final: { candidate, reason },
    sealed,
    best_so_far: run.bestSoFar,
    cost_so_far: run.trials.map((t) => (cost += t.outcome?.cpu_s ?? 0)),
    trials: states,
    spent: run.budget.spent,
  };
}
