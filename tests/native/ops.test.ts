/**
 * Kernels at sizes the golden vectors do not reach (several blocks of every kind, odd edges),
 * against plain float64 loops or, where the arithmetic is exact, to the last bit.
 */
import { describe, expect, test } from "bun:test";
import { ops } from "../../src/native/ops.ts";

/** Deterministic values in [-1, 1). */
function values(length: number, seed: number): Float32Array {
  let state = seed >>> 0;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

function worst(actual: Float32Array, expected: Float64Array): number {
  let scale = 0;
  let most = 0;
  for (let i = 0; i < expected.length; i++) {
    scale = Math.max(scale, Math.abs(expected[i]!));
    most = Math.max(most, Math.abs(actual[i]! - expected[i]!));
  }
  return most / scale;
}

describe("gemm", () => {
  const shapes: [number, number, number][] = [
    [1, 1, 1],
    [7, 17, 5],
    [101, 35, 300],
    [6, 600, 258],
    [200, 40, 520],
  ];
  for (const [m, n, k] of shapes)
    for (const [ta, tb] of [
      [0, 0],
      [0, 1],
      [1, 0],
      [1, 1],
    ] as const)
      test(`${m}x${n}x${k}${ta ? " A^T" : ""}${tb ? " B^T" : ""}`, () => {
        const [a, b, c] = [values(m * k, 1), values(k * n, 2), values(m * n, 3)];
        const expected = Float64Array.from(c);
        for (let i = 0; i < m; i++)
          for (let j = 0; j < n; j++)
            for (let p = 0; p < k; p++)
              expected[i * n + j]! +=
                a[ta ? p * m + i : i * k + p]! * b[tb ? j * k + p : p * n + j]!;
        ops.mg_op_gemm(2, m, n, k, a, ta, b, tb, 1, c);
        expect(worst(c, expected)).toBeLessThan(3e-6);
      });
});

describe("bitlinear", () => {
  for (const [rows, n, k] of [
    [1, 1, 2],
    [5, 19, 31],
    [13, 300, 1030],
  ] as const)
    test(`integer product of ${rows}x${n}x${k} is exact`, () => {
      const [x, w] = [values(rows * k, 4), values(n * k, 5)];
      const y = new Float32Array(rows * n);
      const [t, q] = [new Int8Array(n * k), new Int8Array(rows * k)];
      const [w_inverse, x_inverse] = [new Float32Array(1), new Float32Array(rows)];
      ops.mg_op_bitlinear(2, x, w, rows, n, k, y, t, w_inverse, q, x_inverse);
      expect(Math.max(...t)).toBeLessThanOrEqual(1);
      expect(Math.max(...q.map(Math.abs))).toBe(127);
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < n; j++) {
          let sum = 0;
          for (let p = 0; p < k; p++) sum += q[i * k + p]! * t[j * k + p]!;
          const scale = Math.fround(x_inverse[i]! * w_inverse[0]!);
          expect(y[i * n + j]).toBe(Math.fround(sum * scale));
        }
    });
});

test("sizes whose product would overflow are refused before anything is allocated", () => {
  const some = new Float32Array(16);
  const huge = [1 << 20, 1 << 20, 1 << 20, 1, 1 << 20] as const;
  expect(() => ops.mg_op_gqa(1, some, some, some, ...huge, some)).toThrow("at most 2^20 each");
});

describe("gqa over several query blocks", () => {
  const [sequences, context, heads, kv_heads, dim] = [2, 113, 4, 2, 10] as const;
  const shape = [sequences, context, heads, kv_heads, dim] as const;
  const q = values(sequences * context * heads * dim, 6);
  const [k, v] = [7, 8].map((seed) => values(sequences * context * kv_heads * dim, seed)) as [
    Float32Array,
    Float32Array,
  ];

  /** Plain attention in float64. */
  function reference(): Float64Array {
    const out = new Float64Array(q.length);
    for (let s = 0; s < sequences; s++)
      for (let h = 0; h < heads; h++)
        for (let i = 0; i < context; i++) {
          const kv = Math.floor(h / (heads / kv_heads));
          const at = ((s * context + i) * heads + h) * dim;
          const row = (j: number) => ((s * context + j) * kv_heads + kv) * dim;
          const weights: number[] = [];
          for (let j = 0; j <= i; j++) {
            let dot = 0;
            for (let d = 0; d < dim; d++) dot += q[at + d]! * k[row(j) + d]!;
            weights.push(Math.exp(dot / Math.sqrt(dim)));
          }
          const total = weights.reduce((x, y) => x + y);
          for (const [j, weight] of weights.entries())
            for (let d = 0; d < dim; d++) out[at + d]! += (weight / total) * v[row(j) + d]!;
        }
    return out;
  }

  test("forward", () => {
    const o = new Float32Array(q.length);
    ops.mg_op_gqa(2, q, k, v, ...shape, o);
    expect(worst(o, reference())).toBeLessThan(1e-6);
  });

  test("backward agrees with directional differences", () => {
    const d_o = values(q.length, 9);
    const gradients = [q, k, v].map((x) => new Float32Array(x.length));
    const [dq, dk, dv] = gradients as [Float32Array, Float32Array, Float32Array];
    ops.mg_op_gqa_backward(2, q, k, v, d_o, ...shape, dq, dk, dv);
    const objective = (inputs: Float32Array[]) => {
      const o = new Float32Array(q.length);
      ops.mg_op_gqa(2, inputs[0]!, inputs[1]!, inputs[2]!, ...shape, o);
      return o.reduce((sum, x, i) => sum + x * d_o[i]!, 0);
    };
    for (const which of [0, 1, 2]) {
      const inputs = [q, k, v];
      const direction = values(inputs[which]!.length, 10 + which);
      const moved = (h: number) =>
        inputs.map((x, i) => (i === which ? x.map((y, j) => y + h * direction[j]!) : x));
      const h = 1e-2;
      const slope = (objective(moved(h)) - objective(moved(-h))) / (2 * h);
      const predicted = gradients[which]!.reduce((sum, g, i) => sum + g * direction[i]!, 0);
      expect(Math.abs(slope / predicted - 1)).toBeLessThan(2e-3);
    }
  });
});

