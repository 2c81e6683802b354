/**
 * Prints what a trainer's steps add to the memory of the process, and the estimate. argv: the
 * model and the trainer's options as JSON. Not a test file.
 */
import fs from "node:fs";
import type { ModelConfig } from "../../src/model/config.ts";
import { Trainer } from "../../src/model/trainer.ts";
import type { TrainerOptions } from "../../src/model/trainer-types.ts";

const kilobytes = (key: string) =>
  Number(
    new RegExp(`^${key}:\\s+(\\d+) kB$`, "m").exec(
      fs.readFileSync("/proc/self/status", "utf8"),
    )![1],
  );

const [model, options] = JSON.parse(process.argv[2]!) as [ModelConfig, TrainerOptions];
const step = async (trainer: Trainer, count: number) => {
  const { batch, context, optimizer = "adamw" } = trainer.options;
  const tokens = Int32Array.from({ length: batch * (context + 1) }, (_, i) => (i * 31) % 97);
  const rates = { lr: 1e-3, beta1: 0.9, beta2: 0.98, eps: 1e-8, weight_decay: 0.1, clip: 1 };
  for (let i = 1; i <= count; i++)
    await trainer.step(tokens, 1, { kind: optimizer, ...rates, momentum: 0.95, step: i });
};
// The threads, the worker and everything else that is there once.
const small = {
  ...model,
  vocab_size: 97,
  d_model: 32,
  head_dim: 8,
  n_heads: 4,
  d_ff: 32,
  n_layers: 1,
};
const warm = Trainer.create(small, { ...options, batch: 1, context: 8 });
await warm.initialise(1n);
await step(warm, 2);
warm.close();
Bun.gc(true);
const before = kilobytes("VmRSS");
const trainer = Trainer.create(model, options);
await trainer.initialise(1n);
await step(trainer, 2);
const grown_bytes = 1024 * (kilobytes("VmHWM") - before);
process.stdout.write(
  JSON.stringify({ grown_bytes, estimate_bytes: Trainer.bytesNeeded(model, options) }),
);
trainer.close();
