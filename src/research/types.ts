/**
 * What the parts of autoresearch (paper 5, Algorithm 1) hand to each other: configurations and
 * their spaces, trials and their outcomes, failures found by error analysis, strategies aimed at
 * them, and the face of a domain. Everything here is plain data or an interface; all scores are
 * "higher is better".
 */
import type { Random } from "../core/random.ts";
import type { Hash } from "../core/types.ts";

export type DomainName = "tabular" | "series" | "language";

export type Json =
  | string
  | number
  | boolean
  | null
  | readonly Json[]
  | { readonly [k: string]: Json };

/** One model to try, as typed data and never code; the domain's schema checks it. */
export type Configuration = { readonly [key: string]: Json };

/** One axis of a search space. Bounds are inclusive; `log` draws uniformly in the logarithm. */
export type Dimension =
  | { readonly kind: "real"; readonly min: number; readonly max: number; readonly log?: boolean }
  | { readonly kind: "integer"; readonly min: number; readonly max: number; readonly log?: boolean }
  | { readonly kind: "choice"; readonly options: readonly Json[] };
/** Axes by their dotted path in the configuration, for example "members.0.params.lr". */
export type Space = { readonly [path: string]: Dimension };

/** What a trial is asked to do. Equal specifications give equal outcomes on every machine. */
export interface TrialSpec {
  readonly task_hash: Hash;
  readonly configuration: Configuration;
  /** Of the learner and of the folds; never tuned. */
  readonly seed: number;
  /** Part of the full effort in (0, 1]: rungs of successive halving. */
  readonly fidelity: number;
}

/** What a trial found on the search part; gate and sealed rows are never among it. */
export interface TrialOutcome {
  /** The task's metric, higher is better. */
  readonly score: number;
  readonly fold_scores: readonly number[];
  /**
   * Out-of-fold outputs for paired comparison and analysis, row-major (units, outputs): class
   * probabilities of the search rows, or the loss of each held-out document. Empty: none kept.
   */
  readonly outputs: Float32Array;
  /** Figures for error analysis, by name: train_score, loco_score, threshold... */
  readonly figures: { readonly [name: string]: Json };
  /** CPU seconds used by the trial, all its threads. */
  readonly cpu_s: number;
}

export type TrialState = "queued" | "running" | "done" | "crashed" | "timed_out" | "pruned";

/** Why a trial was made: version 0 is the baseline and its noise floor. */
export interface TrialPlace {
  readonly version: number;
  /** Id of the strategy, "baseline" or "noise". */
  readonly strategy: string;
  /** Who proposed it. */
  readonly proposer: "baseline" | "optimizer" | "random" | "teacher" | "knowledge";
}

export interface Trial {
  /** Counts from 0 within a run; the order of proposal. */
  readonly index: number;
  readonly place: TrialPlace;
  readonly spec: TrialSpec;
  readonly state: TrialState;
  /** Present when done. */
  readonly outcome: TrialOutcome | null;
  /** Why it failed, in one line; null otherwise. */
  readonly error: string | null;
}

/** The kinds of failure that error analysis looks for; each has a planted test and a clean twin. */
export const FAILURE_KINDS = [
  "class_imbalance",
  "miscalibration",
  "context_gap",
  "overfit",
  "underfit",
  "interactions",
  "disagreement",
  "data_limited",
  "drift",
  "label_noise",
  "feature_noise",
  "pipeline_errors",
  // Of language models:
  "domain_gap",
  "short_context",
  "slow_learning",
  "unstable_training",
  "capacity",
  "throughput",
] as const;
export type FailureKind = (typeof FAILURE_KINDS)[number];

/** One systematic failure of the best model so far. */
export interface Failure {
  readonly kind: FailureKind;
  /** How sure: the effect over its standard error, or a comparable number; reported from 2 on. */
  readonly strength: number;
  /** What mending it could bring at most, in units of the score. */
  readonly potential: number;
  /** One sentence for people, with the figures. */
  readonly text: string;
  readonly evidence: { readonly [name: string]: Json };
}

/** What a strategy wants searched: a base configuration and the axes around it. */
export interface Sweep {
  readonly base: Configuration;
  readonly space: Space;
  /** Configurations tried before anything else: the strategy's own first guesses. */
  readonly first: readonly Configuration[];
  /** Proposals worth spending on it at most. */
  readonly trials_max: number;
  /** What is tried next in place of the optimiser's proposals, from the run's done trials. */
  readonly propose?: (trials: readonly Trial[], random: Random) => Configuration;
}

export interface StrategyState {
  readonly best: Trial;
  /** All done trials of the run at full fidelity, oldest first. */
  readonly trials: readonly Trial[];
  readonly failures: readonly Failure[];
  /** Trials are what the budget counts, and there are many: a dear one costs as much as any. */
  readonly counted?: boolean;
}

