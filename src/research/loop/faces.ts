/**
 * What the loop (paper 5, Algorithm 1) needs of its surroundings: who runs and stores trials, what
 * is known from other tasks, who teaches, and what time it is. The loop itself does no I/O: all it
 * does is a function of its options and of the answers that come through these faces, so a run
 * resumed from the store makes the same proposals again.
 */

import type { Hash } from "../../core/types.ts";
import type {
  Configuration,
  Failure,
  FailureKind,
  Json,
  PairedDifference,
  Space,
  TaskFacts,
  Trial,
  TrialPlace,
  TrialSpec,
} from "../types.ts";

/** One trial asked for. */
export interface Proposal {
  readonly place: TrialPlace;
  readonly spec: TrialSpec;
}

/** What a run has used so far, downtime between an interruption and the resumption left out. */
export interface Spent {
  /** CPU seconds of all processes of the run: the coordinator and every worker. */
  readonly cpu_s: number;
  readonly wall_s: number;
}

export interface RunTrialsOptions {
  /** A trial that uses more CPU seconds than this ends as "timed_out"; null = no limit. */
  readonly cpu_limit_s: number | null;
  readonly signal?: AbortSignal;
}

/**
 * Runs and stores the trials of one run. The durable one answers from its store what an earlier
 * life of the run has already done.
 */
export interface TrialRunner {
  /**
   * Runs a batch and resolves to its trials in the batch's order, whatever the order of arrival.
   * A crash or a time-out is a trial's state, never a rejection; it rejects only when the run
   * cannot go on (aborted, store lost). Trials count on from the last one of the run.
   */
  run(batch: readonly Proposal[], options: RunTrialsOptions): Promise<Trial[]>;
  spent(): Spent;
  /**
   * A step done once in the life of a run: the result is stored under `key` before it is returned,
   * and a resumed run is given the stored one without doing the step again. Keys "gate/N" and
   * "sealed" are reads of the gate and sealed parts: the store notes them before `step` begins,
   * so that a read which was interrupted is seen in the log. The result is plain JSON data.
   */
  once<T>(key: string, step: () => T | Promise<T>): Promise<T>;
  /**
   * Computes again what other machines said of these trials; absent where no other machine is asked.
   * Rejects with NODE_WRONG, having undone what followed, where one has lied.
   */
  vouch?(trials: readonly number[], signal?: AbortSignal): Promise<void>;
  /** Numbers of the gate's queries that were undone: they were answered, so they stay used. */
  lostQueries?(): readonly number[];
}

/** What knowledge is filed under. */
export interface Signature {
  readonly facts: TaskFacts;
  /** The domain's `data_hash`; what was told before there was one has none. */
  readonly data?: Hash;
  readonly metric: string;
  /** Failures of the model that the strategies were aimed at. */
  readonly failures: readonly { readonly kind: FailureKind; readonly strength: number }[];
}

/** What other tasks say of one strategy on a task like this. */
export interface StrategyPrior {
  /** Expected gain of the strategy over the incumbent, in units of the score. */
  readonly gain: number;
  /** Standard deviation of that gain between tasks. */
  readonly spread: number;
  /** How many tasks speak, weighted by likeness. */
  readonly weight: number;
  /** Settings that were best there, by path of the sweep's space, likeliest first. */
  readonly settings: readonly { readonly [path: string]: Json }[];
  /** Whole configurations that runs of the likest tasks ended with; of RECALL alone. */
  readonly configurations?: readonly Configuration[];
}
/** The name under which the final configurations of runs are remembered and tried. */
export const RECALL = "recall";
export type Priors = { readonly [strategy: string]: StrategyPrior };

/** What a version taught about one strategy; negative results too. */
export interface Insight {
  /** Unique: task, seed, version and strategy; recording it twice changes nothing. */
  readonly key: string;
  readonly task_hash: Hash;
  readonly signature: Signature;
  readonly version: number;
  readonly strategy: string;
  readonly family: string;
  readonly result: "accepted" | "tied" | "worse" | "crashed";
  /** Best of the strategy minus the model it started from; null when all its trials failed. */
  readonly difference: PairedDifference | null;
  /** Units that the difference is over. */
  readonly units: number;
  readonly trials: number;
  readonly seeds: readonly number[];
  readonly cpu_s: number;
  /** Settings of its best trial, by path of the sweep's space. */
  readonly settings: { readonly [path: string]: Json };
  /** What the run ended with, where the insight is about that: its difference is to the baseline. */
  readonly configuration?: Configuration;
}

/** The knowledge base as the loop sees it. */
export interface KnowledgeSource {
  /** `version` that is about to begin: the first one starts from the baseline, others do not. */
  prior(signature: Signature, version: number): Priors | Promise<Priors>;
  record(insight: Insight): void | Promise<void>;
}

/** What a teacher is told; never a row of gate or sealed, nor any row at all. */
export interface TeacherRequest {
  readonly version: number;
  readonly metric: string;
  readonly facts: TaskFacts;
  readonly best: { readonly configuration: Configuration; readonly score: number };
  readonly failures: readonly Failure[];
  readonly sweeps: readonly {
    readonly strategy: string;
    readonly summary: string;
    readonly base: Configuration;
    readonly space: Space;
    /** Proposals that could be used at most. */
    readonly wanted: number;
  }[];
  /** Best and most recent trials, best first. */
  readonly tried: readonly { readonly configuration: Configuration; readonly score: number }[];
}

/** A teacher's ideas: configurations for the strategies it was asked about. */
export interface TeacherProposal {
  readonly strategy: string;
  /** Checked by the domain before use; what it refuses is counted and dropped. */
  readonly configuration: unknown;
}
export interface TeacherSource {
  propose(
    request: TeacherRequest,
    signal?: AbortSignal,
  ): Promise<{ proposals: readonly TeacherProposal[]; note: string }>;
}
