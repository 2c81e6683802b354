/**
 * Whole training steps against PyTorch (float32 and float64): losses, gradients of every tensor, gradient
 * norms, logits and the weights after three AdamW steps. Tolerances: tests/golden/bitnet/README.md.
 */
import { describe, expect, test } from "bun:test";
import type { OptimizerStep } from "../../src/model/optimizer.ts";
import { Trainer } from "../../src/model/trainer.ts";
import { outerStep, weightedSum } from "../../src/native/codec.ts";
import { difference, GoldenFile, relativeL2, worstTensor } from "./golden-file.ts";

const LOSS_TOLERANCE = 1e-5;

function adamw(file: GoldenFile, step: number): OptimizerStep {
  const o = file.json<{
    lr: number;
    betas: [number, number];
    eps: number;
    weight_decay: number;
    clip_norm: number;
  }>(file.metadata.kind === "diloco" ? "inner" : "optimizer");
  const [beta1, beta2] = o.betas;
  const { lr, eps, weight_decay } = o;
  return { lr, beta1, beta2, eps, weight_decay, clip: o.clip_norm, step };
}

/** [file, gradient tolerance, tolerance of the three-step update, logits tolerance] */
const FILES: [string, number, number, number][] = [
  ["train_tiny_subln", 1e-5, 1e-3, 1e-5],
  ["train_small_llama", 1e-5, 1e-3, 1e-5],
  ["train_tiny_subln_flips", 5e-3, 2e-2, 5e-3],
];

for (const [name, gradientTolerance, updateTolerance, logitsTolerance] of FILES) {
  const file = await GoldenFile.open(name);
  describe(name, () => {
    const config = file.config();
    const [steps, batch, width] = file.shape("tokens") as [number, number, number];
    const context = width - 1;
    const tokens = file.i32("tokens");
    const stepTokens = (i: number) => tokens.slice(i * batch * width, (i + 1) * batch * width);
    const create = () => {
      const trainer = Trainer.create(config, { batch, context, threads: 1 });
      trainer.params.set(file.arena("w0"));
      return trainer;
    };

    test("gradient, loss and norm of the first step", async () => {
      const trainer = create();
      const result = await trainer.gradient(stepTokens(0));
      const worst = worstTensor(config, trainer.grad, file.arena("grad_f64"));
      expect(worst.error, worst.name).toBeLessThan(gradientTolerance);
      const [loss] = file.json<number[]>("loss_f64");
      const [norm] = file.json<number[]>("grad_norm_f64");
      expect(Math.abs(result.loss - loss!)).toBeLessThan(LOSS_TOLERANCE);
      expect(Math.abs(result.grad_norm / norm! - 1)).toBeLessThan(gradientTolerance);
      expect(result.tokens).toBe(batch * context);
      trainer.close();
    });

    test("three AdamW steps", async () => {
      const trainer = create();
      const losses = file.json<number[]>("loss_f32");
      for (let i = 0; i < steps; i++) {
        const { loss } = await trainer.step(stepTokens(i), 1, adamw(file, i + 1));
        const flips = name.endsWith("flips") && i > 0;
        expect(Math.abs(loss - losses[i]!)).toBeLessThan(flips ? 1e-3 : LOSS_TOLERANCE);
      }
      const w0 = file.arena("w0");
      const update = difference(trainer.params, w0);
      const worst = worstTensor(config, update, difference(file.arena("w3_f32"), w0));
      expect(worst.error, worst.name).toBeLessThan(updateTolerance);
      trainer.close();
    });

    test("logits and evaluation of the first step", async () => {
      const trainer = create();
      const logits = await trainer.logits(stepTokens(0).slice(0, context));
      expect(relativeL2(logits, file.f32("logits_f64/row0"))).toBeLessThan(logitsTolerance);
      const { nll_sum, count } = await trainer.evaluate(stepTokens(0), batch);
      expect(count).toBe(batch * context);
      const [loss] = file.json<number[]>("loss_f64");
      expect(Math.abs(nll_sum / count - loss!)).toBeLessThan(LOSS_TOLERANCE);
      trainer.close();
    });
  });
}

const diloco = await GoldenFile.open("diloco_small");
describe("diloco_small", () => {
  const config = diloco.config();
  const [rounds, workers, inner, batch, width] = diloco.shape("tokens") as [
    number,
    number,
    number,
    number,
    number,
  ];
  const losses = diloco.json<number[]>("losses_f32");
  const tokens = diloco.i32("tokens");
  const size = batch * width;
  const outer = diloco.json<{ lr: number; momentum: number }>("outer");

  /** H inner steps of one worker from `start`; moments and step count go on from its last round. */
  async function innerSteps(trainer: Trainer, round: number, worker: number, start: Float32Array) {
    trainer.params.set(start);
    for (let step = 0; step < inner; step++) {
      const at = (round * workers + worker) * inner + step;
      const input = tokens.slice(at * size, (at + 1) * size);
      const { loss } = await trainer.step(input, 1, adamw(diloco, round * inner + step + 1));
      expect(Math.abs(loss - losses[at]!)).toBeLessThan(LOSS_TOLERANCE);
    }
    return difference(start, trainer.params);
  }

  test("inner steps, weighted mean and outer step of every round, from our own results", async () => {
    const trainers = Array.from({ length: workers }, () =>
      Trainer.create(config, { batch, context: width - 1, threads: 1 }),
    );
    const global = diloco.arena("w0");
    const momentum = new Float32Array(global.length);
    for (let round = 0; round < rounds; round++) {
      const deltas: Float32Array[] = [];
      for (const [worker, trainer] of trainers.entries()) {
        const delta = await innerSteps(trainer, round, worker, global);
        const worst = worstTensor(config, delta, diloco.arena(`r${round}/delta${worker}`));
        expect(worst.error, worst.name).toBeLessThan(1e-3);
        deltas.push(delta);
      }
      const mean = await weightedSum(deltas, new Array(workers).fill(1));
      await outerStep(global, momentum, mean, { lr: outer.lr, mu: outer.momentum });
      const moved = worstTensor(config, momentum, diloco.arena(`r${round}/momentum`));
      expect(moved.error, moved.name).toBeLessThan(1e-3);
      const merged = worstTensor(config, global, diloco.arena(`r${round}/global`));
      expect(merged.error, merged.name).toBeLessThan(1e-4);
    }
    for (const trainer of trainers) trainer.close();
  });
});
