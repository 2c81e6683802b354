/**
 * A model without quantisation leaves as what it is: a plain Hugging Face folder that comes back as
 * the same model, and a GGUF file with F16 weights (llamacpp-parity.test.ts compares it with
 * llama.cpp); never as ternary weights.
 */
import { afterAll, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { exportGguf } from "../../src/model/export-gguf.ts";
import { exportHf } from "../../src/model/export-hf.ts";
import { evalLogits } from "../../src/model/inference.ts";
import { loadModel } from "../../src/model/load-model.ts";
import { bookTokenizer, maxDifference, randomParams, TINY } from "./small-models.ts";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-plain-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

test.each(["bitnet", "llama"] as const)("%s", async (variant) => {
  const config = { ...TINY, variant, quant: "none" as const };
  const params = await randomParams(config);
  const tokenizer = await bookTokenizer(config.vocab_size);
  const hf = path.join(folder, `${variant}-hf`);
  const gguf = path.join(folder, `${variant}.gguf`);
  await exportHf({ config, params, tokenizer, folder: hf });
  const stated = JSON.parse(fs.readFileSync(path.join(hf, "config.json"), "utf8"));
  expect(stated.quantization_config).toBeUndefined();
  const named = { config, params, tokenizer, name: "plain", path: gguf };
  await exportGguf({ ...named, type: "F16" });
  for (const type of ["TQ2_0", "I2_S"] as const) {
    const error = await exportGguf({ ...named, type }).catch((e) => e);
    expect(error).toMatchObject({ code: "EXPORT_TYPE", exit: "usage" });
  }
  const tokens = Int32Array.from({ length: 20 }, (_, i) => (i * 37) % config.vocab_size);
  const [exact, half] = [await loadModel(hf), await loadModel(gguf)];
  expect(exact.config).toMatchObject({ variant, quant: "none" });
  expect(half.config).toMatchObject({ variant, quant: "none" });
  const logits = await evalLogits(exact.model, tokens);
  // Only the weights' rounding to F16 is between them.
  const difference = maxDifference(logits, await evalLogits(half.model, tokens));
  expect(difference).toBeLessThan(5e-3);
  expect(difference).toBeGreaterThan(0);
  exact.close();
  half.close();
});
