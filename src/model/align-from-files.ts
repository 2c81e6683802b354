/**
 * `magnet align` from paths: opens the base model (or on resume the run's own checkpoint), the
 * pairs and the text to watch, settles the configuration, and runs the alignment.
 */

import { sha256Hex } from "../core/bytes.ts";
import type { Clock } from "../core/clock.ts";
import { MagnetError } from "../core/errors.ts";
import type { Hash } from "../core/types.ts";
import type { ChosenDevice } from "../native/device.ts";
import { type AlignSettings, alignConfig } from "./align-config.ts";
import { evaluatePairs, type PairEvaluation } from "./align-evaluate.ts";
import { runAlignment } from "./align-run.ts";
import type { AlignEvent, AlignResult } from "./align-types.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { resolveCheckpoint } from "./checkpoint-store.ts";
import { type ModelConfig, parseModelConfig } from "./config.ts";
import { tokenByteLengths } from "./evaluate.ts";
import { openEvaluator, openHeldout } from "./evaluate-checkpoint.ts";
import { loadLatentModel } from "./load-model.ts";
import { loadPairs, type PairData } from "./pair-data.ts";
import type { PairFormat } from "./preference-pairs.ts";
import { bytesOf } from "./safetensors.ts";
import { Tokenizer } from "./tokenizer.ts";

export interface AlignFromFilesOptions {
  /** Checkpoint, run folder or Hugging Face folder; on resume only compared. */
  model?: string | undefined;
  pairs: readonly string[];
  format?: PairFormat | undefined;
  heldout_fraction?: number | undefined;
  /** Text, .mgt or prepared folder on whose held-out part the language loss is watched. */
  language_data?: string | undefined;
  out_dir: string;
  /** A checkpoint or run folder to go on from. */
  resume?: string | undefined;
  settings: AlignSettings;
  /** The CPU unless given. */
  device?: ChosenDevice | undefined;
  clock: Clock;
  signal?: AbortSignal | undefined;
  onEvent?: ((event: AlignEvent) => void) | undefined;
}
/** What the JSON line of `magnet align` holds besides the result. */
export interface AlignedFromFiles extends AlignResult {
  out_dir: string;
  beta: number;
  pairs: number;
  heldout_pairs: number;
  truncated: number;
}

interface Base {
  config: ModelConfig;
  tokenizer: Tokenizer;
  /** null on resume: the checkpoint has weights and moments. */
  params: Float32Array | null;
  base_hash: Hash;
}

/** A base model that is named again on resume is the one that the run began with. */
async function requireBase({ manifest, folder }: Checkpoint, model: string): Promise<void> {
  const begun = manifest.alignment?.base_hash;
  if (begun === undefined || sha256Hex(bytesOf((await loadLatentModel(model)).params)) === begun)
    return;
  throw new MagnetError(
    "RESUME_MISMATCH",
    `${folder} was aligned from another model than ${model}`,
    {
      hint: "leave --model out, or start a new run in another --out",
    },
  );
}

async function openBase(options: AlignFromFilesOptions) {
  if (options.resume !== undefined) {
    const resume = await resolveCheckpoint(options.resume);
    if (options.model !== undefined) await requireBase(resume, options.model);
    const base: Base = {
      config: parseModelConfig(resume.manifest.model, "the checkpoint's model"),
      tokenizer: Tokenizer.fromJson(await resume.tokenizerJson()),
      params: null,
      base_hash: "" as Hash, // the checkpoint says it
    };
    return { base, resume };
  }
  if (options.model === undefined)
    throw new MagnetError("BAD_TRAINING_CONFIG", "the model to align is not given", {
      hint: "give --model CHECKPOINT",
      exit: "usage",
    });
  const { config, tokenizer, params } = await loadLatentModel(options.model);
  const base_hash = sha256Hex(bytesOf(params)) as Hash;
  const base: Base = { config, tokenizer, params, base_hash };
  return { base, resume: null };
}

/**
 * Aligns from paths. Throws as `runAlignment`, `loadPairs`, `loadLatentModel` and
 * `resolveCheckpoint`.
 */
export async function alignFromFiles(options: AlignFromFilesOptions): Promise<AlignedFromFiles> {
  const { out_dir, settings, clock, signal, onEvent, language_data } = options;
  const { base, resume } = await openBase(options);
  const { tokenizer, config: model } = base;
  const context = settings.context ?? resume?.manifest.data.context ?? model.context;
  const pairs = await loadPairs({
    files: options.pairs,
    tokenizer,
    context,
    format: options.format,
    heldout_fraction: options.heldout_fraction,
    signal,
  });
  const { truncated } = pairs;
  const counts = { pairs: pairs.train.length, heldout_pairs: pairs.heldout.length, truncated };
  const config = alignConfig({
    given: settings,
    model,
    resume: resume?.manifest ?? null,
    base_hash: base.base_hash,
    pairs: pairs.train.length,
  });
  const language =
    language_data === undefined ? null : await openHeldout(language_data, tokenizer, signal);
  try {
    const result = await runAlignment({
      config,
      pairs,
      base: base.params,
      tokenizer: {
        json: tokenizer.toJson(),
        hash: tokenizer.hash,
        byte_lengths: tokenByteLengths(tokenizer),
      },
      language: language?.sources ?? null,
      out_dir,
      device: options.device,
      resume,
      clock,
      signal,
      onEvent,
    });
    return { ...result, out_dir, beta: config.beta, ...counts };
  } finally {
    language?.close();
  }
}

export interface PairsOfModel extends PairEvaluation {
  /** Pairs whose prompt lost its beginning. */
  truncated: number;
}

/** Sequences evaluated in one native call. */
const BATCH = 16;

/**
 * `magnet eval --pairs`: evaluates a model on all pairs of files, or only on those that say they
 * are held out. Throws as `loadPairs` and `loadLatentModel`.
 */
export async function evaluatePairsOfModel(options: {
  model: string;
  pairs: readonly string[];
  format?: PairFormat | undefined;
  /** The CPU unless given. */
  device?: ChosenDevice;
  threads?: number | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: (progress: { done: number; total: number }) => void;
}): Promise<PairsOfModel> {
  const { threads = 0, signal, onProgress, format } = options;
  const { config, tokenizer, params } = await loadLatentModel(options.model);
  const { context } = config;
  const files = options.pairs;
  const data: PairData = await loadPairs({
    ...{ files, tokenizer, context, format, signal },
    heldout_fraction: 0,
  });
  const pairs = data.heldout.length > 0 ? data.heldout : data.train;
  const trainer = openEvaluator(config, { batch: BATCH, threads }, options.device);
  try {
    await trainer.setParams(params);
    const evaluation = await evaluatePairs({ trainer, pairs, signal, onProgress });
    return { ...evaluation, truncated: data.truncated };
  } finally {
    trainer.close();
  }
}
