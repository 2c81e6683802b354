/**
 * The golden file of ORPO against one backend at one precision: loss, log odds, log-probs and the
 * gradient of every tensor.
 */
import { describe, expect, test } from "bun:test";
import type { PairTokens } from "../../src/model/orpo.ts";
import { Trainer } from "../../src/model/trainer.ts";
import { IGNORED_TARGET } from "../../src/model/trainer-types.ts";
import { GoldenFile, relativeL2, worstTensor } from "./golden-file.ts";
import type { Backend } from "./train-golden.ts";

export class OrpoGolden {
  readonly config;
  readonly beta: number;
  readonly pairs: number;
  readonly width: number;

  private constructor(readonly file: GoldenFile) {
    this.config = file.config();
    this.beta = file.json<number>("beta");
    [this.pairs, this.width] = file.shape("ids_chosen") as [number, number];
  }

  static async open(): Promise<OrpoGolden> {
    return new OrpoGolden(await GoldenFile.open("orpo_small"));
  }

  /** The first `columns` of the rows of two arrays in turn. */
  #interleaved(name: string, columns: number): Int32Array {
    const { pairs, width, file } = this;
    const out = new Int32Array(2 * pairs * columns);
    for (let i = 0; i < pairs; i++)
      for (const [k, side] of ["chosen", "rejected"].entries()) {
        const row = file.i32(`${name}_${side}`).subarray(i * width, i * width + columns);
        out.set(row, (2 * i + k) * columns);
      }
    return out;
  }

  batch(columns = this.width): PairTokens {
    return {
      tokens: this.#interleaved("ids", columns),
      labels: this.#interleaved("labels", columns),
      ...{ pairs: this.pairs, width: columns, accumulate: 1 },
    };
  }

  async trainer(options: { batch?: number; threads?: number } & Backend = {}): Promise<Trainer> {
    const context = this.width - 1;
    const all = { batch: 2 * this.pairs, threads: 1, context, ...options };
    const trainer = Trainer.create(this.config, all);
    await trainer.setParams(this.file.arena("w0"));
    return trainer;
  }
}

const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;

/** `value`: of losses and log-probs, nats; the others as in train-golden.ts. */
export function describeOrpo(
  golden: OrpoGolden,
  {
    tolerances,
    on = {},
    timeout_ms = 5000,
  }: {
    tolerances: { value: number; gradient: number; tensor: number };
    on?: Backend;
    timeout_ms?: number;
  },
): void {
  const { file, config, beta, pairs } = golden;
  describe("orpo_small", () => {
    test(
      "loss, log odds, log-probs and gradient",
      async () => {
        const trainer = await golden.trainer(on);
        const result = await trainer.orpo(golden.batch(), { beta, optimizer: null });
        const near = (value: number, key: string) => {
          const expected = file.json<number | number[]>(`${key}_f64`);
          const one = typeof expected === "number" ? expected : mean(expected);
          expect(Math.abs(value - one), key).toBeLessThan(tolerances.value);
        };
        near(result.loss, "loss");
        near(result.nll, "nll");
        near(result.log_odds, "log_odds_ratio");
        near(result.logp_chosen, "logp_chosen");
        near(result.logp_rejected, "logp_rejected");
        const chosen = file.json<number[]>("logp_chosen_f64");
        const rejected = file.json<number[]>("logp_rejected_f64");
        expect(result.wins).toBe(chosen.filter((p, i) => p > rejected[i]!).length);
        const counted = golden.batch().labels.filter((id) => id !== IGNORED_TARGET);
        expect(result.tokens).toBe(counted.length);
        await trainer.pull("grad");
        const expected = file.arena("grad_f64");
        expect(relativeL2(trainer.grad, expected)).toBeLessThan(tolerances.gradient);
        const worst = worstTensor(config, trainer.grad, expected);
        expect(worst.error, worst.name).toBeLessThan(tolerances.tensor);
        const norm = Math.sqrt(expected.reduce((sum, g) => sum + g * g, 0));
        expect(Math.abs(result.grad_norm / norm - 1)).toBeLessThan(tolerances.gradient);
        trainer.close();
      },
      timeout_ms,
    );

    test(
      "log-probs of each sequence",
      async () => {
        const trainer = await golden.trainer(on);
        const { sums, counts } = await trainer.logProbs(golden.batch(), 2 * pairs);
        for (const [k, side] of ["chosen", "rejected"].entries())
          for (const [i, expected] of file.json<number[]>(`logp_${side}_f64`).entries()) {
            const at = 2 * i + k;
            expect(Math.abs(sums[at]! / counts[at]! - expected)).toBeLessThan(tolerances.value);
          }
        trainer.close();
      },
      timeout_ms,
    );
  });
}
