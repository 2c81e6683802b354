/** The next batch is read while a step runs; what steps see does not depend on that. */
import { expect, test } from "bun:test";
import { type Hyperparameters, INITIAL_STATE, InnerLoop } from "../../src/model/inner-loop.ts";

const HYPER: Hyperparameters = {
  ...{ optimizer: "adamw", momentum: 0.9, lr: 0.1, schedule: "constant", total_steps: 4 },
  ...{ weight_decay: 0, weight_decay_schedule: "constant", beta1: 0.9, beta2: 0.9, eps: 1e-8 },
  ...{ clip: 1, accumulate: 2 },
};

/** A trainer that finishes a step when it is told to, on batches that are their positions. */
function setUp(cannot_read: number[] = []) {
  const log: string[] = [];
  const stepper = {
    config: { vocab_size: 10 },
    options: { batch: 3 },
    finish: (): void => undefined,
    step(batch: number, _accumulate: number, _optimizer: unknown, signal?: AbortSignal) {
      log.push(`step on ${batch}`);
      if (signal?.aborted)
        return Promise.reject(Object.assign(new Error("stop"), { code: "CANCELLED" }));
      return new Promise<{ loss: number; grad_norm: number; tokens: number }>((done) => {
        stepper.finish = () => done({ loss: 2, grad_norm: 1, tokens: 6 });
      });
    },
  };
  const batches = {
    read(position: number, count: number) {
      log.push(`read ${position}+${count}`);
      if (cannot_read.includes(position)) throw new Error(`no ${position}`);
      return position;
    },
  };
  const loop = new InnerLoop<number>(stepper, batches, HYPER, INITIAL_STATE);
  const next = () => {
    const done = loop.next();
    stepper.finish();
    return done;
  };
  return { loop, log, next };
}

test("each batch is read once, beside the step before, and none behind the last step", async () => {
  const { log, next } = setUp();
  for (let i = 0; i < 4; i++) await next();
  expect(log).toEqual([
    ...["read 0+6", "step on 0", "read 6+6", "step on 6", "read 12+6", "step on 12", "read 18+6"],
    "step on 18",
  ]);
});

test("after a step that was cancelled its own batch is read again", async () => {
  const { loop, log, next } = setUp();
  await next();
  await loop.next(AbortSignal.abort()).catch(() => undefined);
  await next();
  expect(log.filter((line) => line.startsWith("step"))).toEqual([
    ...["step on 0", "step on 6", "step on 6"],
  ]);
});

test("a batch that cannot be read fails its own step, not the one before", async () => {
  const { log, next } = setUp([6]);
  expect((await next()).step).toBe(1);
  const error = await next().catch((e: Error) => e);
  expect((error as Error).message).toContain("no 6");
  expect(log.at(-1)).toBe("read 6+6");
});
