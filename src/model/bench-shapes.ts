/**
 * The shapes of `magnet bench train`, their data, and the operations that their model needs. `a`
 * and `b` are small enough to be timed in seconds, `618m` is the paper's model (8.4).
 */
import { seededRandom } from "../core/random.ts";
import { type ModelConfig, PRESETS, parseModelConfig, tensorInfos } from "./config.ts";

export interface BenchShape {
  model: ModelConfig;
  batch: number;
  /** Tokens of a sequence. */
  context: number;
  /** Steps of a repeat, and repeats, unless given. */
  steps: number;
  repeat: number;
}

export const SHAPE_NAMES = ["a", "b", "618m"] as const;
export type ShapeName = (typeof SHAPE_NAMES)[number];

const SHAPES: Record<ShapeName, { model: object; batch: number; steps: number; repeat: number }> = {
  a: {
    model: {
      ...{ vocab_size: 4096, d_model: 256, n_layers: 6, n_heads: 8, n_kv_heads: 2 },
      ...{ head_dim: 32, d_ff: 704, context: 256 },
    },
    ...{ batch: 8, steps: 10, repeat: 3 },
  },
  b: {
    model: {
      ...{ vocab_size: 8192, d_model: 512, n_layers: 8, n_heads: 8, n_kv_heads: 2 },
      ...{ head_dim: 64, d_ff: 1408, context: 512 },
    },
    ...{ batch: 4, steps: 5, repeat: 3 },
  },
  "618m": {
    model: { ...PRESETS["genkidama-618m"]!, context: 1024 },
    ...{ batch: 1, steps: 1, repeat: 1 },
  },
};

/** `overrides` replace fields of the model (its variant). Throws BAD_MODEL_CONFIG. */
export function benchShape(name: ShapeName, overrides: Partial<ModelConfig> = {}): BenchShape {
  const { model, ...rest } = SHAPES[name];
  const config = parseModelConfig({ variant: "bitnet", ...model, ...overrides });
  return { model: config, context: config.context, ...rest };
}

/**
 * One batch, (batch, context + 1), the same in every step, so that the loss falls and a comparison
 * with another engine means something. Small ids are more frequent, as in text.
 */
export function benchTokens({ model, batch, context }: BenchShape): Int32Array {
  const random = seededRandom(618);
  return Int32Array.from({ length: batch * (context + 1) }, () => {
    const u = random.next();
    return Math.floor(u * u * u * model.vocab_size);
  });
}

/** Seed of the initial weights, and the optimiser of the benchmark. */
export const BENCH_SEED = 1n;
export const BENCH_ADAMW = {
  ...{ lr: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8 },
  ...{ weight_decay: 0.1, clip: 1 },
};

/**
 * Operations of the model for one trained token, additions and multiplications counted separately:
 * 6 for every weight of a matrix (2 forward, 4 backward; the tied embedding counts once, as the
 * head), and for attention 6 * context * width of the queries in every layer, which is 12 * context
 * * width with the causal half left out. Norms, activations, softmax and optimiser do not count,
 * and neither does work done twice.
 */
export function flopsPerToken({ model, context }: BenchShape): number {
  const weights = tensorInfos(model)
    .filter(({ is_matrix }) => is_matrix)
    .reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  return 6 * weights + 6 * model.n_layers * context * model.n_heads * model.head_dim;
}
export const FLOPS_FORMULA =
  "6 * matrix weights (tied head once) + 6 * layers * context * query width, per token";
