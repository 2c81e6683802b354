/**
 * Child of inference.test.ts: prints a digest of logits of several shapes, and of files under
 * llamacpp rounding, on the CPU path in force.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { sha256Hex } from "../../src/core/bytes.ts";
import { PRESETS } from "../../src/model/config.ts";
import { exportGguf } from "../../src/model/export-gguf.ts";
import { GgufFile } from "../../src/model/gguf-file.ts";
import { evalLogits, InferenceModel } from "../../src/model/inference.ts";
import { cpuInfo } from "../../src/native/library.ts";
import { bookTokenizer, randomParams, SMALL } from "./small-models.ts";

const SHAPES = [
  PRESETS.tiny!,
  { ...PRESETS.tiny!, d_model: 150, n_heads: 3, n_kv_heads: 1, head_dim: 50, d_ff: 333 },
  { ...SMALL, variant: "llama" as const, d_ff: 2304 }, // more blocks than one int16 sum holds
];
const digests: string[] = [];
for (const config of SHAPES) {
  const model = await InferenceModel.fromParams(config, await randomParams(config), 1);
  const tokens = Int32Array.from({ length: 40 }, (_, i) => (i * 97 + 3) % config.vocab_size);
  const logits = await evalLogits(model, tokens);
  digests.push(sha256Hex(new Uint8Array(logits.buffer)));
  model.close();
}

const FILES = [
  ["TQ2_0", { ...SMALL, d_ff: 2304 }],
  ["TQ1_0", { ...SMALL, variant: "llama" }],
  ["F16", { ...SMALL, d_model: 120, n_heads: 3, n_kv_heads: 1, head_dim: 40, d_ff: 333 }],
] as const;
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-digest-"));
const tokenizer = await bookTokenizer(SMALL.vocab_size);
for (const [type, config] of FILES) {
  const file = path.join(folder, `${type}.gguf`);
  const params = await randomParams(config);
  await exportGguf({ config, params, tokenizer, type, name: type, path: file });
  const gguf = await GgufFile.open(file);
  const model = await InferenceModel.fromGguf(gguf, 1);
  gguf.close();
  const tokens = Int32Array.from({ length: 40 }, (_, i) => (i * 97 + 3) % config.vocab_size);
  const logits = await evalLogits(model, tokens, "llamacpp");
  digests.push(sha256Hex(new Uint8Array(logits.buffer)));
  model.close();
}
fs.rmSync(folder, { recursive: true });
process.stdout.write(JSON.stringify({ path: cpuInfo().path, digests }));
