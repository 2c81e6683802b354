/**
 * What is left of a budget when no further version fits goes into the last comparison: the best
 * models and the last accepted one at further seeds, so that the final choice rests on more folds.
 */
import type { Trial } from "../types.ts";
import { isRefused } from "./final.ts";
import { decide, shared } from "./judge.ts";
import { LOOP_LIMITS } from "./limits.ts";
import { costOf, type Model, meanScore, type RunState } from "./run-state.ts";
import { type Part, tell } from "./steps.ts";

/** Runs further seeds of the finalists and moves leader and incumbent by what they say. */
export function* polish(run: RunState): Part<void> {
  let finalists = finalistsOf(run);
  if (finalists.length < 2) return;
  const before = shared(finalists).length;
  for (let i = run.confirmSeeds().length + 1; i < LOOP_LIMITS.polish_seeds; i++) {
    if (yield* atSeed(run, finalists, run.options.seed + i)) continue;
    // What is too little for all of them still tells the best ones apart.
    const fewer = withoutWeakest(run, finalists);
    if (fewer === null) break;
    finalists = fewer;
    i--;
  }
  const seeds = shared(finalists);
  if (seeds.length === before) return;
  const best = finalists.reduce((a, b) => (meanAt(b, seeds) > meanAt(a, seeds) ? b : a));
  if (best !== run.leader) {
    const gain = meanAt(best, seeds) - meanAt(run.leader, seeds);
    run.leader = best;
    yield* tell({ kind: "leader", version: best.version, leader: run.candidate(best), gain });
  }
  if (best === run.incumbent || isRefused(run, best)) return;
  const verdict = yield* decide(run, best.version, best);
  if (verdict.accepted) run.incumbent = best;
  yield* tell({
    kind: "verdict",
    version: best.version,
    contender: run.candidate(best),
    verdict,
  });
}

/** The accepted model first: it wins ties. */
function finalistsOf(run: RunState): Model[] {
  const others = run.confirmed
    .filter((model) => model !== run.incumbent)
    .sort((a, b) => meanScore(b) - meanScore(a) || a.version - b.version)
    .slice(0, LOOP_LIMITS.polish_models - 1);
  const models = [run.incumbent, ...others];
  return models.includes(run.leader) ? models : [...models.slice(0, -1), run.leader];
}

/** Leader and incumbent stay; null where nobody else is left. */
function withoutWeakest(run: RunState, finalists: readonly Model[]): Model[] | null {
  const seeds = shared(finalists);
  const others = finalists.filter((model) => model !== run.leader && model !== run.incumbent);
  if (others.length === 0 || finalists.length === 2) return null;
  const weakest = others.reduce((a, b) => (meanAt(b, seeds) < meanAt(a, seeds) ? b : a));
  return finalists.filter((model) => model !== weakest);
}

const meanAt = (model: Model, seeds: readonly number[]): number =>
  meanScore({ ...model, trials: model.trials.filter((t) => seeds.includes(t.spec.seed)) });

/**
 * All finalists at one more seed; false where that does not fit or one of them failed. What the
 * others have had by then stays theirs.
 */
function* atSeed(run: RunState, finalists: readonly Model[], seed: number): Part<boolean> {
  const missing = finalists.filter((model) => !model.trials.some((t) => t.spec.seed === seed));
  const costs = missing.map(costOf);
  // That another one than the fitted model wins is possible, but not likely.
  const change_s = Math.max(0, ...finalists.filter((m) => !run.isFitted(m)).map(costOf));
  const vouch_s = costs.reduce((sum, cost) => sum + cost, 0);
  const reserve = { ...run.reserveFor(change_s), vouch_s, unlikely: run.settled };
  const batch = missing.map((model) => ({
    place: run.place(model.version, model.strategy, model.trials[0]!.place.proposer),
    spec: run.spec(model.configuration, seed),
  }));
  const done: Trial[] = [];
  const all = yield* run.runAll(batch, costs, reserve, (trial, i) => {
    missing[i]!.trials.push(trial);
    done.push(trial);
  });
  if (done.length > 0) yield* run.vouch(done);
  return all !== null;
}
