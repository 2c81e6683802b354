/**
 * `magnet eval` of a checkpoint: its weights, its tokenizer, and a token file, prepared folder or
 * text.
 */
import { MagnetError } from "../core/errors.ts";
import { resolveCheckpoint } from "./checkpoint-store.ts";
import { tensorInfos } from "./config.ts";
import { isPrepared, openData, readParts } from "./data.ts";
import { type Evaluation, evaluateTokens, tokenByteLengths } from "./evaluate.ts";
import { TokenFile } from "./token-file.ts";
import { tokeniseParts } from "./tokenise.ts";
import { Tokenizer } from "./tokenizer.ts";
import { Trainer } from "./trainer.ts";
import { settingsOf } from "./training-config.ts";

export interface EvaluateCheckpointOptions {
  /** Checkpoint, or run folder (its newest). */
  model: string;
  /** A .mgt file, a prepared folder (its held-out part), or text and JSONL. */
  data: string;
  /** 0 = all CPUs. */
  threads?: number;
  /** Evaluates about this many targets; all unless given. */
  tokens_max?: number;
  signal?: AbortSignal;
  onProgress?: (progress: { done: number; total: number }) => void;
}
export interface CheckpointEvaluation extends Evaluation {
  checkpoint_hash: string;
  step: number;
  /** Content hash of the tokens evaluated. */
  data_hash: string;
}

/** Windows evaluated in one native call. */
const BATCH = 8;

async function openTokens(data: string, tokenizer: Tokenizer, signal?: AbortSignal) {
  if (data.endsWith(".mgt")) return TokenFile.open(data);
  if (!(await isPrepared(data)))
    return tokeniseParts(data, await readParts([data], signal), tokenizer);
  const { train, heldout } = await openData(data);
  train.close();
  if (heldout) return heldout;
  throw new MagnetError("DATA_EMPTY", `${data} holds nothing out`, {
    hint: "prepare it with --heldout above 0, or name its train.mgt",
  });
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
  const file = await openTokens(options.data, tokenizer, signal);
  const trainer = Trainer.create(model, { batch: BATCH, context: model.context, threads });
  try {
    file.expectTokenizer(tokenizer.hash);
    await checkpoint.loadParams(tensorInfos(model), trainer.params);
    const evaluation = await evaluateTokens({
      trainer,
      file,
      byte_lengths: tokenByteLengths(tokenizer),
      signal,
      ...(tokens_max === undefined ? {} : { tokens_max }),
      ...(onProgress === undefined ? {} : { onProgress }),
    });
    const { checkpoint_hash, step } = checkpoint.manifest;
    return { ...evaluation, checkpoint_hash, step, data_hash: file.content_hash };
  } finally {
    trainer.close();
    file.close();
  }
}
