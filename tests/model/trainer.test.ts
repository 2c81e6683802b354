/**
 * Behaviour of the trainer: it learns, accumulates, refuses bad input, and never keeps a bad step.
 */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { sha256Hex } from "../../src/core/bytes.ts";
import { MagnetError } from "../../src/core/errors.ts";
import { PRESETS, paramCount, tensorInfos } from "../../src/model/config.ts";
import type { OptimizerStep } from "../../src/model/optimizer.ts";
import { Trainer } from "../../src/model/trainer.ts";

const config = { ...PRESETS.tiny!, vocab_size: 300, context: 20 };
const adamw = (step: number, lr = 3e-3): OptimizerStep => ({
  lr,
  beta1: 0.9,
  beta2: 0.98,
  eps: 1e-8,
  weight_decay: 0.1,
  clip: 1,
  step,
});
const batchOf = (sequences: number, context = config.context) =>
  Int32Array.from({ length: sequences * (context + 1) }, (_, i) => (i * 37 + (i % 11) * 5) % 300);
const tensor = (name: string) => tensorInfos(config).find((t) => t.name.includes(name))!;

async function codeOf(action: () => unknown): Promise<string> {
  try {
    await action();
  } catch (error) {
    if (error instanceof MagnetError) return error.code;
    throw error;
  }
  return "no error";
}

let trainer: Trainer;
beforeEach(async () => {
  trainer = Trainer.create(config, { batch: 2, context: config.context, threads: 2 });
  await trainer.initialise(3n);
});
afterEach(() => trainer.close());

describe("learning", () => {
  test("the loss of a repeated batch falls far below that of a uniform guess", async () => {
    const tokens = batchOf(2);
    const first = await trainer.step(tokens, 1, adamw(1));
    expect(Math.abs(first.loss - Math.log(300))).toBeLessThan(0.3);
    let last = first;
    for (let step = 2; step <= 60; step++) last = await trainer.step(tokens, 1, adamw(step));
    expect(last.loss).toBeLessThan(first.loss / 2);
    const { nll_sum, count } = await trainer.evaluate(tokens.subarray(0, 21), 1);
    expect(count).toBe(20);
    expect(nll_sum / count).toBeLessThan(first.loss / 2);
  });

  test("accumulating micro-batches equals one bigger batch", async () => {
    const tokens = batchOf(4);
    // Unequal counts of targets: the mean must be over all of them, not of two means.
    tokens.fill(-100, tokens.length - 15);
    const big = Trainer.create(config, { batch: 4, context: config.context, threads: 1 });
    big.params.set(trainer.params);
    const one = await big.step(tokens, 1, adamw(1));
    const two = await trainer.step(tokens, 2, adamw(1));
    expect(two.tokens).toBe(one.tokens);
    expect(two.loss).toBeCloseTo(one.loss, 6);
    expect(two.grad_norm / one.grad_norm).toBeCloseTo(1, 5);
    big.close();
  });

  test("the gradient of the final norm agrees with finite differences", async () => {
    // Between the last norm and the loss nothing is quantised, so the loss is smooth there.
    const tokens = batchOf(2);
    await trainer.gradient(tokens);
    const at = tensorInfos(config).at(-1)!.offset;
    const gradient = trainer.grad.slice(at);
    const loss = async () => {
      const { nll_sum, count } = await trainer.evaluate(tokens, 2);
      return nll_sum / count;
    };
    for (const i of [0, 17, 63]) {
      const index = at + i;
      const h = 2 ** -5;
      trainer.params[index] = 1 + h;
      const above = await loss();
      trainer.params[index] = 1 - h;
      const below = await loss();
      trainer.params[index] = 1;
      const slope = (above - below) / (2 * h);
      expect(Math.abs(slope - gradient[i]!)).toBeLessThan(1e-5 + 0.01 * Math.abs(slope));
    }
  });

  test("clipping limits the step, not the reported norm", async () => {
    const tokens = batchOf(2);
    const { grad_norm } = await trainer.gradient(tokens);
    const clip = grad_norm / 4;
    await trainer.step(tokens, 1, { ...adamw(1), clip, beta1: 0, lr: 1e-6, weight_decay: 0 });
    const index = trainer.grad.findIndex((g) => Math.abs(g) > 1e-4);
    expect(trainer.m[index]! / trainer.grad[index]!).toBeCloseTo(0.25, 4);
  });
});

