/**
 * Models without quantisation (`quant` "none", the float32 twin): loss and gradient of every tensor
 * against a float64 model, and that old configurations, checkpoints and networks mean what they
 * meant.
 */
import { describe, expect, test } from "bun:test";
import { seededRandom } from "../../src/core/random.ts";
import {
  type ModelConfig,
  PRESETS,
  packModelConfig,
  parseModelConfig,
  tensorInfos,
} from "../../src/model/config.ts";
import { Trainer } from "../../src/model/trainer.ts";
import { plainLoss } from "./plain-reference.ts";

const SHAPE = {
  ...PRESETS.tiny!,
  vocab_size: 37,
  d_model: 20,
  n_heads: 4,
  n_kv_heads: 2,
  head_dim: 6,
  d_ff: 28,
  context: 9,
  quant: "none" as const,
};

/** Weights far from their start, so that every gradient is of a size that can be compared. */
async function prepare(config: ModelConfig, batch: number) {
  const trainer = Trainer.create(config, { batch, context: config.context, threads: 2 });
  await trainer.initialise(5n);
  const random = seededRandom(11).next;
  const { params } = trainer;
  for (const { offset, rows, cols, is_matrix } of tensorInfos(config))
    for (let i = offset; i < offset + rows * cols; i++)
      params[i] = is_matrix ? params[i]! * 10 : 0.5 + random();
  const tokens = Int32Array.from({ length: batch * (config.context + 1) }, () =>
    Math.floor(random() * config.vocab_size),
  );
  tokens.fill(-100, tokens.length - 3);
  return { trainer, tokens, random };
}

describe("loss and gradient agree with a float64 model", () => {
  for (const variant of ["bitnet", "llama"] as const)
    test(variant, async () => {
      const config: ModelConfig = { ...SHAPE, variant };
      const { trainer, tokens, random } = await prepare(config, 2);
      const arena = Float64Array.from(trainer.params);
      const loss = (w: Float64Array) => plainLoss(config, w, tokens, config.context);
      const result = await trainer.gradient(tokens);
      expect(result.tokens).toBe(15);
      expect(Math.abs(result.loss - loss(arena))).toBeLessThan(1e-5);
      const { nll_sum, count } = await trainer.evaluate(tokens, 2);
      expect(nll_sum / count).toBeCloseTo(result.loss, 10);
      for (const { name, offset, rows, cols } of tensorInfos(config)) {
        // Along a random direction of the whole tensor, and along one element of it.
        const n = rows * cols;
        const direction = Float64Array.from({ length: n }, () => random() - 0.5);
        const single = new Float64Array(n);
        single[Math.floor(random() * n)] = 1;
        const norm = Math.hypot(...trainer.grad.subarray(offset, offset + n));
        for (const u of [direction, single]) {
          const size = Math.hypot(...u);
          const at = (h: number) => {
            const moved = arena.slice();
            for (let i = 0; i < n; i++) moved[offset + i]! += (h * u[i]!) / size;
            return loss(moved);
          };
          const h = 1e-4;
          const slope = (at(h) - at(-h)) / (2 * h);
          let expected = 0;
          for (let i = 0; i < n; i++) expected += (trainer.grad[offset + i]! * u[i]!) / size;
          expect(Math.abs(slope - expected), name).toBeLessThan(2e-5 * norm + 1e-7);
        }
      }
      trainer.close();
    });
});

test("the same bits for every thread count, and another result than the ternary model's", async () => {
  const losses: number[][] = [];
  for (const [threads, quant] of [
    [1, "none"],
    [3, "none"],
    [1, undefined],
  ] as const) {
    const { quant: _quant, ...ternary } = SHAPE;
    const config: ModelConfig = quant ? { ...ternary, quant } : ternary;
    const trainer = Trainer.create(config, { batch: 2, context: 9, threads });
    await trainer.initialise(1n);
    const tokens = Int32Array.from({ length: 20 }, (_, i) => (i * 7) % 37);
    const rates = { lr: 1e-2, beta1: 0.9, beta2: 0.98, eps: 1e-8, weight_decay: 0.1, clip: 1 };
    const run: number[] = [];
    for (let step = 1; step <= 6; step++)
      run.push((await trainer.step(tokens, 1, { ...rates, step })).loss);
    losses.push(run);
    trainer.close();
  }
  expect(losses[1]!).toEqual(losses[0]!);
  expect(losses[2]!).not.toEqual(losses[0]!);
  expect(losses[0]!.at(-1)!).toBeLessThan(losses[0]![0]! - 0.5);
});

describe("a configuration says it only where it is not ternary", () => {
  const { quant: _quant, ...shape } = SHAPE;

  test("ternary is left out, none is kept, anything else is refused", () => {
    expect(parseModelConfig({ ...shape, quant: "ternary" })).toEqual(shape);
    expect(parseModelConfig({ ...shape, quant: "none" })).toEqual(SHAPE);
    expect(() => parseModelConfig({ ...shape, quant: "int4" })).toThrow(/quant/);
  });

  test("the bytes of a ternary model are those of before", () => {
    const word = (config: ModelConfig) =>
      new DataView(packModelConfig(config).buffer).getUint32(44);
    expect(word(shape)).toBe(0);
    expect(word(SHAPE)).not.toBe(0);
  });
});
