/** Losses by target add up to the evaluation; statistics of tensors are those of the arenas. */
import { expect, test } from "bun:test";
import { seededRandom } from "../../src/core/random.ts";
import { PRESETS, tensorInfos } from "../../src/model/config.ts";
import { Trainer } from "../../src/model/trainer.ts";
import { IGNORED_TARGET } from "../../src/model/trainer-types.ts";

const model = PRESETS.tiny!;
const OPTIONS = { batch: 2, context: 16, threads: 1 };

test("token losses, streams and tensor statistics", async () => {
  const trainer = Trainer.create(model, OPTIONS);
  try {
    await trainer.initialise(3n);
    const random = seededRandom(4);
    const tokens = Int32Array.from({ length: 34 }, () => random.below(model.vocab_size));
    tokens.fill(IGNORED_TARGET, 28);
    const { nll_sum, count } = await trainer.evaluate(tokens, 2);
    const { losses, streams } = await trainer.tokenLosses(tokens, 2);
    expect(losses.length).toBe(32);
    expect(losses.filter((loss) => loss !== 0).length).toBe(count);
    expect(losses.reduce((sum, loss) => sum + loss, 0)).toBeCloseTo(nll_sum, 3);
    expect(streams.length).toBe(model.n_layers + 1);
    for (const { rms, largest } of streams) {
      expect(rms).toBeGreaterThan(0);
      expect(largest).toBeGreaterThan(rms);
    }
    await trainer.gradient(tokens);
    const stats = trainer.tensorStats();
    const { params, grad } = trainer;
    for (const [i, { name, offset, rows, cols, is_ternary }] of tensorInfos(model).entries()) {
      const size = rows * cols;
      const rms = (all: Float32Array) => {
        let squares = 0;
        for (const x of all.subarray(offset, offset + size)) squares += x * x;
        return Math.sqrt(squares / size);
      };
      const found = stats[i]!;
      expect(found.name).toBe(name);
      expect(found.weight_rms).toBeCloseTo(rms(params), 5);
      expect(found.gradient_rms).toBeCloseTo(rms(grad), 5);
      let sum = 0;
      for (const x of params.subarray(offset, offset + size)) sum += Math.abs(x);
      const mean = sum / size;
      let zeros = 0;
      for (const x of params.subarray(offset, offset + size)) if (Math.abs(x) < mean / 2) zeros++;
      expect(found.scale).toBeCloseTo(is_ternary ? mean : 0, 5);
      expect(Math.abs(found.zero_share - (is_ternary ? zeros / size : 0))).toBeLessThan(2 / size);
    }
    await expect(trainer.tokenLosses(tokens.subarray(0, 17), 2)).rejects.toThrow("34");
  } finally {
    trainer.close();
  }
});
