/**
 * The golden files of training against one backend at one precision: losses, gradients of every tensor,
 * gradient norms, logits and the weights after three AdamW steps. Tolerances of float32:
 * tests/golden/bitnet/README.md.
 */
import { describe, expect, test } from "bun:test";
import type { OptimizerStep } from "../../src/model/optimizer.ts";
import { Trainer } from "../../src/model/trainer.ts";
import type { TrainerOptions } from "../../src/model/trainer-types.ts";
import { difference, type GoldenFile, relativeL2, worstTensor } from "./golden-file.ts";

export interface Tolerances {
  /** Of a loss, nats. */
  loss: number;
  /** Relative L2 of the whole gradient, and of the tensor that is furthest off. */
  gradient: number;
  tensor: number;
  /** Of the change of the weights in three steps; null: not looked at. */
  update: number | null;
  logits: number;
}
export type Backend = Pick<TrainerOptions, "device" | "precision">;

export function adamw(file: GoldenFile, step: number): OptimizerStep {
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

/** Tests of one file. */
export function describeGolden(
  name: string,
  file: GoldenFile,
  {
    tolerances,
    on = {},
    timeout_ms = 5000,
  }: { tolerances: Tolerances; on?: Backend; timeout_ms?: number },
): void {
  describe(name, () => {
    const config = file.config();
    const [steps, batch, width] = file.shape("tokens") as [number, number, number];
    const context = width - 1;
    const tokens = file.i32("tokens");
    const stepTokens = (i: number) => tokens.slice(i * batch * width, (i + 1) * batch * width);
    const create = async () => {
      const trainer = Trainer.create(config, { batch, context, threads: 1, ...on });
      await trainer.setParams(file.arena("w0"));
      return trainer;
    };

    test(
      "gradient, loss and norm of the first step",
      async () => {
        const trainer = await create();
        const result = await trainer.gradient(stepTokens(0));
        await trainer.pull("grad");
        const expected = file.arena("grad_f64");
        expect(relativeL2(trainer.grad, expected)).toBeLessThan(tolerances.gradient);
        const worst = worstTensor(config, trainer.grad, expected);
        expect(worst.error, worst.name).toBeLessThan(tolerances.tensor);
        const [loss] = file.json<number[]>("loss_f64");
        const [norm] = file.json<number[]>("grad_norm_f64");
        expect(Math.abs(result.loss - loss!)).toBeLessThan(tolerances.loss);
        expect(Math.abs(result.grad_norm / norm! - 1)).toBeLessThan(tolerances.gradient);
        expect(result.tokens).toBe(batch * context);
        trainer.close();
      },
      timeout_ms,
    );

    test(
      "three AdamW steps",
      async () => {
        const trainer = await create();
        const losses = file.json<number[]>("loss_f32");
        for (let i = 0; i < steps; i++) {
          const { loss } = await trainer.step(stepTokens(i), 1, adamw(file, i + 1));
          const flips = name.endsWith("flips") && i > 0;
          const tolerance = Math.max(tolerances.loss, flips ? 1e-3 : 0);
          expect(Math.abs(loss - losses[i]!)).toBeLessThan(tolerance);
        }
        const w0 = file.arena("w0");
        const update = difference(await trainer.currentParams(), w0);
        const worst = worstTensor(config, update, difference(file.arena("w3_f32"), w0));
        if (tolerances.update !== null)
          expect(worst.error, worst.name).toBeLessThan(tolerances.update);
        trainer.close();
      },
      timeout_ms,
    );

    test(
      "logits and evaluation of the first step",
      async () => {
        const trainer = await create();
        const logits = await trainer.logits(stepTokens(0).slice(0, context));
        expect(relativeL2(logits, file.f32("logits_f64/row0"))).toBeLessThan(tolerances.logits);
        const { nll_sum, count } = await trainer.evaluate(stepTokens(0), batch);
        expect(count).toBe(batch * context);
        const [loss] = file.json<number[]>("loss_f64");
        expect(Math.abs(nll_sum / count - loss!)).toBeLessThan(tolerances.loss);
        trainer.close();
      },
      timeout_ms,
    );
  });
}
