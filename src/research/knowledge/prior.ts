/**
 * What other tasks say of the strategies on a task: a random-effects mean over tasks (DerSimonian
 * and Laird 1986), each weighted by its likeness, shrunk to "no gain". A task counts once however
 * often it was run: its insights are first made one. The data of the task that asks does not count
 * at all: under another seed their search part held rows that are sealed now.
 */
import { canonicalJson } from "../../core/bytes.ts";
import type { Insight, Priors, Signature, StrategyPrior } from "../loop/faces.ts";
import type { Json, TaskFacts } from "../types.ts";
import { likeness } from "./likeness.ts";
import {
  CONFIGURATIONS_TOLD,
  GAIN_SPREAD,
  LIKENESS_MIN,
  SETTINGS_TOLD,
  TASK_ERROR,
} from "./limits.ts";

/** What one task says of one strategy. */
interface TaskWord {
  readonly gain: number;
  /** Variance of the gain within the task. */
  readonly variance: number;
  readonly alike: number;
}

/** What data without a hash is known by. */
const describe = ({ domain, name, rows, features, classes }: TaskFacts): string =>
  canonicalJson([domain, name, rows, features, classes]);

/** Of the data whatever the seed, and so the split, is. */
const dataOf = ({ data, facts }: Signature): string => data ?? describe(facts);

function sameData(a: Signature, b: Signature): boolean {
  if (a.data !== undefined && a.data === b.data) return true;
  // Also with other hashes: the same rows in another order, or as many others under one name.
  return describe(a.facts) === describe(b.facts);
}

const square = (x: number): number => x * x;
const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** Trials that all failed brought nothing, for sure. */
function wordOf({ difference }: Insight): { gain: number; variance: number } {
  if (difference === null) return { gain: 0, variance: square(TASK_ERROR) };
  const variance = square(difference.standard_error) + square(TASK_ERROR);
  return { gain: difference.difference, variance };
}

/** One word of several runs of a task: their mean, no surer than the surest of them. */
function taskWord(insights: readonly { insight: Insight; alike: number }[]): TaskWord {
  const words = insights.map(({ insight }) => wordOf(insight));
  const total = sum(words.map((w) => 1 / w.variance));
  return {
    gain: sum(words.map((w) => w.gain / w.variance)) / total,
    variance: Math.min(...words.map((w) => w.variance)),
    alike: Math.max(...insights.map(({ alike }) => alike)),
  };
}

/** Variance of the gain between tasks, beyond what each is unsure of itself. */
function between(words: readonly TaskWord[]): number {
  const weights = words.map((w) => w.alike / w.variance);
  const total = sum(weights);
  const mean = sum(words.map((w, i) => weights[i]! * w.gain)) / total;
  const q = sum(words.map((w, i) => weights[i]! * square(w.gain - mean)));
  const scale = total - sum(weights.map(square)) / total;
  const degrees = sum(words.map((w, i) => w.alike * (1 - weights[i]! / total)));
  return scale > 0 ? Math.max(0, (q - degrees) / scale) : 0;
}

function priorOf(insights: readonly { insight: Insight; alike: number }[]): StrategyPrior {
  const tasks = Map.groupBy(insights, ({ insight }) => dataOf(insight.signature));
  const words = [...tasks.values()].map(taskWord);
  const tau = between(words);
  const weights = words.map((w) => w.alike / (w.variance + tau));
  const precision = sum(weights) + 1 / square(GAIN_SPREAD);
  return {
    gain: sum(words.map((w, i) => weights[i]! * w.gain)) / precision,
    spread: Math.sqrt(tau + 1 / precision),
    weight: sum(words.map((w) => w.alike)),
    settings: settingsOf(insights),
    ...configurationsOf(insights),
  };
}

/** What runs of the likest tasks ended with: one of each task, the one that gained most there. */
function configurationsOf(
  insights: readonly { insight: Insight; alike: number }[],
): Pick<StrategyPrior, "configurations"> {
  const order = insights
    .filter(({ insight }) => insight.configuration && (insight.difference?.difference ?? 0) > 0)
    .sort(
      (a, b) =>
        b.alike - a.alike ||
        b.insight.difference!.difference - a.insight.difference!.difference ||
        (a.insight.key < b.insight.key ? -1 : 1),
    );
  const tasks = Map.groupBy(order, ({ insight }) => dataOf(insight.signature));
  const told = [...tasks.values()].map(([first]) => first!.insight.configuration!);
  return told.length > 0 ? { configurations: told.slice(0, CONFIGURATIONS_TOLD) } : {};
}

/** Settings that brought something, of the likest tasks and largest gains first. */
function settingsOf(
  insights: readonly { insight: Insight; alike: number }[],
): { readonly [path: string]: Json }[] {
  const useful = insights
    .filter(({ insight }) => (insight.difference?.difference ?? 0) > 0)
    .map(({ insight, alike }) => ({ insight, worth: alike * insight.difference!.difference }))
    .sort((a, b) => b.worth - a.worth || (a.insight.key < b.insight.key ? -1 : 1));
  const told = new Map(useful.map(({ insight }) => [canonicalJson(insight.settings), insight]));
  return [...told.values()]
    .map(({ settings }) => settings)
    .filter((settings) => Object.keys(settings).length > 0)
    .slice(0, SETTINGS_TOLD);
}

/**
 * Priors of all strategies that a task like this one has tried at the same stage: what was gained
 * over a baseline is no promise to a model that has left the baseline behind.
 */
export function priorsFrom(
  insights: readonly Insight[],
  signature: Signature,
  version = 1,
): Priors {
  const heard = insights
    .filter((i) => i.configuration !== undefined || i.version > 1 === version > 1)
    .filter((insight) => !sameData(insight.signature, signature))
    .map((insight) => ({ insight, alike: likeness(signature, insight.signature) }))
    .filter(({ alike }) => alike >= LIKENESS_MIN)
    .sort((a, b) => (a.insight.key < b.insight.key ? -1 : 1));
  const strategies = Map.groupBy(heard, ({ insight }) => insight.strategy);
  return Object.fromEntries(
    [...strategies].sort(([a], [b]) => (a < b ? -1 : 1)).map(([id, all]) => [id, priorOf(all)]),
  );
}
