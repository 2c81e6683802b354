/** Random-weight files of every kind: they load, and compute spread, finite logits. */
import { afterAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { PRESETS } from "../../src/model/config.ts";
import { GgufFile } from "../../src/model/gguf-file.ts";
import { evalLogits } from "../../src/model/inference.ts";
import { loadModel } from "../../src/model/load-model.ts";
import { randomModelFile, syntheticTokenizer } from "../../src/model/random-model.ts";
import { errorOf } from "./error-of.ts";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-random-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
const config = { ...PRESETS.demo!, vocab_size: 5000 };

const KINDS = [
  ["TQ2_0", "Q6_K", "bitnet"],
  ["TQ1_0", "F16", "bitnet"],
  ["I2_S", "Q6_K", "bitnet"],
  ["TQ2_0", "F16", "llama"],
] as const;

describe.each(KINDS)("%s with an embedding in %s, variant %s", (matrices, embedding, variant) => {
  test("loads; logits are spread, another token at every place", async () => {
    const options = { config: { ...config, variant }, matrices, embedding, folder };
    const file = await randomModelFile(options);
    const written = fs.statSync(file).mtimeMs;
    const opened = await loadModel(file, { threads: 1 });
    const text = "the quick brown fox";
    const ids = opened.tokenizer.encode(text);
    expect(opened.tokenizer.decode(ids)).toBe(text);
    const logits = await evalLogits(opened.model, ids);
    opened.close();
    const best = new Set<number>();
    for (let at = 0; at < logits.length; at += config.vocab_size) {
      const row = logits.subarray(at, at + config.vocab_size);
      expect(row.every(Number.isFinite)).toBe(true);
      const spread = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0) / row.length);
      expect(spread).toBeGreaterThan(0.3);
      expect(spread).toBeLessThan(5);
      best.add(row.indexOf(Math.max(...row)));
    }
    expect(best.size).toBeGreaterThan(2);
    expect(await randomModelFile(options)).toBe(file);
    expect(fs.statSync(file).mtimeMs).toBe(written); // taken as it was
  });

  test("no two rows of a tensor are equal", async () => {
    const options = { config: { ...config, variant }, matrices, embedding, folder };
    const file = await GgufFile.open(await randomModelFile(options));
    for (const { name, rows } of file.tensors()) {
      if (rows === 1) continue;
      const bytes = Buffer.from(file.tensorBytes(name));
      const size = Math.floor(bytes.length / rows);
      const seen = new Set(
        Array.from({ length: rows }, (_, r) =>
          bytes.subarray(r * size, (r + 1) * size).toString("latin1"),
        ),
      );
      expect([name, seen.size]).toEqual([name, rows]);
    }
    file.close();
  });
});

test("other seeds and shapes make other files", async () => {
  const base = { config, folder };
  const files = [base, { ...base, seed: 2 }, { ...base, config: { ...config, d_ff: 512 } }];
  const paths = await Promise.all(files.map(randomModelFile));
  expect(new Set(paths).size).toBe(3);
  const contents = new Set(paths.map((file) => Bun.SHA256.hash(fs.readFileSync(file), "hex")));
  expect(contents.size).toBe(3);
});

test("the vocabulary is of any size from 260 on, without equal tokens", async () => {
  for (const size of [260, 261, 128_256]) {
    const tokens = syntheticTokenizer(size).tokens();
    const texts = new Set(tokens.map((token) => Buffer.from(token).toString("latin1")));
    expect([tokens.length, texts.size]).toEqual([size, size]);
  }
  const small = randomModelFile({ config: { ...config, vocab_size: 259 }, folder });
  expect((await errorOf(small)).code).toBe("BAD_VOCAB_SIZE");
});

test("types that do not fit the shape are refused", async () => {
  const refused = await errorOf(randomModelFile({ config: PRESETS.tiny!, folder }));
  expect(refused.code).toBe("EXPORT_SHAPE");
  const narrow = { ...PRESETS.demo!, d_model: 128, n_heads: 2, head_dim: 64, d_ff: 256 };
  const embedding = randomModelFile({ config: narrow, matrices: "I2_S", folder });
  expect((await errorOf(embedding)).code).toBe("EXPORT_SHAPE");
});