describe("a step that cannot be taken changes nothing", () => {
  const snapshot = () =>
    sha256Hex(
      ...[trainer.params, trainer.m, trainer.v].map((x) => new Uint8Array(x.slice().buffer)),
    );

  for (const [what, value] of [
    ["embed_tokens", Number.NaN],
    ["layers.0.self_attn.q_proj", Number.NaN],
    ["layers.1.mlp.down_proj", Number.POSITIVE_INFINITY],
    ["layers.0.input_layernorm", Number.NaN],
    ["attn_sub_norm", Number.NEGATIVE_INFINITY],
    ["layers.1.mlp.ffn_sub_norm", Number.NaN],
    ["model.norm", Number.NaN],
  ] as const)
    test(`${value} in ${what}`, async () => {
      await trainer.step(batchOf(2), 1, adamw(1));
      const index = tensor(what).offset + 37;
      const good = trainer.params[index]!;
      // Token 0, so that the poisoned embedding row is looked up.
      const tokens = batchOf(2).fill(0, 5, 9);
      trainer.params[index] = value;
      const before = snapshot();
      expect(await codeOf(() => trainer.step(tokens, 1, adamw(2)))).toBe("NOT_A_NUMBER");
      expect(snapshot()).toBe(before);
      trainer.params[index] = good;
      expect((await trainer.step(batchOf(2), 1, adamw(2))).loss).toBeGreaterThan(0);
    });

  test("cancelled before it began, and in the middle", async () => {
    const before = snapshot();
    const aborted = AbortSignal.abort();
    expect(await codeOf(() => trainer.step(batchOf(2), 1, adamw(1), aborted))).toBe("CANCELLED");
    const controller = new AbortController();
    const micro = 2000;
    const running = trainer.step(batchOf(2 * micro), micro, adamw(1), controller.signal);
    queueMicrotask(() => controller.abort());
    expect(await codeOf(() => running)).toBe("CANCELLED");
    expect(snapshot()).toBe(before);
    expect((await trainer.step(batchOf(2), 1, adamw(1))).tokens).toBe(40);
  });
});

describe("bad input is refused", () => {
  test("tokens: wrong number, outside the vocabulary, none counted", async () => {
    const step = (tokens: Int32Array, accumulate = 1) =>
      codeOf(() => trainer.step(tokens, accumulate, adamw(1)));
    expect(await step(batchOf(1))).toBe("SHAPE_MISMATCH");
    expect(await step(batchOf(2), 2)).toBe("SHAPE_MISMATCH");
    expect(await step(batchOf(2).fill(300, 3, 4))).toBe("NATIVE_INVALID");
    expect(await step(batchOf(2).fill(-1, 3, 4))).toBe("NATIVE_INVALID");
    expect(await step(batchOf(2).fill(-100))).toBe("NATIVE_INVALID");
    expect(await codeOf(() => trainer.logits(batchOf(1)))).toBe("NATIVE_INVALID");
    expect(await codeOf(() => trainer.evaluate(batchOf(3), 3))).toBe("NATIVE_INVALID");
  });

  test("optimizer values out of range", async () => {
    for (const bad of [
      { lr: -1 },
      { lr: Number.NaN },
      { beta1: 1 },
      { beta2: -0.1 },
      { eps: 0 },
      { weight_decay: 2 },
      { clip: -1 },
      { step: 0 },
    ])
      expect(await codeOf(() => trainer.step(batchOf(2), 1, { ...adamw(1), ...bad }))).toBe(
        "NATIVE_INVALID",
      );
  });

  test("shapes that do not fit the model", async () => {
    const create = (batch: number, context: number, threads = 1) =>
      codeOf(() => Trainer.create(config, { batch, context, threads }).close());
    expect(await create(0, 8)).toBe("NATIVE_INVALID");
    expect(await create(1, 21)).toBe("NATIVE_INVALID");
    expect(await create(1, 8, 1000)).toBe("NATIVE_INVALID");
    expect(await create(1, 8)).toBe("no error");
  });

  test("two calls at once, and any call after close", async () => {
    const running = trainer.step(batchOf(2), 1, adamw(1));
    expect(await codeOf(() => trainer.step(batchOf(2), 1, adamw(1)))).toBe("TRAINER_BUSY");
    await running;
    trainer.close();
    trainer.close();
    expect(await codeOf(() => trainer.step(batchOf(2), 1, adamw(1)))).toBe("TRAINER_CLOSED");
    expect(await codeOf(() => trainer.params)).toBe("TRAINER_CLOSED");
  });
});

test("two trainers at once on different workers give what each gives alone", async () => {
  const other = Trainer.create(config, { batch: 2, context: config.context, threads: 2 });
  await other.initialise(4n);
  const run = async (t: Trainer) => {
    for (let step = 1; step <= 8; step++) await t.step(batchOf(2), 1, adamw(step));
    return t.params.slice();
  };
  const together = await Promise.all([run(trainer), run(other)]);
  for (const [i, seed] of [3n, 4n].entries()) {
    const alone = Trainer.create(config, { batch: 2, context: config.context, threads: 1 });
    await alone.initialise(seed);
    expect(await run(alone)).toEqual(together[i]!);
    alone.close();
  }
  other.close();
});

test("memory estimate covers the four arenas and grows with the batch", () => {
  const bytes = ({ batch }: { batch: number }) =>
    Trainer.bytesNeeded(PRESETS.demo!, { batch, context: 128, threads: 1 });
  const small = bytes({ batch: 1 });
  const large = bytes({ batch: 8 });
  expect(small).toBeGreaterThan(4 * 4 * paramCount(PRESETS.demo!));
  expect(large).toBeGreaterThan(small);
  expect(large).toBeLessThan(200e6);
});
