/** The loss over a vocabulary so large that its logits are made in several chunks of rows. */
import { expect, test } from "bun:test";
import { PRESETS } from "../../src/model/config.ts";
import { Trainer } from "../../src/model/trainer.ts";
import { relativeL2 } from "../golden/golden-file.ts";

const vocab_size = 40_000;
const context = 70;
const config = { ...PRESETS.tiny!, vocab_size, d_model: 16, n_layers: 1, head_dim: 4, context: 70 };
const tokens = Int32Array.from({ length: 2 * (context + 1) }, (_, i) => (i * 7919) % vocab_size);

/** Sum of negative log-likelihoods of one sequence, in float64 from its logits. */
function nllOf(logits: Float32Array, targets: Int32Array): number {
  let sum = 0;
  for (const [t, target] of targets.entries()) {
    const row = logits.subarray(t * vocab_size, (t + 1) * vocab_size);
    sum += Math.log(row.reduce((s, x) => s + Math.exp(x), 0)) - row[target]!;
  }
  return sum;
}

test("chunked loss and gradient equal those of whole rows and smaller batches", async () => {
  const both = Trainer.create(config, { batch: 2, context, threads: 2 });
  await both.initialise(5n);
  const { nll_sum, count } = await both.evaluate(tokens, 2);
  let expected = 0;
  for (const row of [0, 1]) {
    const sequence = tokens.slice(row * (context + 1), (row + 1) * (context + 1));
    expected += nllOf(await both.logits(sequence.slice(0, context)), sequence.slice(1));
  }
  expect(count).toBe(2 * context);
  expect(Math.abs(nll_sum / expected - 1)).toBeLessThan(1e-6);

  const single = Trainer.create(config, { batch: 1, context, threads: 1 });
  single.params.set(both.params);
  const adamw = { lr: 0, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0, clip: 0, step: 1 };
  const whole = await both.step(tokens, 1, adamw);
  const halves = await single.step(tokens, 2, adamw);
  expect(halves.loss).toBeCloseTo(whole.loss, 6);
  expect(relativeL2(single.grad, both.grad)).toBeLessThan(1e-6);
  both.close();
  single.close();
});
