/**
 * The memory estimate against what steps take, in a process of its own: never below it, and at most
 * a quarter above; and what recomputation, Muon and plain models change in it.
 */
import { describe, expect, test } from "bun:test";
import path from "node:path";
import { type ModelConfig, PRESETS } from "../../src/model/config.ts";
import { Trainer } from "../../src/model/trainer.ts";
import type { TrainerOptions } from "../../src/model/trainer-types.ts";

const MODEL: ModelConfig = {
  ...PRESETS.small!,
  vocab_size: 4096,
  n_layers: 4,
  d_model: 384,
  head_dim: 48,
  d_ff: 1024,
  context: 256,
};
const OPTIONS: TrainerOptions = { batch: 4, context: 256, threads: 2 };

async function measure(model: Partial<ModelConfig>, options: Partial<TrainerOptions>) {
  const file = path.join(import.meta.dir, "memory-child.ts");
  const given = JSON.stringify([
    { ...MODEL, ...model },
    { ...OPTIONS, ...options },
  ]);
  const child = Bun.spawn([process.execPath, file, given], { stdout: "pipe", stderr: "inherit" });
  const text = await new Response(child.stdout).text();
  expect(await child.exited).toBe(0);
  return JSON.parse(text) as { grown_bytes: number; estimate_bytes: number };
}

describe("the estimate is what training takes", () => {
  test.each<[string, Partial<ModelConfig>, Partial<TrainerOptions>]>([
    ["AdamW", {}, {}],
    ["Muon", {}, { optimizer: "muon" }],
    ["recomputation", {}, { recompute: true, batch: 8 }],
    ["plain llama", { variant: "llama", quant: "none" }, { batch: 2 }],
    ["long sequences", { context: 4096, n_layers: 1, d_ff: 256 }, { batch: 1, context: 4096 }],
    ["a large vocabulary, Muon", { vocab_size: 30_000 }, { optimizer: "muon", batch: 1 }],
  ])(
    "%s",
    async (_name, model, options) => {
      const { grown_bytes, estimate_bytes } = await measure(model, options);
      expect(estimate_bytes).toBeGreaterThanOrEqual(grown_bytes);
      expect(estimate_bytes).toBeLessThan(1.25 * grown_bytes);
    },
    30_000,
  );
});

test("what each option saves or costs", () => {
  const bytes = (model: Partial<ModelConfig>, options: Partial<TrainerOptions>) =>
    Trainer.bytesNeeded({ ...MODEL, ...model }, { ...OPTIONS, ...options });
  const base = bytes({}, {});
  const in_blocks = 4 * (2 * 384 * 384 + 2 * 384 * 192 + 3 * 384 * 1024);
  // Muon: no second moment of the blocks' matrices; its workspace is that of the activations.
  expect(base - bytes({}, { optimizer: "muon" })).toBe(4 * in_blocks);
  // Unless there are hardly any: then the workspace decides.
  const few = { batch: 1, context: 1 };
  expect(bytes({}, few) - bytes({}, { ...few, optimizer: "muon" })).toBeLessThan(4 * in_blocks);
  // Recomputation: three of four blocks keep their input only.
  expect(bytes({}, { recompute: true })).toBeLessThan(0.85 * base);
  const deep = { n_layers: 24 };
  const per_block = (options: Partial<TrainerOptions>) =>
    bytes({ n_layers: 25 }, options) - bytes(deep, options);
  // parameters, gradient, moments and codes of a block, and the input of 1024 positions
  const parameters = in_blocks / 4 + 3 * 384 + 1024;
  expect(per_block({ recompute: true })).toBeCloseTo(
    17 * (in_blocks / 4) + 4 * 4 * (parameters - in_blocks / 4) + 4 * 1024 * 384,
    -3,
  );
  // Plain: floats where the codes were.
  expect(bytes({ quant: "none" }, {})).toBeGreaterThan(base);
});

describe("recomputation gives the same bits", () => {
  test.each<[string, Partial<ModelConfig>, TrainerOptions["optimizer"]]>([
    ["sub-norms", {}, "muon"],
    ["llama", { variant: "llama" }, "adamw"],
    ["plain", { quant: "none" }, "adamw"],
  ])("%s", async (_name, model, optimizer) => {
    const config: ModelConfig = { ...PRESETS.tiny!, n_layers: 3, context: 30, ...model };
    const run = async (recompute: boolean) => {
      const options = { batch: 2, context: 29, threads: 2, recompute, optimizer: optimizer! };
      const trainer = Trainer.create(config, options);
      await trainer.initialise(9n);
      const losses: number[] = [];
      const rates = { lr: 1e-2, beta1: 0.9, beta2: 0.98, eps: 1e-8, weight_decay: 0.1, clip: 1 };
      for (let step = 1; step <= 4; step++) {
        const tokens = Int32Array.from({ length: 2 * 2 * 30 }, (_, i) => (i * 77 + step) % 500);
        const o = { kind: optimizer!, ...rates, momentum: 0.9, step };
        const { loss, grad_norm } = await trainer.step(tokens, 2, o);
        losses.push(loss, grad_norm);
      }
      const { nll_sum } = await trainer.evaluate(new Int32Array(30).fill(3), 1);
      const logits = await trainer.logits(new Int32Array(11).fill(5));
      const state = [trainer.params, trainer.m, trainer.v, trainer.grad].map((x) => x.slice());
      trainer.close();
      return { losses, nll_sum, logits, state };
    };
    expect(await run(true)).toEqual(await run(false));
  });
});
