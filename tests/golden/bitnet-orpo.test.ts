/**
 * ORPO against PyTorch (float32 and float64), and what must hold of it by itself. Tolerances:
 * tests/golden/bitnet/README.md.
 */
import { describe, expect, test } from "bun:test";
import { IGNORED_TARGET } from "../../src/model/trainer-types.ts";
import { worstTensor } from "./golden-file.ts";
import { describeOrpo, OrpoGolden } from "./orpo-golden.ts";

const golden = await OrpoGolden.open();
const { config, beta, pairs, width } = golden;

describeOrpo(golden, { tolerances: { value: 1e-5, gradient: 1e-5, tensor: 1e-5 } });

describe("ORPO", () => {
  test("pairs in micro-batches of one give the gradient of all at once", async () => {
    const whole = await golden.trainer();
    const all = await whole.orpo(golden.batch(), { beta, optimizer: null });
    const single = await golden.trainer({ batch: 2 });
    const options = { beta, optimizer: null };
    const parts = await single.orpo({ ...golden.batch(), pairs: 1, accumulate: pairs }, options);
    expect(Math.abs(parts.loss - all.loss)).toBeLessThan(1e-9);
    expect(worstTensor(config, single.grad, whole.grad).error).toBeLessThan(1e-6);
    whole.close();
    single.close();
  });

  test("padding changes nothing", async () => {
    const labels = golden.batch().labels;
    const longest = Math.max(
      ...Array.from(labels, (id, i) => (id === IGNORED_TARGET ? 0 : (i % width) + 1)),
    );
    expect(longest).toBeLessThan(width);
    const wide = await golden.trainer();
    const narrow = await golden.trainer({ threads: 2 });
    const expected = await wide.orpo(golden.batch(), { beta, optimizer: null });
    const found = await narrow.orpo(golden.batch(longest), { beta, optimizer: null });
    expect(found).toEqual(expected);
    expect(narrow.grad).toEqual(wide.grad);
    wide.close();
    narrow.close();
  });

  test("a step follows the gradient: the odds of the chosen responses rise", async () => {
    const trainer = await golden.trainer();
    const adamw = { lr: 1e-3, beta1: 0.9, beta2: 0.98, eps: 1e-8, weight_decay: 0, clip: 1 };
    const losses: number[] = [];
    let log_odds = Number.NEGATIVE_INFINITY;
    for (let step = 1; step <= 5; step++) {
      const result = await trainer.orpo(golden.batch(), { beta: 1, optimizer: { ...adamw, step } });
      losses.push(result.loss);
      if (step === 1) log_odds = result.log_odds;
      else if (step === 5) expect(result.log_odds).toBeGreaterThan(log_odds);
    }
    expect(losses).toEqual([...losses].sort((a, b) => b - a));
    trainer.close();
  });
});
