/**
 * Inference against the trainer, whose formulas the golden vectors check: the same weights give the
 * same logits, with a float32 cache up to the last bits and with the f16 cache within its rounding.
 */
import { expect, test } from "bun:test";
import { PRESETS } from "../../src/model/config.ts";
import { evalLogits, InferenceModel } from "../../src/model/inference.ts";
import { Trainer } from "../../src/model/trainer.ts";
import { maxDifference } from "./small-models.ts";

test.each(["bitnet", "llama"] as const)("%s logits are the trainer's", async (variant) => {
  const config = { ...PRESETS.tiny!, variant };
  const trainer = Trainer.create(config, { batch: 1, context: config.context, threads: 1 });
  await trainer.initialise(5n);
  const tokens = Int32Array.from({ length: 48 }, (_, i) => (i * 131 + 7) % config.vocab_size);
  const expected = await trainer.logits(tokens);
  const model = await InferenceModel.fromParams(config, trainer.params, 1);
  const session = model.createSession({ kv_bits: 32 });
  const exact = await session.append(tokens, tokens.length);
  const rounded = await evalLogits(model, tokens);
  // A last bit that differs may flip one int8 rounding: a step of 1/127 of the largest activation.
  const perRow = Array.from({ length: tokens.length }, (_, t) => {
    const row = (x: Float32Array) => x.subarray(t * config.vocab_size, (t + 1) * config.vocab_size);
    return maxDifference(row(exact), row(expected));
  }).sort((a, b) => a - b);
  expect(perRow[Math.floor(perRow.length / 2)]!).toBeLessThan(1e-5);
  expect(maxDifference(exact, expected)).toBeLessThan(2e-2);
  expect(maxDifference(rounded, expected)).toBeLessThan(5e-2);
  session.close();
  model.close();
  trainer.close();
});

test.each(["bitnet", "llama"] as const)("plain %s: nothing is rounded", async (variant) => {
  const config = { ...PRESETS.tiny!, variant, quant: "none" as const };
  const trainer = Trainer.create(config, { batch: 1, context: config.context, threads: 1 });
  await trainer.initialise(5n);
  const tokens = Int32Array.from({ length: 48 }, (_, i) => (i * 131 + 7) % config.vocab_size);
  const expected = await trainer.logits(tokens);
  const model = await InferenceModel.fromParams(config, trainer.params, 1);
  expect(model.config).toEqual({ ...config, norm_eps: Math.fround(config.norm_eps) });
  const session = model.createSession({ kv_bits: 32 });
  const exact = await session.append(tokens, tokens.length);
  expect(maxDifference(exact, expected)).toBeLessThan(1e-5);
  expect(maxDifference(await evalLogits(model, tokens), expected)).toBeLessThan(1e-3);
  session.close();
  model.close();
  trainer.close();
});
