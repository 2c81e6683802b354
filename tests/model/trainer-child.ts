/**
 * Trains two small models for a few steps and prints one hash per model over parameters, moments,
 * gradient, losses and logits. Run as a child process, because the CPU path is fixed once per
 * process. argv: threads. Not a test file.
 */
import { sha256Hex } from "../../src/core/bytes.ts";
import { type ModelConfig, PRESETS } from "../../src/model/config.ts";
import { Trainer } from "../../src/model/trainer.ts";

const threads = Number(process.argv[2]);

/** Sizes that divide nothing: every kernel meets its edges, and attention more than one block. */
const ODD: ModelConfig = {
  ...PRESETS.tiny!,
  vocab_size: 531,
  d_model: 42,
  n_heads: 3,
  n_kv_heads: 1,
  head_dim: 14,
  d_ff: 277,
  context: 61,
};
const LLAMA: ModelConfig = { ...PRESETS.tiny!, variant: "llama", n_layers: 1, rope_theta: 5e5 };

const ADAMW = { lr: 2e-3, beta1: 0.9, beta2: 0.98, eps: 1e-8, weight_decay: 0.1, clip: 1 };

async function run(config: ModelConfig, batch: number): Promise<string> {
  const trainer = Trainer.create(config, { batch, context: config.context, threads });
  await trainer.initialise(42n);
  const losses: number[] = [];
  const size = 2 * batch * (config.context + 1);
  const tokens = new Int32Array(size);
  for (let step = 1; step <= 3; step++) {
    for (let i = 0; i < size; i++) tokens[i] = (i * 7919 + step * 104_729) % config.vocab_size;
    tokens.fill(-100, size - 5);
    const { loss, grad_norm } = await trainer.step(tokens, 2, { ...ADAMW, step });
    losses.push(loss, grad_norm);
  }
  const labels = tokens.map((id, i) => (i % 7 < 3 || id < 0 ? -100 : id));
  const words = tokens.map((id) => Math.max(id, 0));
  const pairs = { tokens: words, labels, pairs: 1, width: config.context - 3, accumulate: 2 };
  const length = 4 * pairs.width;
  const orpo = await trainer.orpo(
    { ...pairs, tokens: words.slice(0, length), labels: labels.slice(0, length) },
    { beta: 0.3, optimizer: { ...ADAMW, step: 4 } },
  );
  losses.push(...Object.values(orpo));
  const logits = await trainer.logits(tokens.slice(0, 20));
  const parts = [trainer.params, trainer.m, trainer.v, trainer.grad, logits].map(
    (x) => new Uint8Array(x.buffer, x.byteOffset, x.byteLength),
  );
  const hash = sha256Hex(...parts, new Uint8Array(new Float64Array(losses).buffer));
  trainer.close();
  return hash;
}

process.stdout.write(JSON.stringify([await run(ODD, 3), await run(LLAMA, 2)]));
