/**
 * The demo's steps on the model alone: the untrained baseline, the final evaluation, export,
 * and the answer of its server.
 */
import fs from "node:fs";
import path from "node:path";
import type { PreparedJob } from "../../agent/prepare-job.ts";
import { formatBytes } from "../../core/bytes.ts";
import { streamCompletion } from "../../http/completion-client.ts";
import { type Evaluation, evaluateTokens, tokenByteLengths } from "../../model/evaluate.ts";
import { exportGguf } from "../../model/export-gguf.ts";
import { exportHf } from "../../model/export-hf.ts";
import { order2BitsPerByte } from "../../model/order2.ts";
import { TokenFile } from "../../model/token-file.ts";
import type { Tokenizer } from "../../model/tokenizer.ts";
import { Trainer } from "../../model/trainer.ts";
import type { ModelServer } from "./processes.ts";
import { ANSWER_SAMPLING, ANSWER_TOKENS, PROMPT } from "./recipe.ts";

const EVALUATION_BATCH = 16;

/** Bytes of a token file's text. */
async function textOf(file_path: string, tokenizer: Tokenizer): Promise<Uint8Array> {
  const file = await TokenFile.open(file_path);
  try {
    return tokenizer.decodeBytes(file.tokens(0, file.token_count), { skip_special: true });
  } finally {
    file.close();
  }
}

/**
 * The order-2 byte model's bits per byte on the held-out text, fitted to the same training text.
 */
export async function order2Baseline({ job, files, tokenizer }: PreparedJob): Promise<number> {
  const train = await textOf(files[job.train_hash]!, tokenizer);
  return order2BitsPerByte(train, await textOf(files[job.heldout_hash]!, tokenizer));
}

/** Evaluates parameters, or the untrained model for null, on all held-out text. */
export async function evaluateAll(
  { job, files, tokenizer }: PreparedJob,
  params: Float32Array | null,
): Promise<Evaluation> {
  const file = await TokenFile.open(files[job.heldout_hash]!);
  const { context } = job.model;
  const trainer = Trainer.create(job.model, { batch: EVALUATION_BATCH, context, threads: 0 });
  try {
    if (params) await trainer.setParams(params);
    else await trainer.initialise(BigInt(job.seed));
    return await evaluateTokens({ trainer, file, byte_lengths: tokenByteLengths(tokenizer) });
  } finally {
    trainer.close();
    file.close();
  }
}

/**
 * Writes the merged model as a GGUF file (ternary weights) and a Hugging Face folder (latent ones).
 */
export async function exportModel(
  { job, tokenizer }: PreparedJob,
  params: Float32Array,
  folder: string,
): Promise<{ detail: string; value: { gguf: string; hf: string } }> {
  const gguf = path.join(folder, "model.gguf");
  const hf = path.join(folder, "model-hf");
  const model = { config: job.model, params, tokenizer };
  await exportHf({ ...model, folder: hf });
  await exportGguf({ ...model, type: "TQ2_0", name: "magnet-demo", path: gguf });
  const size = formatBytes(fs.statSync(gguf).size);
  return { detail: `${gguf}, ${size}, loads in llama.cpp`, value: { gguf, hf } };
}

export interface ServedAnswer {
  text: string;
  tokens_per_s: number;
  first_token_ms: number;
}

/** Asks the server to go on with the prompt, streamed over OpenAI's API as any client would. */
export async function askServer(
  server: ModelServer,
  signal: AbortSignal,
): Promise<{ detail: string; value: ServedAnswer }> {
  const asked = performance.now();
  const pieces = streamCompletion(
    { url: server.url },
    { model: server.model, prompt: PROMPT, max_tokens: ANSWER_TOKENS, ...ANSWER_SAMPLING },
    signal,
  );
  let text = PROMPT;
  let first: number | undefined;
  for (;;) {
    const next = await pieces.next();
    const now = performance.now();
    if (next.done) {
      const tokens = next.value.completion_tokens ?? 0;
      const first_token_ms = Math.round((first ?? now) - asked);
      const decoded_ms = Math.max(now - (first ?? now), 1);
      const tokens_per_s = Math.round((1000 * Math.max(tokens - 1, 0)) / decoded_ms);
      const shown = text.replace(/\s+/g, " ").trim();
      const speed = `${tokens_per_s} tokens/s, the first after ${first_token_ms} ms`;
      return { detail: `${speed}: "${shown}"`, value: { text, tokens_per_s, first_token_ms } };
    }
    first ??= now;
    text += next.value;
  }
}
