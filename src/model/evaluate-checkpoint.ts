/**
 * `magnet eval` of a checkpoint: its weights, its tokenizer, and a token file, prepared folder or
 * text.
 */
import { invariant, MagnetError } from "../core/errors.ts";
import { asRefusal, type ChosenDevice, CPU, requireGpuMemory } from "../native/device.ts";
import { resolveCheckpoint } from "./checkpoint-store.ts";
import { type ModelConfig, tensorInfos } from "./config.ts";
import { readParts } from "./data.ts";
import { tokenByteLengths } from "./evaluate.ts";
import { evaluateSources, type HeldoutEvaluation } from "./evaluate-sources.ts";
import { type OpenedData, openPrepared } from "./mixed-data.ts";
import { TokenFile } from "./token-file.ts";
import { tokeniseParts } from "./tokenise.ts";
import { Tokenizer } from "./tokenizer.ts";
import { Trainer } from "./trainer.ts";
import { settingsOf } from "./training-config.ts";

export interface EvaluateCheckpointOptions {
  /** Checkpoint, or run folder (its newest). */
  model: string;
  /** A .mgt file, a prepared folder or mixture (what is held out), or text and JSONL. */
  data: string;
  /** The CPU unless given. */
  device?: ChosenDevice;
  /** 0 = all CPUs. */
  threads?: number;
  /** Evaluates about this many targets; all unless given. */
  tokens_max?: number;
  signal?: AbortSignal;
  onProgress?: (progress: { done: number; total: number }) => void;
}
export interface CheckpointEvaluation extends HeldoutEvaluation {
  checkpoint_hash: string;
  step: number;
  /** Content hash of the tokens evaluated; of a mixture, of its first source. */
  data_hash: string;
}

/** Windows evaluated in one native call. */
const BATCH = 8;

/** A trainer that only looks. Throws NOT_ENOUGH_MEMORY where a GPU's does not hold it. */
export function openEvaluator(
  model: ModelConfig,
  { batch, threads }: { batch: number; threads: number },
  chosen?: ChosenDevice,
): Trainer {
  const { device, gpu } = chosen ?? { device: CPU, gpu: null };
  const options = { batch, context: model.context, threads, device };
  if (gpu)
    requireGpuMemory(Trainer.bytesNeeded(model, options), gpu, {
      what: "the evaluation needs",
      hint: "end other programs on the GPU, or take --device cpu",
    });
  try {
    return Trainer.create(model, options);
  } catch (error) {
    throw asRefusal(error, device);
  }
}

/** What to evaluate, as the held-out parts of sources. */
export async function openHeldout(
  data: string,
  tokenizer: Tokenizer,
  signal?: AbortSignal,
): Promise<Pick<OpenedData, "sources" | "close">> {
  const prepared = data.endsWith(".mgt") ? null : await openPrepared(data);
  if (prepared) {
    if (prepared.sources.some(({ heldout }) => heldout)) return prepared;
    prepared.close();
    throw new MagnetError("DATA_EMPTY", `${data} holds nothing out`, {
      hint: "prepare it with --heldout above 0, or name its train.mgt",
    });
  }
  const file = data.endsWith(".mgt")
    ? await TokenFile.open(data)
    : await tokeniseParts(data, await readParts([data], { signal }), tokenizer);
  const sources = [{ name: data, weight: 1, train: file, heldout: file }];
  return { sources, close: () => file.close() };
}

/**
 * Evaluates a checkpoint. Text is tokenised in memory. Throws NOT_FOUND, NOT_A_CHECKPOINT,
 * CHECKPOINT_CORRUPT, TOKENIZER_MISMATCH, TOKENS_CORRUPT, DATA_EMPTY, DATA_NOT_TEXT, CANCELLED.
 */
export async function evaluateCheckpoint(
  options: EvaluateCheckpointOptions,
): Promise<CheckpointEvaluation> {
  const { threads = 0, tokens_max, signal, onProgress } = options;
  const checkpoint = await resolveCheckpoint(options.model);
  const tokenizer = Tokenizer.fromJson(await checkpoint.tokenizerJson());
  const { model } = settingsOf(checkpoint.manifest);
  const { sources, close } = await openHeldout(options.data, tokenizer, signal);
  const trainer = openEvaluator(model, { batch: BATCH, threads }, options.device);
  try {
    for (const { train } of sources) train.expectTokenizer(tokenizer.hash);
    await checkpoint.loadParams(tensorInfos(model), trainer.params);
    await trainer.push("params");
    const evaluation = await evaluateSources({
      trainer,
      sources,
      byte_lengths: tokenByteLengths(tokenizer),
      signal,
      ...(tokens_max === undefined ? {} : { tokens_max }),
      ...(onProgress === undefined ? {} : { onProgress }),
    });
    const { checkpoint_hash, step } = checkpoint.manifest;
    invariant(evaluation !== null, "something is held out");
    const data_hash = sources.find(({ heldout }) => heldout)!.heldout!.content_hash;
    return { ...evaluation, checkpoint_hash, step, data_hash };
  } finally {
    trainer.close();
    close();
  }
}
