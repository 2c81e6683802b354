/**
 * Muon against an independent float64 implementation, its promises (orthogonal directions of RMS 0.2
 * whatever the shape, the same bits for every thread count), and what it leaves to AdamW.
 */
import { describe, expect, test } from "bun:test";
import { seededRandom } from "../../src/core/random.ts";
import { type ModelConfig, PRESETS, tensorInfos } from "../../src/model/config.ts";
import type { OptimizerStep } from "../../src/model/optimizer.ts";
import { Trainer } from "../../src/model/trainer.ts";
import { ops } from "../../src/native/ops.ts";

type Matrix = { rows: number; cols: number; at: Float64Array };

const zeros = (rows: number, cols: number): Matrix => ({
  rows,
  cols,
  at: new Float64Array(rows * cols),
});
const transpose = (a: Matrix): Matrix => {
  const t = zeros(a.cols, a.rows);
  for (let i = 0; i < a.rows; i++)
    for (let j = 0; j < a.cols; j++) t.at[j * a.rows + i] = a.at[i * a.cols + j]!;
  return t;
};
const product = (a: Matrix, b: Matrix): Matrix => {
  const c = zeros(a.rows, b.cols);
  for (let i = 0; i < a.rows; i++)
    for (let k = 0; k < a.cols; k++)
      for (let j = 0; j < b.cols; j++)
        c.at[i * b.cols + j]! += a.at[i * a.cols + k]! * b.at[k * b.cols + j]!;
  return c;
};
const combine = (...terms: [number, Matrix][]): Matrix => {
  const sum = zeros(terms[0]![1].rows, terms[0]![1].cols);
  for (const [factor, m] of terms) for (const [i, v] of m.at.entries()) sum.at[i]! += factor * v;
  return sum;
};
const normOf = (x: Float64Array | Float32Array) =>
  Math.sqrt(Array.from(x).reduce((s, v) => s + v * v, 0));

/** Newton-Schulz in float64, on the wide side. */
function orthogonal(g: Matrix): Matrix {
  if (g.rows > g.cols) return transpose(orthogonal(transpose(g)));
  let x = combine([1 / (normOf(g.at) + 1e-7), g]);
  for (let step = 0; step < 5; step++) {
    const gram = product(x, transpose(x));
    const poly = combine([-4.775, gram], [2.0315, product(gram, gram)]);
    x = combine([3.4445, x], [1, product(poly, x)]);
  }
  return x;
}

const RATES = { lr: 0.02, beta1: 0.9, beta2: 0.98, eps: 1e-8, weight_decay: 0.1 };
const MOMENTUM = 0.95;

function packed(change: { clip?: number; weight_decay?: number; lr?: number } = {}): Uint8Array {
  const o = { ...RATES, clip: 0, ...change };
  const view = new DataView(new ArrayBuffer(48));
  view.setUint32(0, 1, true);
  const floats = [o.lr, o.beta1, o.beta2, o.eps, o.weight_decay, o.clip, MOMENTUM];
  for (const [i, value] of floats.entries()) view.setFloat32(4 + 4 * i, value, true);
  view.setBigUint64(32, 1n, true);
  return new Uint8Array(view.buffer);
}

const random = seededRandom(17);
const randomly = (n: number, scale: number) =>
  Float32Array.from({ length: n }, () => scale * (random.next() + random.next() - 1));

