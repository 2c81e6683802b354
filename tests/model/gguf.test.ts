/** GGUF round trips: what an exported file gives back, in every type. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { ModelConfig } from "../../src/model/config.ts";
import { type ExportType, exportGguf } from "../../src/model/export-gguf.ts";
import { GgufFile } from "../../src/model/gguf-file.ts";
import { tokenizerFromGguf } from "../../src/model/gguf-tokenizer.ts";
import { writeGguf } from "../../src/model/gguf-writer.ts";
import { evalLogits, InferenceModel } from "../../src/model/inference.ts";
import type { Tokenizer } from "../../src/model/tokenizer.ts";
import { errorOf } from "./error-of.ts";
import { bookTokenizer, maxDifference, randomParams, TINY } from "./small-models.ts";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-gguf-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await bookTokenizer(TINY.vocab_size);
});

async function exported(config: ModelConfig, type: ExportType, params: Float32Array) {
  const file = path.join(folder, `${config.variant}-${type}.gguf`);
  await exportGguf({ config, params, tokenizer, type, name: "test", path: file });
  return file;
}

// A vocabulary of 128,256 tokens makes a header of megabytes; its buffer grows within a number.
test.each([1, 2, 3, 4])(
  "a header beyond its first buffer is whole, key of %d letters",
  async (n) => {
    const pieces: Uint8Array[] = [];
    const key = "k".repeat(n);
    const value = Int32Array.from({ length: 100_000 }, (_, i) => i - 50_000);
    const names = Array.from({ length: 20_000 }, (_, i) => `token ${i}`);
    await writeGguf(
      { write: async (bytes) => void pieces.push(bytes) },
      [
        { key, type: "i32[]", value },
        { key: "names", type: "string[]", value: names },
      ],
      [],
    );
    const file = await GgufFile.parse(new Uint8Array(Buffer.concat(pieces)));
    expect(file.metadata().get(key)).toEqual([...value]);
    expect(file.metadata().get("names")).toEqual(names);
    file.close();
  },
);

async function logitsOf(file: string, tokens: Int32Array): Promise<Float32Array> {
  const gguf = await GgufFile.open(file);
  const model = await InferenceModel.fromGguf(gguf, 1);
  gguf.close();
  const logits = await evalLogits(model, tokens);
  model.close();
  return logits;
}

describe.each(["bitnet", "llama"] as const)("a %s file", (variant) => {
  // Widths of 256 for the ternary blocks; embedding and scales exact in f16, so that nothing is
  // lost.
  const config = { ...TINY, variant, d_model: 256, n_heads: 4 };
  const tokens = Int32Array.from({ length: 20 }, (_, i) => (i * 37) % config.vocab_size);

  test("gives the logits of the weights it was made from, bit for bit, in every type", async () => {
    const params = await randomParams(config);
    for (const [i, value] of params.entries())
      params[i] = i < config.vocab_size * config.d_model ? Math.f16round(value) : value;
    const direct = await InferenceModel.fromParams(config, params, 1);
    const expected = await evalLogits(direct, tokens);
    direct.close();
    expect(
      maxDifference(await logitsOf(await exported(config, "I2_S", params), tokens), expected),
    ).toBe(0);
    const half_scale = await logitsOf(await exported(config, "TQ2_0", params), tokens);
    // Rounding a scale to f16 changes it by up to 2^-11.
    expect(maxDifference(half_scale, expected)).toBeLessThan(0.05);
    for (const type of ["TQ1_0", "F16"] as const) {
      const logits = await logitsOf(await exported(config, type, params), tokens);
      expect(maxDifference(logits, half_scale)).toBe(0);
    }
  });

  test("carries the configuration and the tokenizer", async () => {
    const file = await GgufFile.open(await exported(config, "TQ1_0", await randomParams(config)));
    const metadata = file.metadata();
    expect(metadata.get("general.architecture")).toBe(variant);
    expect(metadata.get("tokenizer.ggml.add_bos_token")).toBe(true);
    expect((await tokenizerFromGguf(file)).hash).toBe(tokenizer.hash);
    const model = await InferenceModel.fromGguf(file);
    expect(model.config).toEqual({ ...config, norm_eps: Math.fround(config.norm_eps) });
    expect(file.tensors().map((t) => t.name)).toContain("blk.0.attn_q.weight");
    model.close();
    file.close();
  });
});

test("a shape that a type cannot hold is refused with the types that can", async () => {
  const config = { ...TINY, d_ff: 384 };
  const params = await randomParams(config);
  const error = await errorOf(exported(config, "TQ2_0", params));
  expect(error.code).toBe("EXPORT_SHAPE");
  expect(error.hint).toContain("I2_S or F16");
  await exported(config, "I2_S", params);
  const odd = { ...config, d_ff: 333 };
  expect((await errorOf(exported(odd, "I2_S", await randomParams(odd)))).hint).toContain("F16");
});
