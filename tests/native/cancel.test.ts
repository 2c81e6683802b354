/** A long native call: the event loop stays free meanwhile, and an AbortSignal ends it early. */
import { expect, test } from "bun:test";
import { resolveModelConfig } from "../../src/model/config.ts";
import { Trainer } from "../../src/model/trainer.ts";

const shape = { batch: 4, context: 128, threads: 1 };
const adamw = { lr: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, clip: 1, step: 1 };
const tokensOf = (micro_batches: number) =>
  new Int32Array(micro_batches * shape.batch * (shape.context + 1)).fill(5);

/** Not expect().rejects: that blocks the event loop, and with it the worker's answer. */
const failureOf = (call: Promise<unknown>) =>
  call.then(
    () => "it did not fail",
    (error: unknown) => error,
  );

test("aborting ends a step early, and the trainer goes on working", async () => {
  const trainer = Trainer.create(resolveModelConfig("demo"), shape);
  try {
    await trainer.initialise(1n);
    const started = performance.now();
    await trainer.step(tokensOf(1), 1, adamw);
    const one_ms = performance.now() - started;

    const controller = new AbortController();
    let turns = 0;
    const timer = setInterval(() => {
      turns++;
      if (turns === 3) controller.abort();
    }, 5);
    const many = 200;
    const began = performance.now();
    const call = trainer.step(tokensOf(many), many, { ...adamw, step: 2 }, controller.signal);
    expect(await failureOf(call)).toMatchObject({ code: "CANCELLED", exit: "interrupted" });
    clearInterval(timer);
    expect(turns).toBeGreaterThanOrEqual(3); // timers ran while the library computed
    expect(performance.now() - began).toBeLessThan((one_ms * many) / 5);

    const { loss } = await trainer.step(tokensOf(1), 1, { ...adamw, step: 2 });
    expect(loss).toBeGreaterThan(0);
  } finally {
    trainer.close();
  }
});

test("a signal that is aborted already starts nothing", async () => {
  const trainer = Trainer.create(resolveModelConfig("tiny"), { ...shape, context: 64 });
  try {
    await trainer.initialise(1n);
    const before = trainer.params.slice(0, 1000);
    const tokens = new Int32Array(4 * 65).fill(3);
    const call = trainer.step(tokens, 1, adamw, AbortSignal.abort());
    expect(await failureOf(call)).toMatchObject({ code: "CANCELLED" });
    expect(trainer.params.slice(0, 1000)).toEqual(before);
  } finally {
    trainer.close();
  }
});
