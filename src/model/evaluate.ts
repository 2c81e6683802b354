/**
 * How well a model predicts held-out tokens. The file is cut into windows of `context` targets that
 * do not overlap, so every target counts once. Bits per byte = sum of negative log-likelihoods / ln
 * 2 / bytes of text that those targets stand for: special tokens cost bits but have no bytes, which
 * makes the figure comparable between tokenizers and with byte models.
 */
import { invariant, MagnetError } from "../core/errors.ts";
import type { TokenFile } from "./token-file.ts";
import type { Tokenizer } from "./tokenizer.ts";
import type { Trainer } from "./trainer.ts";
import { IGNORED_TARGET } from "./trainer-types.ts";

export interface Evaluation {
  /** Mean negative log-likelihood, nats per token. */
  loss: number;
  /** exp(loss). */
  perplexity: number;
  bits_per_byte: number;
  /** Targets counted. */
  tokens: number;
  /** Bytes of text of these targets. */
  text_bytes: number;
}

export interface EvaluateOptions {
  trainer: Pick<Trainer, "evaluate" | "options">;
  file: TokenFile;
  /** Bytes of text of each token id, 0 for special tokens (see `tokenByteLengths`). */
  byte_lengths: Uint16Array;
  /** Evaluates about this many targets, in windows spread evenly; all unless given. */
  tokens_max?: number;
  signal?: AbortSignal | undefined;
  onProgress?: (progress: { done: number; total: number }) => void;
}

/** Bytes of text of each id of a tokenizer; special tokens have none. */
export function tokenByteLengths(tokenizer: Pick<Tokenizer, "tokens" | "specials">): Uint16Array {
  const lengths = Uint16Array.from(tokenizer.tokens(), (bytes) => bytes.length);
  for (const { id } of tokenizer.specials) lengths[id] = 0;
  return lengths;
}

/** Reads window `index` into `target`; positions behind the end are not counted. */
function readWindow(file: TokenFile, index: number, target: Int32Array): void {
  const start = index * (target.length - 1);
  const length = Math.min(target.length, file.token_count - start);
  file.readInto(target.subarray(0, length), start);
  target.fill(IGNORED_TARGET, length);
}

/** Evaluates a model on a token file. Throws DATA_TOO_SMALL, CANCELLED. */
export async function evaluateTokens(options: EvaluateOptions): Promise<Evaluation> {
  const { trainer, file, byte_lengths, tokens_max = Number.POSITIVE_INFINITY } = options;
  const { batch, context } = trainer.options;
  invariant(byte_lengths.length >= file.header.vocab_size, "a length for every token");
  const total = Math.ceil((file.token_count - 1) / context);
  if (total < 1)
    throw new MagnetError("DATA_TOO_SMALL", `${file.name} holds ${file.token_count} token(s)`, {
      hint: "hold more text out, or give a larger file",
    });
  const windows = Math.min(total, Math.max(1, Math.ceil(tokens_max / context)));
  let nll_sum = 0;
  let tokens = 0;
  let text_bytes = 0;
  for (let done = 0; done < windows; done += batch) {
    const rows = Math.min(batch, windows - done);
    const sequences = new Int32Array(rows * (context + 1));
    for (let row = 0; row < rows; row++) {
      const window = Math.floor(((done + row) * total) / windows);
      const target = sequences.subarray(row * (context + 1), (row + 1) * (context + 1));
      readWindow(file, window, target);
      for (const id of target.subarray(1)) if (id >= 0) text_bytes += byte_lengths[id]!;
    }
    const result = await trainer.evaluate(sequences, rows, options.signal);
    nll_sum += result.nll_sum;
    tokens += result.count;
    options.onProgress?.({ done: done + rows, total: windows });
  }
  const loss = nll_sum / tokens;
  const bits_per_byte = nll_sum / Math.LN2 / text_bytes;
  return { loss, perplexity: Math.exp(loss), bits_per_byte, tokens, text_bytes };
}
