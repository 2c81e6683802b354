/** Child of inference.test.ts: prints a digest of logits of several shapes on the CPU path in force. */
import { sha256Hex } from "../../src/core/bytes.ts";
import { PRESETS } from "../../src/model/config.ts";
import { evalLogits, InferenceModel } from "../../src/model/inference.ts";
import { cpuInfo } from "../../src/native/library.ts";
import { randomParams, SMALL } from "./small-models.ts";

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
process.stdout.write(JSON.stringify({ path: cpuInfo().path, digests }));