for (const [rows, cols] of [
  [24, 24],
  [13, 40],
  [70, 9],
  [1, 33],
] as const)
  describe(`${rows} x ${cols}`, () => {
    test("three steps agree with float64: momentum, clip, decay, direction", () => {
      const p = randomly(rows * cols, 0.1);
      const m = new Float32Array(p.length);
      let expected: Matrix = { rows, cols, at: Float64Array.from(p) };
      let momentum = zeros(rows, cols);
      const clip = 0.5;
      for (let step = 0; step < 3; step++) {
        const g = randomly(p.length, 2);
        ops.mg_op_muon(2, packed({ clip }), g, p, m, rows, cols);
        const exact: Matrix = { rows, cols, at: Float64Array.from(g) };
        const clipped = combine([Math.min(1, clip / (normOf(g) + 1e-6)), exact]);
        momentum = combine([MOMENTUM, momentum], [1, clipped]);
        const direction = orthogonal(combine([1, clipped], [MOMENTUM, momentum]));
        const size = RATES.lr * 0.2 * Math.sqrt(Math.max(rows, cols));
        expected = combine([1 - RATES.lr * RATES.weight_decay, expected], [-size, direction]);
      }
      const error = (x: Float32Array, y: Float64Array) => normOf(x.map((v, i) => v - y[i]!));
      expect(error(m, momentum.at) / normOf(momentum.at)).toBeLessThan(1e-6);
      expect(error(p, expected.at) / normOf(expected.at)).toBeLessThan(1e-5);
    });

    test("the direction is nearly orthogonal and of RMS about 0.2", () => {
      const p = new Float32Array(rows * cols);
      const g = randomly(p.length, 1);
      ops.mg_op_muon(
        1,
        packed({ weight_decay: 0, lr: 1 }),
        g,
        p,
        new Float32Array(p.length),
        rows,
        cols,
      );
      const rms = normOf(p) / Math.sqrt(p.length);
      expect(rms).toBeGreaterThan(0.2 * 0.65);
      expect(rms).toBeLessThan(0.2 * 1.25);
      // Singular values: of every direction in the row space, between those of the polynomial.
      const size = 0.2 * Math.sqrt(Math.max(rows, cols));
      const u: Matrix = { rows, cols, at: Float64Array.from(p, (v) => -v / size) };
      const wide = rows <= cols ? u : transpose(u);
      const gram = product(wide, transpose(wide));
      for (let trial = 0; trial < 50; trial++) {
        const x: Matrix = {
          rows: wide.rows,
          cols: 1,
          at: Float64Array.from(randomly(wide.rows, 1)),
        };
        const stretched = Math.sqrt(product(transpose(x), product(gram, x)).at[0]!) / normOf(x.at);
        expect(stretched).toBeGreaterThan(0.6);
        expect(stretched).toBeLessThan(1.25);
      }
      // The sign of the gradient's own direction: a step down.
      expect(p.reduce((s, v, i) => s + v * g[i]!, 0)).toBeLessThan(0);
    });

    test("the same bits for every thread count", () => {
      const g = randomly(rows * cols, 1);
      const run = (threads: number) => {
        const p = new Float32Array(g.length).fill(0.5);
        const m = new Float32Array(g.length);
        for (let i = 0; i < 2; i++) ops.mg_op_muon(threads, packed(), g, p, m, rows, cols);
        return [p, m];
      };
      for (const threads of [2, 3, 8]) expect(run(threads)).toEqual(run(1));
    });
  });

test("no gradient: the weights only decay", () => {
  const p = new Float32Array(12).fill(1);
  ops.mg_op_muon(1, packed(), new Float32Array(12), p, new Float32Array(12), 3, 4);
  expect([...new Set(p)]).toEqual([Math.fround(1 - 0.002)]);
});

describe("in a trainer", () => {
  const config: ModelConfig = { ...PRESETS.tiny!, vocab_size: 97, context: 12 };
  const step: OptimizerStep = { ...RATES, clip: 1, momentum: MOMENTUM, step: 1 };
  const tokens = Int32Array.from({ length: 26 }, (_, i) => (i * 31) % 97);
  const create = (optimizer: "adamw" | "muon") =>
    Trainer.create(config, { batch: 2, context: 12, threads: 2, optimizer });

  test("embedding and norms go on with AdamW, the matrices of the blocks do not", async () => {
    const [muon, adamw] = [create("muon"), create("adamw")];
    for (const trainer of [muon, adamw]) await trainer.initialise(3n);
    for (let i = 1; i <= 2; i++) {
      muon.params.set(adamw.params); // the same gradient in both
      await muon.step(tokens, 1, { ...step, kind: "muon", step: i });
      await adamw.step(tokens, 1, { ...step, step: i });
    }
    for (const { name, offset, rows, cols, is_ternary } of tensorInfos(config)) {
      const of = (x: Float32Array) => x.slice(offset, offset + rows * cols);
      if (is_ternary) {
        expect(of(muon.params), name).not.toEqual(of(adamw.params));
        expect(
          of(muon.v).every((x) => x === 0),
          name,
        ).toBe(true);
      } else {
        expect(of(muon.params), name).toEqual(of(adamw.params));
        expect(of(muon.v), name).toEqual(of(adamw.v));
      }
    }
    muon.close();
    adamw.close();
  });

  test("it learns, and a trainer made for the other optimizer refuses", async () => {
    const trainer = create("muon");
    await trainer.initialise(4n);
    const losses: number[] = [];
    for (let i = 1; i <= 30; i++)
      losses.push((await trainer.step(tokens, 1, { ...step, kind: "muon", step: i })).loss);
    expect(losses.at(-1)!).toBeLessThan(losses[0]! / 2);
    const refused = await trainer.step(tokens, 1, step).catch((error) => error);
    expect(refused.code).toBe("NATIVE_INVALID");
    expect(refused.message).toContain("made for the other optimizer");
    trainer.close();
  });
});
