/**
 * Prints one digest per kernel and shape, one a line: run under every MAGNET_CPU, the lines must be
 * the same. Shapes are random but fixed: odd edges of every register tile, several blocks of k.
 */
import { ops } from "../../src/native/ops.ts";

let state = 12_345;
function random(below: number): number {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
}
const values = (length: number) =>
  Float32Array.from({ length }, () => (random(1 << 24) - (1 << 23)) / (1 << 23));

function print(name: string, ...results: Float32Array[]) {
  const hash = new Bun.CryptoHasher("sha256");
  for (const result of results) hash.update(result);
  process.stdout.write(`${name} ${hash.digest("hex").slice(0, 16)}\n`);
}

/** Mostly small, some that need several blocks of rows, columns and k. */
function size(most: number): number {
  return 1 + random(random(4) === 0 ? most : Math.min(most, 64));
}

for (let round = 0; round < 60; round++) {
  const [m, n, k] = [size(200), size(300), size(2500)];
  const [ta, tb, accumulate, threads] = [random(2), random(2), random(2), 1 + random(3)];
  const [a, b, c] = [values(m * k), values(k * n), values(m * n)];
  ops.mg_op_gemm(threads, m, n, k, a, ta, b, tb, accumulate, c);
  print(`gemm ${m}x${n}x${k} ${ta}${tb}${accumulate}`, c);
}

for (let round = 0; round < 30; round++) {
  const [rows, n, k, threads] = [size(150), size(300), size(1500), 1 + random(3)];
  const [x, w, dy] = [values(rows * k), values(n * k), values(rows * n)];
  const y = new Float32Array(rows * n);
  const [inverse, inverses] = [new Float32Array(1), new Float32Array(rows)];
  const [t, q] = [new Int8Array(n * k), new Int8Array(rows * k)];
  ops.mg_op_bitlinear(threads, x, w, rows, n, k, y, t, inverse, q, inverses);
  const [dx, dw] = [new Float32Array(rows * k), values(n * k)];
  ops.mg_op_bitlinear_backward(threads, x, w, dy, rows, n, k, dx, dw);
  print(`bitlinear ${rows}x${n}x${k}`, y, dx, dw);
}

for (let round = 0; round < 12; round++) {
  const [sequences, context, kv, group, dim] = [
    1 + random(2),
    size(260),
    1 + random(2),
    1 + random(3),
    2 * (1 + random(40)),
  ];
  const heads = kv * group;
  const [q, d_o] = [1, 2].map(() => values(sequences * context * heads * dim));
  const [k, v] = [1, 2].map(() => values(sequences * context * kv * dim));
  const o = new Float32Array(q!.length);
  const [dq, dk, dv] = [q!, k!, v!].map((x) => new Float32Array(x.length));
  const shape = [sequences, context, heads, kv, dim] as const;
  const threads = 1 + random(3);
  ops.mg_op_gqa(threads, q!, k!, v!, ...shape, o);
  ops.mg_op_gqa_backward(threads, q!, k!, v!, d_o!, ...shape, dq!, dk!, dv!);
  print(`gqa ${shape.join("x")}`, o, dq!, dk!, dv!);
}
