/**
 * What a run tells while it goes on and when it ends: events for the live view and the log, and
 * the result that reports are made of. Plain data, snake_case, stored and sent as JSON. Events are
 * a function of the run's outcomes: a resumed run tells the same ones again from the start, with
 * the same `index`.
 */
import type {
  Configuration,
  Failure,
  PairedDifference,
  ScoreInterval,
  TaskFacts,
  Trial,
  TrialPlace,
  TrialState,
} from "../types.ts";
import type { Spent } from "./faces.ts";

/** A model in the run, as reports show it. */
export interface Candidate {
  /** Trial at the task's own seed. */
  readonly trial: number;
  readonly configuration: Configuration;
  readonly strategy: string;
  readonly version: number;
  /** Mean search score over `seeds` seeds, folds drawn anew for each. */
  readonly score: number;
  readonly seeds: number;
}

export interface NoiseFloor {
  readonly seeds: number;
  readonly mean: number;
  /** Standard deviation of the baseline's score between seeds. */
  readonly deviation: number;
  /** Smallest difference of single-seed scores that is more than noise. */
  readonly floor: number;
}

export interface StrategyChoice {
  readonly strategy: string;
  readonly family: string;
  readonly summary: string;
  /** Why it was drawn, with the figures, in one sentence. */
  readonly why: string;
}

export interface StrategyResult {
  readonly strategy: string;
  readonly family: string;
  readonly trials: number;
  readonly failed: number;
  readonly cpu_s: number;
  /** Best score at the task's seed, null when every trial failed. */
  readonly best_score: number | null;
  readonly best_trial: number | null;
  readonly difference: PairedDifference | null;
  readonly result: "accepted" | "tied" | "worse" | "crashed";
}

/** One use of the gate: the search part's difference, and what Thresholdout lets out. */
export interface GateQuery {
  readonly query: number;
  readonly version: number;
  readonly incumbent: number;
  readonly contender: number;
  readonly search_difference: number;
  /** What the gate answers: the search difference itself, or the gate's with noise. */
  readonly answer: number;
  /** The gate disagreed with the search part by more than the noisy threshold. */
  readonly overfit: boolean;
  readonly queries_left: number;
}

export interface Verdict {
  readonly accepted: boolean;
  readonly difference: PairedDifference;
  readonly noise_floor: number;
  readonly seeds: number;
  readonly gate: GateQuery | null;
  /** One sentence with the figures. */
  readonly reason: string;
}

export type ResearchEventBody =
  | { kind: "started"; metric: string; facts: TaskFacts; baseline: Configuration }
  | {
      kind: "trial";
      trial: number;
      place: TrialPlace;
      state: TrialState;
      score: number | null;
      cpu_s: number;
      fidelity: number;
      seed: number;
      best_score: number;
      error: string | null;
    }
  | ({ kind: "noise_floor" } & NoiseFloor)
  | { kind: "version"; version: number; best: Candidate }
  | { kind: "failures"; version: number; failures: readonly Failure[] }
  | { kind: "strategies"; version: number; chosen: readonly StrategyChoice[] }
  | { kind: "teacher"; version: number; offered: number; refused: number; note: string }
  | { kind: "strategy_result"; version: number; result: StrategyResult }
  | { kind: "gate"; query: GateQuery }
  | { kind: "verdict"; version: number; contender: Candidate; verdict: Verdict }
  | { kind: "leader"; version: number; leader: Candidate; gain: number }
  | { kind: "converged"; versions: number; epsilon: number }
  | { kind: "stopped"; reason: StopReason; spent: Spent }
  | { kind: "final"; candidate: Candidate; reason: string }
  | { kind: "sealed"; sealed: SealedResult };
export type ResearchEvent = { readonly index: number } & ResearchEventBody;

export type StopReason = "converged" | "budget" | "exhausted";

export interface SealedResult {
  readonly model: ScoreInterval;
  readonly baseline: ScoreInterval;
  readonly difference: PairedDifference;
  readonly trivial: ScoreInterval;
  /** The sealed part's lower bound does not exceed the trivial answer. */
  readonly no_edge: boolean;
  /** Sentences of the domain about the sealed part. */
  readonly notes?: readonly string[];
}

export interface VersionResult {
  readonly version: number;
  readonly started_from: Candidate;
  readonly failures: readonly Failure[];
  readonly strategies: readonly (StrategyChoice & StrategyResult)[];
  readonly teacher: { readonly offered: number; readonly refused: number; readonly used: number };
  /** Best of the version, null when every trial failed. */
  readonly contender: Candidate | null;
  readonly verdict: Verdict | null;
  readonly gain: number;
  readonly spent: Spent;
}

/** Why the final model is the final model. */
export type FinalReason =
  /** No version was accepted and nothing tied is expected to be better. */
  | "baseline"
  /** The last accepted version. */
  | "accepted"
  /** Statistically tied with the last accepted version, with the higher expected score. */
  | "tied";

export interface ResearchResult {
  readonly metric: string;
  readonly facts: TaskFacts;
  readonly seed: number;
  readonly stop: StopReason;
  readonly noise_floor: NoiseFloor;
  readonly baseline: Candidate;
  readonly versions: readonly VersionResult[];
  readonly gate_queries: readonly GateQuery[];
  readonly final: { readonly candidate: Candidate; readonly reason: FinalReason };
  readonly sealed: SealedResult;
  /** Best full-fidelity search score after each trial, by trial index; null before the first. */
  readonly best_so_far: readonly (number | null)[];
  /** Sum of the trials' own CPU seconds after each trial, for curves over cost. */
  readonly cost_so_far: readonly number[];
  readonly trials: { readonly [state in TrialState]?: number };
  readonly spent: Spent;
}

/** A trial without its bulky outputs, for events and logs. */
export const scoreOf = (trial: Trial): number | null => trial.outcome?.score ?? null;
