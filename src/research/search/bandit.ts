/**
 * Which strategies a version tries: a bandit over families by past success per failure signature.
 * Each strategy's expected gain is a mean of what the failures promise, what the knowledge base
 * says of tasks like this one and what the strategy and its family brought in this run; one draw
 * around it (Thompson 1933) orders them. One strategy a family, the strongest failures first.
 */
import type { Random } from "../../core/random.ts";
import type { Failure, FailureKind, Strategy } from "../types.ts";
import { BANDIT_LIMITS as LIMITS } from "./limits.ts";

/** What a strategy brought when it was tried. */
export interface Experience {
  readonly strategy: string;
  readonly family: string;
  readonly failures: readonly FailureKind[];
  /** Best of its sweep minus the model of that time. */
  readonly gain: number;
}

export interface PriorGain {
  readonly gain: number;
  readonly spread: number;
  readonly weight: number;
}

export interface Ranked {
  readonly strategy: Strategy;
  /** Failures of this version that it is aimed at. */
  readonly failures: readonly Failure[];
  readonly expected: number;
  readonly drawn: number;
  /** How often in a row it was last tried without a gain. */
  readonly in_vain: number;
  readonly why: string;
}

export interface RankOptions {
  readonly strategies: readonly Strategy[];
  readonly failures: readonly Failure[];
  readonly experience: readonly Experience[];
  readonly priors: { readonly [strategy: string]: PriorGain };
  /** A typical small difference of scores: the standard deviation between seeds. */
  readonly unit: number;
  readonly random: Random;
}

/**
 * All strategies that apply to these failures, best draw first. A strategy aimed at failures none
 * of which was found does not apply; a general one, or one aimed at nothing, always does.
 */
export function rankStrategies(options: RankOptions): Ranked[] {
  const { unit, random } = options;
  return options.strategies
    .map((strategy, place, all) => {
      const failures = options.failures.filter((f) => strategy.targets.includes(f.kind));
      // Drawn for every strategy, so that one more or less shifts nobody else's draw.
      const noise = roughNormal(random);
      const always = strategy.targets.length === 0 || strategy.general === true;
      if (!always && failures.length === 0) return null;
      const least = unit * untargetedPromise(place, all.length);
      const promise = Math.max(least, ...failures.map((f) => failurePromise(f)));
      const prior = options.priors[strategy.id];
      const lived = livedGain(strategy, failures, options.experience);
      const priorWeight = prior ? Math.min(prior.weight, LIMITS.knowledge_weight_max) : 0;
      const weight = LIMITS.promise_weight + priorWeight + lived.weight;
      const expected =
        (promise * LIMITS.promise_weight + (prior?.gain ?? 0) * priorWeight + lived.sum) / weight;
      const drawn = expected + (noise * unit * LIMITS.explore) / Math.sqrt(weight);
      const why = reason(failures, prior, lived, expected);
      const in_vain = inVain(strategy, options.experience, unit * LIMITS.gain_min);
      return { strategy, failures, expected, drawn, in_vain, why };
    })
    .filter((ranked) => ranked !== null)
    .sort((a, b) => b.drawn - a.drawn || (a.strategy.id < b.strategy.id ? -1 : 1));
}

/**
 * At most `count` strategies of different families. Each failure, strongest promise first, is given
 * its best strategy before the rest of the places goes by rank.
 */
export function chooseStrategies(
  ranked: readonly Ranked[],
  failures: readonly Failure[],
  count: number,
): Ranked[] {
  const chosen: Ranked[] = [];
  const take = (candidate: Ranked | undefined) => {
    if (candidate && chosen.length < count) chosen.push(candidate);
  };
  const free = (r: Ranked) => !chosen.some((c) => c.strategy.family === r.strategy.family);
  const byPromise = [...failures].sort(
    (a, b) => b.potential * b.strength - a.potential * a.strength,
  );
  for (const failure of byPromise) {
    // Whoever was aimed at it in vain competes with the others from then on.
    const aimed = (r: Ranked) => r.failures.includes(failure) && r.in_vain < LIMITS.in_vain_max;
    if (!chosen.some(aimed)) take(ranked.find((r) => aimed(r) && free(r)));
  }
  for (const candidate of ranked) if (free(candidate)) take(candidate);
  return chosen;
}

/** A catalogue lists its strategies by what they usually bring: the first promises most. */
const untargetedPromise = (place: number, count: number): number =>
  LIMITS.untargeted_promise * (1 - (LIMITS.untargeted_fall * place) / Math.max(1, count - 1));

/** What mending a failure may bring, sober: a share of its potential when it is sure. */
function failurePromise(failure: Failure): number {
  const sureness = Math.min(1, Math.max(0, failure.strength) / LIMITS.sure_strength);
  return failure.potential * LIMITS.potential_share * sureness;
}

function livedGain(
  strategy: Strategy,
  failures: readonly Failure[],
  experience: readonly Experience[],
): { sum: number; weight: number; count: number } {
  let [sum, weight, count] = [0, 0, 0];
  for (const past of experience) {
    if (past.family !== strategy.family) continue;
    // What it brought to a poorer model says less about this one.
    sum *= LIMITS.memory;
    weight *= LIMITS.memory;
    const self = past.strategy === strategy.id ? 1 : LIMITS.family_weight;
    const alike =
      failures.length === 0 || failures.some((f) => past.failures.includes(f.kind))
        ? 1
        : LIMITS.other_failure_weight;
    sum += self * alike * past.gain;
    weight += self * alike;
    if (self === 1) count++;
  }
  return { sum, weight, count };
}

function inVain(strategy: Strategy, experience: readonly Experience[], least: number): number {
  const tries = experience.filter((past) => past.strategy === strategy.id);
  const last = tries.findLastIndex((past) => past.gain > least);
  return tries.length - 1 - last;
}

/** About normal with mean 0 and deviation 1, of uniform draws alone: no logarithm, no cosine. */
export function roughNormal(random: Random): number {
  let total = 0;
  for (let i = 0; i < 12; i++) total += random.next();
  return total - 6;
}

function reason(
  failures: readonly Failure[],
  prior: PriorGain | undefined,
  lived: { sum: number; weight: number; count: number },
  expected: number,
): string {
  const parts = failures.map((f) => `${f.kind} (strength ${f.strength.toFixed(1)})`);
  const aimed = parts.length > 0 ? `aimed at ${parts.join(", ")}` : "applies to any model";
  const known = prior ? `, elsewhere ${signed(prior.gain)} on average` : "";
  const here = lived.count > 0 ? `, here ${signed(lived.sum / lived.weight)} so far` : "";
  return `${aimed}${known}${here}: expected ${signed(expected)}`;
}

const signed = (value: number) => `${value < 0 ? "-" : "+"}${Math.abs(value).toFixed(4)}`;
