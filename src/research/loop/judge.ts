/**
 * Acceptance of a version: its contender is confirmed on folds drawn anew, becomes what the search
 * builds on when its mean is the best, and is accepted only when the paired bootstrap's lower
 * bound is above zero, the difference exceeds the noise floor and the gate does not object.
 */
import type { PairedDifference, Trial } from "../types.ts";
import type { GateQuery, Verdict } from "./events.ts";
import { LOOP_LIMITS } from "./limits.ts";
import { costOf, freshCost, type Model, meanScore, type RunState } from "./run-state.ts";
import { floorOfMeans, lowerBound } from "./statistics.ts";
import { askGate, askSpent, type Part, tell } from "./steps.ts";

export interface Judgement {
  readonly contender: Model;
  readonly verdict: Verdict;
  /** Gain of the leader's mean in this version; 0 when the leader stayed. */
  readonly gain: number;
}

/**
 * Judges the best trial of a version and moves leader and incumbent accordingly. One that is not
 * above `than` is not worth a confirmation.
 */
export function* judge(
  run: RunState,
  version: number,
  best: Trial,
  than: Model = run.leader,
): Part<Judgement> {
  const contender = yield* confirm(run, best, than);
  yield* run.vouch(contender.trials);
  const gain =
    contender.trials.length > 1 || run.confirmSeeds().length === 0
      ? Math.max(0, gainOverLeader(run, contender))
      : 0;
  if (gain > 0) {
    run.leader = contender;
    yield* tell({ kind: "leader", version, leader: run.candidate(contender), gain });
  }
  const verdict = yield* decide(run, version, contender);
  if (verdict.accepted) run.incumbent = contender;
  yield* tell({ kind: "verdict", version, contender: run.candidate(contender), verdict });
  return { contender, verdict, gain };
}

/**
 * The best trial's configuration at further seeds, as many as the budget allows: fewer of them make
 * the noise floor of the difference higher, but what is far above it is not lost.
 */
function* confirm(run: RunState, best: Trial, than: Model): Part<Model> {
  const { configuration } = best.spec;
  const { version, strategy, proposer } = best.place;
  const model = { configuration, version, strategy };
  if (best.outcome!.score <= than.trials[0]!.outcome!.score) return { ...model, trials: [best] };
  const wanted = run.confirmSeeds();
  const cost = Math.max(freshCost(best), run.settled ? 0 : run.typicalCost());
  const batch = wanted.map((seed) => ({
    place: run.place(version, strategy, proposer),
    spec: run.spec(configuration, seed),
  }));
  const costs = wanted.map(() => cost);
  const reserve = run.reserveFor(cost);
  const confirmed: Trial[] = [];
  while (confirmed.length < batch.length) {
    const done = confirmed.length;
    const rest = costs.slice(done);
    const fitting = run.budget.fitting(rest, reserve);
    if (fitting === 0) break;
    const n = Math.min(fitting, run.budget.together(rest, reserve));
    confirmed.push(...(yield* run.run(batch.slice(done, done + n), reserve)));
    // One that fails at another seed is not to be relied on: it stays unconfirmed.
    if (confirmed.some((trial) => !trial.outcome)) return { ...model, trials: [best] };
  }
  const whole = { ...model, trials: [best, ...confirmed] };
  if (confirmed.length > 0 || wanted.length === 0) run.confirmed.push(whole);
  return whole;
}

/** The contender's mean less the leader's, over the seeds that both have. */
function gainOverLeader(run: RunState, contender: Model): number {
  const seeds = shared([contender, run.leader]);
  const meanOf = (model: Model) =>
    meanScore({ ...model, trials: model.trials.filter((t) => seeds.includes(t.spec.seed)) });
  return meanOf(contender) - meanOf(run.leader);
}

/** Seeds that all of these models were run at. */
export const shared = (models: readonly Model[]): number[] =>
  models[0]!.trials
    .map((t) => t.spec.seed)
    .filter((seed) => models.every((m) => m.trials.some((t) => t.spec.seed === seed)));

/** The three conditions, the cheapest first: the gate is asked only about what passed the rest. */
export function* decide(run: RunState, version: number, contender: Model): Part<Verdict> {
  const { difference, seeds } = run.difference(run.incumbent, contender);
  const floor = floorOfMeans(run.noise, seeds);
  const low = lowerBound(difference, LOOP_LIMITS.accept_level);
  const verdict = (accepted: boolean, gate: GateQuery | null, reason: string): Verdict => ({
    accepted,
    difference,
    noise_floor: floor,
    seeds,
    gate,
    reason,
  });
  const delta = signed(difference.difference);
  if (seeds < 2 && run.confirmSeeds().length > 0)
    return verdict(false, null, `${delta} at one seed, not confirmed at others`);
  if (!(low > 0))
    return verdict(false, null, `${delta} with a lower bound of ${signed(low)}: not above zero`);
  if (!(difference.difference > floor))
    return verdict(false, null, `${delta} is within the noise floor of ${floor.toFixed(4)}`);
  if (run.gate.left === 0 && !gateAnswer(run, contender))
    return verdict(false, null, `${delta}, but the gate has answered all its queries`);
  const gate = yield* askTheGate(run, version, contender, difference);
  const figures = `${delta}, lower bound ${signed(low)}, floor ${floor.toFixed(4)}`;
  return gate.answer > 0
    ? verdict(true, gate, `${figures}; the gate does not object`)
    : verdict(false, gate, `${figures}; the gate objects with ${signed(gate.answer)}`);
}

/** What the gate has already said of this contender against this incumbent. */
export const gateAnswer = (run: RunState, contender: Model): GateQuery | undefined =>
  run.queries.find(
    (q) =>
      q.contender === contender.trials[0]!.index && q.incumbent === run.incumbent.trials[0]!.index,
  );

/** One query: contender against incumbent on the gate part; what it has answered stands. */
export function* askTheGate(
  run: RunState,
  version: number,
  contender: Model,
  search: PairedDifference,
): Part<GateQuery> {
  const asked = gateAnswer(run, contender);
  if (asked) return asked;
  const query = run.gate.open();
  const { seed } = run.options;
  const reading = yield* askGate(
    query,
    run.spec(run.incumbent.configuration, seed),
    run.spec(contender.configuration, seed),
  );
  run.budget.gateDone(costOf(run.incumbent) + costOf(contender), yield* askSpent());
  const { answer, overfit } = run.gate.answer(search, reading);
  const result: GateQuery = {
    query,
    version,
    incumbent: run.incumbent.trials[0]!.index,
    contender: contender.trials[0]!.index,
    search_difference: search.difference,
    answer,
    overfit,
    queries_left: run.gate.left,
  };
  run.queries.push(result);
  yield* tell({ kind: "gate", query: result });
  return result;
}

export const signed = (value: number): string =>
  `${value < 0 ? "-" : "+"}${Math.abs(value).toFixed(4)}`;
