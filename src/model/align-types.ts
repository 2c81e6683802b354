/** What an alignment run takes, tells on the way, and gives; and the figures it compares. */
import fs from "node:fs/promises";
import type { Clock } from "../core/clock.ts";
import type { Hash } from "../core/types.ts";
import type { ChosenDevice } from "../native/device.ts";
import type { AlignConfig } from "./align-config.ts";
import type { PairEvaluation } from "./align-evaluate.ts";
import type { DataSource } from "./batch-reader.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { Evaluation } from "./evaluate.ts";
import type { TrainingMemory } from "./gpu-memory.ts";
import type { StepReport } from "./inner-loop.ts";
import type { OrpoResult } from "./orpo.ts";
import type { PairData } from "./pair-data.ts";

/** Figures of one state of the model; null where there is nothing to evaluate on. */
export interface AlignEvaluation {
  heldout: PairEvaluation | null;
  language: Evaluation | null;
}

export type AlignEvent =
  | ({
      type: "started";
      step: number;
      steps: number;
      params: number;
      /** "CPU", "cuda:0 (NVIDIA H200)". */
      device: string;
      pairs: number;
      heldout_pairs: number;
      truncated: number;
    } & TrainingMemory)
  | ({ type: "step"; steps: number; tokens_per_s: number; eta_ms: number; win_rate: number } & Omit<
      OrpoResult & StepReport,
      "wins"
    >)
  | ({ type: "evaluated"; step: number } & AlignEvaluation)
  | { type: "checkpoint"; step: number; folder: string; checkpoint_hash: string };

export interface AlignOptions {
  config: AlignConfig;
  pairs: PairData;
  /** Weights that alignment begins with, in the order of `tensorInfos`; not read on resume. */
  base: Float32Array | null;
  tokenizer: { json: string; hash: Hash; byte_lengths: Uint16Array };
  /** Text whose held-out parts the language loss is watched on; null: none. */
  language: readonly DataSource[] | null;
  out_dir: string;
  /** The CPU unless given. */
  device?: ChosenDevice | undefined;
  resume?: Checkpoint | null;
  clock: Clock;
  /** Aborting saves a checkpoint and ends the run normally. */
  signal?: AbortSignal | undefined;
  onEvent?: ((event: AlignEvent) => void) | undefined;
  memory_available_bytes?: number | null;
}

export interface AlignResult {
  checkpoint_hash: string;
  checkpoint: string;
  /** "aborted": the signal ended it before its last step. */
  ended: "completed" | "aborted";
  step: number;
  /** Loss of the last step; null where no step was done. */
  loss: number | null;
  /** Figures of the model before alignment, also where this call went on with a run. */
  before: AlignEvaluation | null;
  after: AlignEvaluation | null;
  /** Language loss after over before, less 1; null without language data. */
  language_change: number | null;
  /** Labels trained on in this call. */
  tokens: number;
  tokens_per_s: number;
  took_ms: number;
}

/**
 * The figures before the first step, which a run has written to its metrics: what a resumed run
 * compares with. null where the file does not say.
 */
export async function readBaseline(metrics_file: string): Promise<AlignEvaluation | null> {
  const text = await fs.readFile(metrics_file, "utf8").catch(() => ""); // lost: no comparison
  const first = text.slice(0, text.indexOf("\n") + 1);
  try {
    const { step, heldout, language } = JSON.parse(first) as { step: number } & AlignEvaluation;
    return step === 0 && heldout !== undefined && language !== undefined
      ? { heldout, language }
      : null;
  } catch {
    return null; // cut off by a crash
  }
}
