/** What the genkidama study tells while it goes on, and its result: plain JSON for reports. */
import type { Configuration, PairedDifference, ScoreInterval, TrialState } from "../types.ts";

/** One configuration of a phase. Costs are the formula's, as a part of the recipe's. */
export interface StudyRow {
  readonly trial: number;
  readonly phase: number;
  /** What differs from the phase's starting point, for example "lr 0.006". */
  readonly change: string;
  readonly configuration: Configuration;
  readonly state: TrialState;
  readonly bits_per_byte: number | null;
  readonly relative_cost: number;
  readonly cpu_s: number;
  readonly error: string | null;
}

export interface PhaseResult {
  readonly phase: number;
  readonly focus: string;
  readonly paper: { readonly val_loss: number; readonly finding: string };
  readonly rows: readonly StudyRow[];
  /** Best of the phase's own configurations, whatever it costs. */
  readonly best: StudyRow | null;
  /** What the study goes on with: a row of this phase, or null where it keeps what it had. */
  readonly adopted: StudyRow | null;
  /** Adopted (or best) against what the phase started from; positive is better. */
  readonly difference: PairedDifference | null;
  /** One sentence. */
  readonly finding: string;
  /** Bits per byte and cost of the current best after this phase. */
  readonly current: { readonly bits_per_byte: number; readonly relative_cost: number };
}

/** A model of the last comparison, over seeds that the search did not use. */
export interface Contestant {
  readonly name: "recipe" | "winner" | "train_defaults";
  readonly configuration: Configuration;
  readonly sealed: ScoreInterval;
  readonly bits_per_byte: readonly number[];
  readonly cpu_s: readonly number[];
}

export interface StudyResult {
  readonly schema: "magnet.study_genkidama/1";
  readonly recipe: Configuration;
  readonly tokens: number;
  readonly configurations: number;
  readonly baseline_bits_per_byte: number;
  readonly phases: readonly PhaseResult[];
  /** Tenth phase: the best configurations at four times the tokens. Not comparable with the rest. */
  readonly confirmation: readonly StudyRow[];
  /** The recipe at as many tokens, beside them. */
  readonly reference: StudyRow;
  readonly winner: Configuration;
  /** At equal tokens, each seed of its own; the sealed documents are opened here, once. */
  readonly final: {
    readonly seeds: readonly number[];
    readonly contestants: readonly Contestant[];
    readonly difference: PairedDifference;
    /** Part by which the winner's bits per byte are lower than the recipe's. */
    readonly gain: number;
    /** CPU seconds of the winner's training over the recipe's. */
    readonly cpu_ratio: number;
    readonly reached: boolean;
  };
  readonly spent: { readonly cpu_s: number; readonly wall_s: number };
}

export type StudyEvent =
  | { kind: "started"; configurations: number; tokens: number }
  | { kind: "baseline"; bits_per_byte: number; cpu_s: number }
  | { kind: "phase_started"; phase: number; focus: string; configurations: number }
  | { kind: "phase"; result: PhaseResult }
  | { kind: "confirmed"; row: StudyRow }
  | { kind: "final_progress"; done: number; total: number }
  | { kind: "final"; result: StudyResult };