test("cross-entropy of extreme logits is finite and right", () => {
  const vocab = 1003;
  const logits = values(2 * vocab, 11).map((x) => x * 200);
  const dlogits = new Float32Array(2 * vocab);
  const loss = new Float64Array(1);
  ops.mg_op_cross_entropy(logits, new Int32Array([1002, 5]), 2, vocab, loss, dlogits);
  let expected = 0;
  for (const [row, target] of [1002, 5].entries()) {
    const x = Array.from(logits.subarray(row * vocab, (row + 1) * vocab));
    const top = Math.max(...x);
    const sum = x.reduce((s, y) => s + Math.exp(y - top), 0);
    expected += (Math.log(sum) + top - x[target]!) / 2;
  }
  expect(Math.abs(loss[0]! / expected - 1)).toBeLessThan(1e-6);
  const total = dlogits.reduce((sum, d) => sum + d, 0);
  expect(Math.abs(total)).toBeLessThan(1e-6);
});

describe("odds ratio", () => {
  function oddsRatio(pairs: [number, number][]) {
    const n = pairs.length;
    const [log_odds, loss, d_chosen, d_rejected] = Array.from(
      { length: 4 },
      () => new Float64Array(n),
    ) as [Float64Array, Float64Array, Float64Array, Float64Array];
    const chosen = Float64Array.from(pairs, ([p]) => p);
    const rejected = Float64Array.from(pairs, ([, p]) => p);
    ops.mg_op_odds_ratio(chosen, rejected, n, log_odds, loss, d_chosen, d_rejected);
    return { log_odds, loss, d_chosen, d_rejected };
  }
  const PROBABILITIES = [-1e-6, -1e-3, -0.5, -Math.LN2, -0.7, -1, -3.3, -12, -40];
  const pairs = PROBABILITIES.flatMap((a) => PROBABILITIES.map((b): [number, number] => [a, b]));

  test("agrees with the formulas, also close to probability 1 and far from it", () => {
    const result = oddsRatio(pairs);
    const near = (value: number, expected: number) =>
      expect(Math.abs(value - expected)).toBeLessThanOrEqual(
        4e-14 * Math.max(1, Math.abs(expected)),
      );
    for (const [i, [w, l]] of pairs.entries()) {
      const logOdds = w - l - (Math.log(-Math.expm1(w)) - Math.log(-Math.expm1(l)));
      const wrong = 1 / (1 + Math.exp(logOdds));
      near(result.log_odds[i]!, logOdds);
      near(result.loss[i]!, Math.log1p(Math.exp(-Math.abs(logOdds))) + Math.max(-logOdds, 0));
      near(result.d_chosen[i]!, wrong / Math.expm1(w));
      near(result.d_rejected[i]!, -wrong / Math.expm1(l));
    }
  });

  test("stays finite at probability 1 and at 0", () => {
    const { log_odds, loss, d_chosen, d_rejected } = oddsRatio([
      [0, -5],
      [-5, 0],
      [0, 0],
      [-900, -1],
      [-1, -900],
    ]);
    for (const values of [log_odds, loss, d_chosen, d_rejected])
      for (const value of values) expect(Number.isFinite(value)).toBe(true);
    expect(log_odds[2]).toBe(0);
    expect(() => oddsRatio([[1e-9, -1]])).toThrow("above 0");
    expect(() => oddsRatio([[Number.NaN, -1]])).toThrow("NaN");
  });
});
