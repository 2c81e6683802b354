/**
 * ORPO against PyTorch (float32 and float64): loss, log odds, log-probs and the gradient of every
 * tensor. Tolerances: tests/golden/bitnet/README.md.
 */
import { describe, expect, test } from "bun:test";
import type { PairTokens } from "../../src/model/orpo.ts";
import { IGNORED_TARGET, Trainer } from "../../src/model/trainer.ts";
import { GoldenFile, worstTensor } from "./golden-file.ts";

const TOLERANCE = 1e-5;
const file = await GoldenFile.open("orpo_small");
const config = file.config();
const beta = file.json<number>("beta");
const [pairs, width] = file.shape("ids_chosen") as [number, number];
const context = width - 1;

/** The first `columns` of the rows of two arrays in turn. */
function interleaved(name: string, columns: number): Int32Array {
  const out = new Int32Array(2 * pairs * columns);
  for (let i = 0; i < pairs; i++)
    for (const [k, side] of ["chosen", "rejected"].entries()) {
      const row = file.i32(`${name}_${side}`).subarray(i * width, i * width + columns);
      out.set(row, (2 * i + k) * columns);
    }
  return out;
}
const batchOf = (columns = width): PairTokens => ({
  tokens: interleaved("ids", columns),
  labels: interleaved("labels", columns),
  ...{ pairs, width: columns, accumulate: 1 },
});

function create(options: { batch?: number; threads?: number } = {}): Trainer {
  const { batch = 2 * pairs, threads = 1 } = options;
  const trainer = Trainer.create(config, { batch, context, threads });
  trainer.params.set(file.arena("w0"));
  return trainer;
}
const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;

describe("orpo_small", () => {
  test("loss, log odds, log-probs and gradient", async () => {
    const trainer = create();
    const result = await trainer.orpo(batchOf(), { beta, optimizer: null });
    const near = (value: number, key: string) => {
      const golden = file.json<number | number[]>(`${key}_f64`);
      const expected = typeof golden === "number" ? golden : mean(golden);
      expect(Math.abs(value - expected), key).toBeLessThan(TOLERANCE);
    };
    near(result.loss, "loss");
    near(result.nll, "nll");
    near(result.log_odds, "log_odds_ratio");
    near(result.logp_chosen, "logp_chosen");
    near(result.logp_rejected, "logp_rejected");
    const chosen = file.json<number[]>("logp_chosen_f64");
    const rejected = file.json<number[]>("logp_rejected_f64");
    expect(result.wins).toBe(chosen.filter((p, i) => p > rejected[i]!).length);
    expect(result.tokens).toBe(batchOf().labels.filter((id) => id !== IGNORED_TARGET).length);
    const worst = worstTensor(config, trainer.grad, file.arena("grad_f64"));
    expect(worst.error, worst.name).toBeLessThan(TOLERANCE);
    const norm = Math.sqrt(file.arena("grad_f64").reduce((sum, g) => sum + g * g, 0));
    expect(Math.abs(result.grad_norm / norm - 1)).toBeLessThan(TOLERANCE);
    trainer.close();
  });

  test("log-probs of each sequence", async () => {
    const trainer = create();
    const batch = batchOf();
    const { sums, counts } = await trainer.logProbs(batch, 2 * pairs);
    for (const [k, side] of ["chosen", "rejected"].entries())
      for (const [i, expected] of file.json<number[]>(`logp_${side}_f64`).entries()) {
        const at = 2 * i + k;
        expect(Math.abs(sums[at]! / counts[at]! - expected)).toBeLessThan(TOLERANCE);
      }
    trainer.close();
  });

  test("pairs in micro-batches of one give the gradient of all at once", async () => {
    const whole = create();
    const all = await whole.orpo(batchOf(), { beta, optimizer: null });
    const single = create({ batch: 2 });
    const options = { beta, optimizer: null };
    const parts = await single.orpo({ ...batchOf(), pairs: 1, accumulate: pairs }, options);
    expect(Math.abs(parts.loss - all.loss)).toBeLessThan(1e-9);
    expect(worstTensor(config, single.grad, whole.grad).error).toBeLessThan(1e-6);
    whole.close();
    single.close();
  });

  test("padding changes nothing", async () => {
    const labels = batchOf().labels;
    const longest = Math.max(
      ...Array.from(labels, (id, i) => (id === IGNORED_TARGET ? 0 : (i % width) + 1)),
    );
    expect(longest).toBeLessThan(width);
    const wide = create();
    const narrow = create({ threads: 2 });
    const expected = await wide.orpo(batchOf(), { beta, optimizer: null });
    expect(await narrow.orpo(batchOf(longest), { beta, optimizer: null })).toEqual(expected);
    expect(narrow.grad).toEqual(wide.grad);
    wide.close();
    narrow.close();
  });

  test("a step follows the gradient: the odds of the chosen responses rise", async () => {
    const trainer = create();
    const adamw = { lr: 1e-3, beta1: 0.9, beta2: 0.98, eps: 1e-8, weight_decay: 0, clip: 1 };
    const losses: number[] = [];
    let log_odds = Number.NEGATIVE_INFINITY;
    for (let step = 1; step <= 5; step++) {
      const result = await trainer.orpo(batchOf(), { beta: 1, optimizer: { ...adamw, step } });
      losses.push(result.loss);
      if (step === 1) log_odds = result.log_odds;
      else if (step === 5) expect(result.log_odds).toBeGreaterThan(log_odds);
    }
    expect(losses).toEqual([...losses].sort((a, b) => b - a));
    trainer.close();
  });
});
