/**
 * Whole training steps against PyTorch (float32 and float64): losses, gradients of every tensor, gradient
 * norms, logits and the weights after three AdamW steps. Tolerances: tests/golden/bitnet/README.md.
 */
import { describe, expect, test } from "bun:test";
import { Trainer } from "../../src/model/trainer.ts";
import { outerStep, weightedSum } from "../../src/native/codec.ts";
import { difference, GoldenFile, worstTensor } from "./golden-file.ts";
import { adamw, describeGolden } from "./train-golden.ts";

const LOSS_TOLERANCE = 1e-5;

const FLOAT32 = { loss: LOSS_TOLERANCE, gradient: 1e-5, tensor: 1e-5, update: 1e-3, logits: 1e-5 };
const FLIPS = { loss: LOSS_TOLERANCE, gradient: 5e-3, tensor: 5e-3, update: 2e-2, logits: 5e-3 };
describeGolden("train_tiny_subln", await GoldenFile.open("train_tiny_subln"), {
  tolerances: FLOAT32,
});
describeGolden("train_small_llama", await GoldenFile.open("train_small_llama"), {
  tolerances: FLOAT32,
});
describeGolden("train_tiny_subln_flips", await GoldenFile.open("train_tiny_subln_flips"), {
  tolerances: FLIPS,
});

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
