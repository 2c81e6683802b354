/**
 * What a run tries before the strategies of its first version: what runs of the likest tasks ended
 * with, as far as the knowledge base knows any, then the domain's portfolio of whole configurations
 * that do well on most tasks. The error analysis of the version stays the baseline's, and its
 * strategies are measured against the baseline; what they find is joined with the best opening.
 */
import type { Configuration, Failure, Strategy, Sweep } from "../types.ts";
import { type Arm, nextBatch, openArm, parseOrNull, runBatch } from "./arms.ts";
import { type Priors, RECALL } from "./faces.ts";
import { LOOP_LIMITS } from "./limits.ts";
import { costOf, type RunState, stateOf } from "./run-state.ts";
import type { Part } from "./steps.ts";

/** Of the loop itself: any domain's final configurations can be recalled. */
const RECALLED: Strategy = {
  id: RECALL,
  family: RECALL,
  targets: [],
  summary: "Tries what the runs of the likest known tasks ended with.",
  sweep: () => null,
};

/** Runs the openings; arms that had trials. */
export function* runOpenings(
  run: RunState,
  version: number,
  failures: readonly Failure[],
  priors: Priors,
): Part<Arm[]> {
  let left = openingsOf(run);
  const arms: Arm[] = [];
  for (const { strategy, first, why } of candidates(run, failures, priors)) {
    const configurations = first.slice(0, left);
    if (configurations.length === 0) continue;
    left -= configurations.length;
    const ranked = { strategy, failures: [], expected: 0, drawn: 0, in_vain: 0, why };
    const trials_max = configurations.length;
    const sweep: Sweep = {
      base: configurations[0]!,
      space: {},
      first: configurations,
      trials_max,
    };
    arms.push(openArm(run, version, { ranked, sweep }, {}, []));
  }
  const recalled = arms.filter((arm) => arm.ranked.strategy === RECALLED);
  const others = arms.filter((arm) => arm.ranked.strategy !== RECALLED);
  for (;;) {
    const batch = nextBatch(run, version, recalled, run.options.batch);
    if (batch.length === 0) break;
    yield* runBatch(run, batch, recalledLimit_s(run));
  }
  for (;;) {
    const batch = nextBatch(run, version, others, run.options.batch);
    if (batch.length === 0) break;
    yield* runBatch(run, batch);
  }
  return arms.filter((arm) => arm.trials.length > 0);
}

/**
 * CPU seconds that a recalled configuration may take: it may be of a stranger, who need not mean
 * well. Several times the baseline's, or as much of the budget as an opening is worth.
 */
function recalledLimit_s(run: RunState): number {
  const { openings_share, openings_max, recalled_cost, timeout_min_s } = LOOP_LIMITS;
  const share_s = (run.budget.left_s(run.reserve(true)) * openings_share) / openings_max;
  const worth_s = run.budget.timed ? share_s : timeout_min_s;
  return Math.max(recalled_cost * costOf(run.baseline), worth_s);
}

/** How many fit the share of the budget that is theirs; each is dearer than the baseline. */
function openingsOf(run: RunState): number {
  const { openings_max, openings_counted_max, openings_share } = LOOP_LIMITS;
  const ahead = run.budget.trialsAhead(costOf(run.baseline), run.reserve(true));
  const most = run.budget.counted ? openings_counted_max : openings_max;
  return Math.min(most, Math.floor(ahead * openings_share));
}

/** Recalled ones first: they were the best of whole runs. */
function candidates(run: RunState, failures: readonly Failure[], priors: Priors) {
  const state = stateOf(run, failures);
  const recalled = (priors[RECALL]?.configurations ?? [])
    .slice(0, LOOP_LIMITS.recalled_max)
    // Of a task with other columns it may ask for what this one does not offer.
    .map((known) => parseOrNull(run, run.domain.adopt?.(known) ?? known))
    .filter((configuration): configuration is Configuration => configuration !== null);
  const portfolio = run.domain.strategies
    .filter((strategy) => strategy.opening)
    .map((strategy) => ({
      strategy,
      first: strategy.sweep(state)?.first ?? [],
      why: "does well on most tasks",
    }));
  const why = "the best of tasks like this one";
  return [{ strategy: RECALLED, first: recalled, why }, ...portfolio];
}
