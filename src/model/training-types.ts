/** What a training run takes, what it tells while it goes on, and what it ends with. */
import type { Clock } from "../core/clock.ts";
import type { Hash } from "../core/types.ts";
import type { ChosenDevice } from "../native/device.ts";
import type { DataSource, SourceUse } from "./batch-reader.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { HeldoutEvaluation } from "./evaluate-sources.ts";
import type { FileSystem } from "./file-system.ts";
import type { TrainingMemory } from "./gpu-memory.ts";
import type { InitSource } from "./init-weights.ts";
import type { StepReport } from "./inner-loop.ts";
import type { TakenOut } from "./run-folder.ts";
import type { TrainingConfig } from "./training-config.ts";

/** What happens during a run, in order. */
export type TrainingEvent =
  | ({
      type: "started";
      step: number;
      steps: number;
      params: number;
      /** Where it trains, for people. */
      device: string;
      tokens: number;
      /** Where there is more than one. */
      sources?: { name: string; share: number; tokens: number }[];
    } & TrainingMemory)
  | ({ type: "step"; steps: number; tokens_per_s: number; eta_ms: number } & StepReport)
  | ({ type: "evaluated"; step: number } & HeldoutEvaluation)
  | { type: "checkpoint"; step: number; folder: string; checkpoint_hash: string };

export interface TrainingOptions {
  config: TrainingConfig;
  /** Mixed by weight; without anything held out there is no evaluation. */
  sources: readonly DataSource[];
  tokenizer: { json: string; hash: Hash; byte_lengths: Uint16Array };
  /** Gets metrics.jsonl, loss.html and checkpoints/. */
  out_dir: string;
  /** The lock on out_dir, where the caller has taken it already; the caller then releases it. */
  taken?: TakenOut;
  /** The first weights, instead of random ones; not on resume. */
  init?: InitSource | null;
  /** Continue from this checkpoint. */
  resume?: Checkpoint | null;
  clock: Clock;
  /** Aborting saves a checkpoint and ends the run normally. */
  signal?: AbortSignal;
  onEvent?: (event: TrainingEvent) => void;
  disk?: FileSystem;
  /** The CPU unless given. A run may be resumed on another one, but not with the same bits. */
  device?: ChosenDevice;
  /** The host's memory that the run may take; measured unless given, null = unknown. */
  memory_available_bytes?: number | null;
}

export interface TrainingResult {
  /** Hash of the last checkpoint. */
  checkpoint_hash: string;
  /** Its folder. */
  checkpoint: string;
  /** The page with the curves. */
  loss_plot: string;
  /** "aborted": the signal ended it before its last step. */
  ended: "completed" | "aborted";
  step: number;
  /** Loss of the last step, nats per token; null where no step was done. */
  loss: number | null;
  /** Held-out figures before the first step of this call and at its end. */
  heldout_before: HeldoutEvaluation | null;
  heldout: HeldoutEvaluation | null;
  /** What was taken from each source since step 0. */
  sources: SourceUse[];
  /** Targets trained on in this call. */
  tokens: number;
  /** Targets per second of training steps, evaluations and saves not counted. */
  tokens_per_s: number;
  took_ms: number;
}
