/**
 * The choice of the final model, and its fit. On a budget of time the models are fitted as soon as
 * no further version fits: what that took is then known, and the rest can be used to its end.
 */
import type { FinalReason } from "./events.ts";
import { askTheGate, gateAnswer, signed } from "./judge.ts";
import { LOOP_LIMITS } from "./limits.ts";
import { costOf, type Model, type RunState } from "./run-state.ts";
import { lowerBound } from "./statistics.ts";
import { askFit, askSpent, type Part } from "./steps.ts";

export interface Choice {
  readonly model: Model;
  readonly reason: FinalReason;
  readonly words: string;
}

/** Fits what would be final now, and the baseline; measures both. */
export function* settle(run: RunState): Part<void> {
  const { model } = yield* chooseFinal(run);
  for (const one of [run.baseline, model]) {
    if (run.isFitted(one)) continue;
    yield* askFit(run.spec(one.configuration, run.options.seed));
    run.budget.fitDone(costOf(one), yield* askSpent());
    run.noteFitted(one);
  }
  run.settled = true;
}

/** A model that the gate has refused is not asked about again. */
export const isRefused = (run: RunState, model: Model): boolean =>
  run.queries.some((q) => q.contender === model.trials[0]!.index && q.answer <= 0);

/**
 * The leader when it is the last accepted model. When it is not, it is statistically tied with it:
 * a decision must still be made, and the higher expected score is the better one as long as it
 * held on folds drawn anew and the gate does not object. The report says that it is a tie.
 */
export function* chooseFinal(run: RunState): Part<Choice> {
  const { incumbent, leader } = run;
  const accepted = incumbent === run.baseline ? ("baseline" as const) : ("accepted" as const);
  const keep = (words: string) => ({ model: incumbent, reason: accepted, words });
  if (leader === incumbent)
    return keep(
      accepted === "baseline" ? "no version improved on it" : "the last accepted version",
    );
  const { difference, seeds } = run.difference(incumbent, leader);
  const figures = `${signed(difference.difference)} over ${seeds} seeds`;
  if (!(lowerBound(difference, LOOP_LIMITS.tie_level) > 0))
    return keep(`the search's best is not reliably above it (${figures})`);
  if (run.gate.left === 0 && !gateAnswer(run, leader))
    return keep("the gate has answered all its queries");
  const refused = isRefused(run, leader);
  const gate = refused ? null : yield* askTheGate(run, leader.version, leader, difference);
  if (!gate || gate.answer <= 0) return keep(`the gate objects to the search's best (${figures})`);
  const tied = `tied with the last accepted model, expected to be better (${figures})`;
  return { model: leader, reason: "tied", words: tied };
}
