/**
 * Prints one digest per row kernel, size and kind of values: run under every MAGNET_CPU, the lines
 * must be the same. Sizes cover every remainder of a vector; values also any bit pattern,
 * subnormals, and rows with single infinities and NaN. Which NaN comes out is not part of the
 * promise (the order of an addition's operands decides it), that one comes out is.
 */
import { ops } from "../../src/native/ops.ts";

let state = 54_321;
function random(below: number): number {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
}

const SPECIAL = [
  0,
  -0,
  0.5,
  -1.5,
  2.5,
  88.3,
  -87.3,
  -87.4,
  -103,
  1e-45,
  -1e-45,
  1.2e-38,
  3.4e38,
  -3.4e38,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  Number.NaN,
];
const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);
/** A float32 of random bits under a mask. */
function fromBits(mask: number): number {
  bits[0] = (random(2 ** 16) * 2 ** 16 + random(2 ** 16)) & mask;
  return float[0]!;
}
const plain = () => (random(1 << 24) - (1 << 23)) / (1 << 21);
const KINDS: Record<string, () => number> = {
  plain,
  bits: () => fromBits(0xffffffff),
  subnormal: () => fromBits(0x80ffffff),
  special: () => (random(24) === 0 ? SPECIAL[random(SPECIAL.length)]! : plain()),
};
const filled = (length: number, value: () => number) => Float32Array.from({ length }, value);

/** The bits of x, with one NaN for all. */
function bitsOf(x: Float32Array): Uint32Array {
  const words = new Uint32Array(x.buffer, x.byteOffset, x.length).slice();
  for (const [i, value] of x.entries()) if (Number.isNaN(value)) words[i] = 0x7fc00000;
  return words;
}

function print(name: string, ...results: (Float32Array | Float64Array | Int8Array)[]) {
  const hash = new Bun.CryptoHasher("sha256");
  for (const x of results)
    if (x instanceof Float32Array) hash.update(bitsOf(x));
    else if (x instanceof Float64Array) hash.update(x.join());
    else hash.update(x);
  process.stdout.write(`${name} ${hash.digest("hex").slice(0, 16)}\n`);
}

function norms(label: string, rows: number, n: number, value: () => number) {
  const [x, w, dy] = [filled(rows * n, value), filled(n, plain), filled(rows * n, value)];
  const [out, dx, dw] = [new Float32Array(rows * n), new Float32Array(rows * n), filled(n, plain)];
  ops.mg_op_rmsnorm(1, x, w, rows, n, 1e-5, out);
  ops.mg_op_rmsnorm_backward(2, x, w, dy, rows, n, 1e-5, dx, dw);
  print(`rmsnorm ${label}`, out, dx, dw);
}

function swiglu(label: string, n: number, value: () => number) {
  const [gate, up, dh] = [filled(n, value), filled(n, value), filled(n, value)];
  const [h, dgate, dup] = [new Float32Array(n), new Float32Array(n), new Float32Array(n)];
  ops.mg_op_swiglu(gate, up, n, h);
  ops.mg_op_swiglu_backward(gate, up, dh, n, dgate, dup);
  print(`swiglu ${label}`, h, dgate, dup);
}

function loss(label: string, rows: number, n: number, value: () => number) {
  const targets = Int32Array.from({ length: rows }, () => random(n));
  const [nll, d] = [new Float64Array(1), new Float32Array(rows * n)];
  ops.mg_op_cross_entropy(filled(rows * n, value), targets, rows, n, nll, d);
  print(`cross_entropy ${label}`, nll, d);
}

function rope(label: string, rows: number, n: number, value: () => number) {
  const x = filled(rows * 2 * n, value);
  const back = x.slice();
  ops.mg_op_rope(1, x, rows, rows, 1, 2 * n, 10_000, 0);
  ops.mg_op_rope(1, back, rows, rows, 1, 2 * n, 10_000, 1);
  print(`rope ${label}`, x, back);
}

function adamw(label: string, n: number, value: () => number) {
  const [g, p, m] = [filled(n, value), filled(n, plain), filled(n, value)];
  const v = filled(n, value).map(Math.abs);
  const optimizer = new DataView(new ArrayBuffer(48));
  // Clipping would spread one NaN of the gradient over every element.
  const clip = value === plain ? 1 : 0;
  for (const [i, x] of [1e-3, 0.9, 0.95, 1e-8, 0.1, clip].entries())
    optimizer.setFloat32(4 + 4 * i, x, true);
  optimizer.setBigUint64(32, BigInt(1 + random(5)), true);
  ops.mg_op_adamw(1, new Uint8Array(optimizer.buffer), g, p, m, v, n);
  print(`adamw ${label}`, p, m, v);
}

/** Codes and scales of the quantisers; the product itself is op-digest's. */
function quantise(label: string, rows: number, k: number, value: () => number) {
  const [x, w] = [filled(rows * k, value), filled(2 * k, plain)];
  const [y, inverse] = [new Float32Array(rows * 2), new Float32Array(1)];
  const [t, q, inverses] = [new Int8Array(2 * k), new Int8Array(rows * k), new Float32Array(rows)];
  ops.mg_op_bitlinear(1, x, w, rows, 2, k, y, t, inverse, q, inverses);
  print(`quantise ${label}`, t, inverse, q, inverses, y);
}

/** Every remainder of one and two vectors, then larger rows. */
const sizes = Array.from({ length: 70 }, (_, i) => i + 1);
for (let i = 0; i < 30; i++) sizes.push(71 + random(i % 5 === 0 ? 6000 : 300));
for (const n of sizes)
  for (const [kind, value] of Object.entries(KINDS)) {
    const rows = 1 + random(3);
    const label = `${rows}x${n} ${kind}`;
    norms(label, rows, n, value);
    swiglu(label, rows * n, value);
    loss(label, rows, n, value);
    rope(label, rows, n, value);
    adamw(label, n, value);
    quantise(label, rows, n, value);
  }
