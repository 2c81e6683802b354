/**
 * What a report is made of (paper 5, 6.4): the run's result, its trials, the final model's
 * importance, and every read of gate and sealed. One document; Markdown, HTML, CSV and JSON are
 * views of it.
 */

import type { ResearchResult } from "../loop/events.ts";
import { dataScaleCurve } from "../series/data-scale.ts";
import type { Configuration, DomainName, Json, Trial, TrialState } from "../types.ts";

/** In the folder of a language run: its model as chat, serve and export open it. */
export const MODEL_FOLDER = "model";

/** A trial without its bulky outputs. */
export interface ReportTrial {
  readonly index: number;
  readonly version: number;
  readonly strategy: string;
  readonly proposer: string;
  readonly state: TrialState;
  readonly seed: number;
  readonly fidelity: number;
  readonly score: number | null;
  readonly cpu_s: number | null;
  readonly error: string | null;
  readonly configuration: Configuration;
}

/** Rows by true class, columns by predicted class, of out-of-fold predictions. */
export interface Confusion {
  readonly classes: readonly string[];
  readonly counts: readonly (readonly number[])[];
}

export interface ReportDocument {
  readonly task: {
    readonly name: string;
    readonly domain: DomainName;
    readonly task_hash: string;
    /** Remarks of the checks on the data. */
    readonly notes: readonly string[];
  };
  readonly magnet_version: string;
  readonly result: ResearchResult;
  readonly trials: readonly ReportTrial[];
  readonly importance: readonly { readonly feature: string; readonly share: number }[];
  /** Each opening of rows that the search never saw, in order. */
  readonly reads: readonly { readonly part: "gate" | "sealed"; readonly key: string }[];
  /** Search part, before and after; null where the domain has no classes. */
  readonly confusion: { readonly baseline: Confusion; readonly final: Confusion } | null;
  /**
   * Ascending in rows: of a series the best score of the `trials` with each window at the task's
   * seed, else the plain model's score where the analysis drew it.
   */
  readonly learning_curve: readonly {
    readonly rows: number;
    readonly score: number;
    readonly trials?: number;
  }[];
  /** Search score minus leave-one-context-out score; null without contexts. */
  readonly context_gap: { readonly baseline: number | null; readonly final: number | null } | null;
}

export interface ReportInput {
  readonly task: ReportDocument["task"];
  readonly magnet_version: string;
  readonly result: ResearchResult;
  readonly trials: readonly Trial[];
  readonly importance: ReportDocument["importance"];
  readonly reads: ReportDocument["reads"];
}

const isObject = (value: Json | undefined): value is { readonly [key: string]: Json } =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isNumber = (value: unknown): value is number =>
  typeof value === "number" && Number.isFinite(value);

const figuresOf = (trial: Trial | undefined) => trial?.outcome?.figures ?? {};

function confusionOf(trial: Trial | undefined): Confusion | null {
  const figure = figuresOf(trial).confusion;
  if (!isObject(figure) || !Array.isArray(figure.classes) || !Array.isArray(figure.counts))
    return null;
  return figure as unknown as Confusion;
}

/** Score on contexts seen minus that on contexts never seen, whichever the task's score is. */
function contextGap(trial: Trial | undefined): number | null {
  const { loco_score, seen_score } = figuresOf(trial);
  if (!trial?.outcome) return null;
  if (isNumber(seen_score)) return seen_score - trial.outcome.score;
  return isNumber(loco_score) ? trial.outcome.score - loco_score : null;
}

/** Of a series what its trials show, else the last curve that an analysis left in its evidence. */
function learningCurve(
  { versions, seed }: ResearchResult,
  trials: readonly Trial[],
): ReportDocument["learning_curve"] {
  const windows = dataScaleCurve(trials, seed);
  if (windows.length > 0) return windows;
  const curves = versions
    .flatMap((v) => v.failures)
    .map((failure) => failure.evidence.learning_curve)
    .filter((curve): curve is readonly Json[] => Array.isArray(curve));
  const points = (curves.at(-1) ?? []).filter(isObject);
  return points.flatMap(({ rows, score }) =>
    isNumber(rows) && isNumber(score) ? [{ rows, score }] : [],
  );
}

export function makeReport(input: ReportInput): ReportDocument {
  const { result, trials } = input;
  const byIndex = new Map(trials.map((trial) => [trial.index, trial]));
  const baseline = byIndex.get(result.baseline.trial);
  const final = byIndex.get(result.final.candidate.trial);
  const before = confusionOf(baseline);
  const after = confusionOf(final);
  const gaps = { baseline: contextGap(baseline), final: contextGap(final) };
  return {
    task: input.task,
    magnet_version: input.magnet_version,
    result,
    trials: trials.map((trial) => ({
      index: trial.index,
      version: trial.place.version,
      strategy: trial.place.strategy,
      proposer: trial.place.proposer,
      state: trial.state,
      seed: trial.spec.seed,
      fidelity: trial.spec.fidelity,
      score: trial.outcome?.score ?? null,
      cpu_s: trial.outcome?.cpu_s ?? null,
      error: trial.error,
      configuration: trial.spec.configuration,
    })),
    importance: input.importance,
    reads: input.reads,
    confusion: before && after ? { baseline: before, final: after } : null,
    learning_curve: learningCurve(result, trials),
    context_gap: gaps.baseline === null && gaps.final === null ? null : gaps,
  };
}