/** One way to mend failures. Strategies of one version are of different families. */
export interface Strategy {
  readonly id: string;
  readonly family: string;
  /** The failures it is aimed at; empty: it applies whatever the analysis says. */
  readonly targets: readonly FailureKind[];
  /**
   * Worth trying without its failures too, at a lower promise: another learner, an ensemble. Most
   * of what such a strategy brings no error analysis of a single model foretells.
   */
  readonly general?: boolean;
  /**
   * Whole configurations that do well on most tasks: tried once, before anything else, so that a
   * search does not begin at a model that most guesses beat.
   */
  readonly opening?: boolean;
  /**
   * About how many CPU seconds one of its trials takes, of a strategy that costs many times what
   * others do: it is offered once a run, beside the others, when a version has brought nothing and
   * the budget left is a large multiple of it.
   */
  readonly dear_s?: number;
  /** Part of a version's trials that are this strategy's own, beside those of the ranked ones. */
  readonly share?: number;
  /** One sentence for people. */
  readonly summary: string;
  /** Null where it does not apply to this task or state. */
  sweep(state: StrategyState): Sweep | null;
}

/** A paired difference b - a on the same units with its bootstrap interval. */
export interface PairedDifference {
  readonly difference: number;
  /** Standard error of the difference. */
  readonly standard_error: number;
  /** Bounds at `level`, two-sided. */
  readonly low: number;
  readonly high: number;
  readonly level: number;
}

/** What is known of a task without its labels' secrets; part of the knowledge base's signature. */
export interface TaskFacts {
  readonly domain: DomainName;
  readonly name: string;
  readonly rows: number;
  readonly features: number;
  readonly classes: number;
  /** Share of the rarest class. */
  readonly minority: number;
  readonly contexts: number;
  readonly has_pipeline: boolean;
  readonly missing_share: number;
  readonly categorical_share: number;
}

export interface ScoreInterval {
  readonly score: number;
  /** 95% bootstrap bounds. */
  readonly low: number;
  readonly high: number;
  readonly units: number;
}

/** A model fitted on the search and gate parts, ready to be saved and used. */
export interface FinalModel {
  readonly configuration: Configuration;
  /** Serialised model; what `research predict` loads. */
  readonly bytes: Uint8Array;
  readonly importance: readonly { readonly feature: string; readonly share: number }[];
}

/**
 * One kind of research problem, opened on one task. `evaluate` runs in workers and sees the search
 * part only; gate and sealed rows are read through `gateScores` and `openSealed` alone, by the
 * coordinator, which logs each read.
 */
export interface ResearchDomain {
  readonly name: DomainName;
  /** Of the task, its data and its splits: the same hash means the same trials. */
  readonly task_hash: Hash;
  /**
   * Of what the data is about (labels, prices, texts), whatever the task is called and makes of it:
   * what was learnt on the same data under another seed has seen rows that are sealed now.
   */
  readonly data_hash: Hash;
  readonly facts: TaskFacts;
  /** What the checks of the data have to say. */
  readonly notes: readonly {
    readonly code: string;
    readonly text: string;
    readonly hint: string;
  }[];
  /** The name of the score, for example "balanced_accuracy". */
  readonly metric: string;
  /** Rungs of successive halving, ascending, ending with 1; [1] where trials are cheap. */
  readonly fidelities: readonly number[];
  baseline(): Configuration;
  /** Checks and completes; throws BAD_CONFIGURATION naming the field. */
  parse(configuration: unknown): Configuration;
  /** Another task's configuration without what only makes sense there; absent: all of it does. */
  adopt?(configuration: Configuration): Configuration;
  evaluate(spec: TrialSpec, options: EvaluateOptions): Promise<TrialOutcome>;
  /** Paired bootstrap of b - a over the units of the search part. */
  compare(a: TrialOutcome, b: TrialOutcome, seed: number): PairedDifference;
  analyse(best: Trial, trials: readonly Trial[]): Promise<Failure[]>;
  readonly strategies: readonly Strategy[];
  /**
   * Fits on the search part and scores b - a on the gate part: for the Thresholdout gate only,
   * which has the search part's difference from the trials.
   */
  gateScores(a: TrialSpec, b: TrialSpec): Promise<{ gate: PairedDifference }>;
  /** Fits on search and gate parts together. */
  fitFinal(spec: TrialSpec): Promise<FinalModel>;
  /** The one look at the sealed part. `majority`: the score of the trivial answer, for "no edge". */
  openSealed(
    model: FinalModel,
    baseline: FinalModel,
  ): Promise<{
    model: ScoreInterval;
    baseline: ScoreInterval;
    difference: PairedDifference;
    trivial: ScoreInterval;
    /** Sentences of the domain about the sealed part, for the report: what a trade costs... */
    notes?: readonly string[];
  }>;
  close(): Promise<void>;
}

export interface EvaluateOptions {
  /** Threads of the learner; never changes an outcome. */
  readonly threads: number;
  readonly signal?: AbortSignal;
}
