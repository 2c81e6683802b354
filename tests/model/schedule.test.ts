/**
 * Schedules of learning rate and weight decay, computed in the library: against their formulas in
 * float64, and at the steps where they turn.
 */
import { describe, expect, test } from "bun:test";
import { MagnetError } from "../../src/core/errors.ts";
import { learningRate, SCHEDULES, type Schedule, weightDecay } from "../../src/model/schedule.ts";

const codeOf = (action: () => unknown): string => {
  try {
    action();
  } catch (error) {
    if (error instanceof MagnetError) return error.code;
    throw error;
  }
  return "no error";
};

/** The schedules as the README says them, for a peak of 1. */
const FORMULAS: Record<Schedule, (step: number, total: number) => number> = {
  constant: () => 1,
  wsd: (step, total) => Math.min(1, (total - step) / Math.ceil(0.15 * total)),
  cosine: (step, total) => {
    const warmup = Math.ceil(total / 100);
    return (1 + Math.cos((Math.PI * (step - warmup)) / (total - warmup))) / 2;
  },
  "two-stage": (step, total) => (1 - step / total) * (step <= total / 2 ? 1 : 2 / 3),
};

describe.each([...SCHEDULES])("%s", (kind) => {
  test("every step of runs of several lengths", () => {
    for (const total of [1, 2, 3, 7, 100, 640, 1000])
      for (let step = 1; step <= total; step++) {
        const warmup = Math.ceil(total / 100);
        const expected =
          kind !== "constant" && step <= warmup ? step / warmup : FORMULAS[kind](step, total);
        const lr = learningRate(kind, step, total, 0.004);
        expect(Math.abs(lr - 0.004 * expected), `${step} of ${total}`).toBeLessThan(1e-9);
      }
  });

  test("the peak scales it, and long runs are no problem", () => {
    expect(learningRate(kind, 300, 1000, 0)).toBe(0);
    expect(learningRate(kind, 300, 1000, 8)).toBe(8 * learningRate(kind, 300, 1000, 1));
    expect(learningRate(kind, 2 ** 51, 2 ** 52, 1)).toBeGreaterThan(0.3);
  });
});

test("turning points", () => {
  const wsd = (step: number) => learningRate("wsd", step, 1000, 1);
  expect([wsd(1), wsd(10), wsd(500), wsd(850), wsd(1000)]).toEqual([Math.fround(0.1), 1, 1, 1, 0]);
  const two = (step: number) => learningRate("two-stage", step, 1000, 1.5e-3);
  expect([two(10), two(500), two(501), two(1000)]).toEqual(
    [1.5e-3, 0.75e-3, 1e-3 * 0.499, 0].map(Math.fround),
  );
});

test("two-stage weight decay is gone after the middle", () => {
  const decay = (step: number) => weightDecay("two-stage", step, 1001, 0.1);
  const wd = Math.fround(0.1);
  expect([decay(1), decay(500), decay(501), decay(1001)]).toEqual([wd, wd, 0, 0]);
  expect(weightDecay("constant", 1001, 1001, 0.1)).toBe(wd);
  expect(weightDecay("two-stage", 1, 1, 0.1)).toBe(0);
});

test("values out of range are refused", () => {
  const refused = (...args: Parameters<typeof learningRate>) => codeOf(() => learningRate(...args));
  expect(refused("wsd", 1001, 1000, 1)).toBe("NATIVE_INVALID");
  expect(refused("wsd", 0, 1000, 1)).toBe("NATIVE_INVALID");
  expect(refused("wsd", 1, 1000, 11)).toBe("NATIVE_INVALID");
  expect(codeOf(() => weightDecay("two-stage", 1, 10, 2))).toBe("NATIVE_INVALID");
  expect(codeOf(() => weightDecay("two-stage", 11, 10, 0.1))).toBe("NATIVE_INVALID");
});
