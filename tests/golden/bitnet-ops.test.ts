/**
 * Single kernels against float64 results rounded to float32 (tests/golden/bitnet/README.md): relative L2
 * at most 1e-6, ternary weights and int8 activations exact.
 */
import { describe, expect, test } from "bun:test";
import { ops } from "../../src/native/ops.ts";
import { GoldenFile, relativeL2 } from "./golden-file.ts";

const TOLERANCE = 1e-6;
const file = await GoldenFile.open("ops");
const f = (name: string) => file.f32(name);
const like = (name: string) => new Float32Array(f(name).length);

/** (a, b, c, d) -> (a, c, b, d): the file keeps heads outside positions, the library inside. */
function swapMiddle(x: Float32Array, [a, b, c, d]: number[]): Float32Array {
  const out = new Float32Array(x.length);
  for (let i = 0; i < a!; i++)
    for (let j = 0; j < b!; j++)
      for (let k = 0; k < c!; k++) {
        const from = ((i * b! + j) * c! + k) * d!;
        out.set(x.subarray(from, from + d!), ((i * c! + k) * b! + j) * d!);
      }
  return out;
}

function packAdamW(values: number[], step: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(48));
  for (const [i, value] of values.entries()) view.setFloat32(4 + 4 * i, value, true);
  view.setBigUint64(32, BigInt(step), true);
  return new Uint8Array(view.buffer);
}

for (const threads of [1, 3])
  describe(`golden ops, ${threads} threads`, () => {
    test("rmsnorm", () => {
      const [rows, n] = file.shape("rmsnorm/in/x") as [number, number];
      const [x, w] = [f("rmsnorm/in/x"), f("rmsnorm/in/w")];
      const out = like("rmsnorm/out");
      ops.mg_op_rmsnorm(threads, x, w, rows, n, 1e-5, out);
      expect(relativeL2(out, f("rmsnorm/out"))).toBeLessThan(TOLERANCE);
      const [dx, dw] = [like("rmsnorm/in/x"), like("rmsnorm/in/w")];
      ops.mg_op_rmsnorm_backward(threads, x, w, f("rmsnorm/dout"), rows, n, 1e-5, dx, dw);
      expect(relativeL2(dx, f("rmsnorm/grad/x"))).toBeLessThan(TOLERANCE);
      expect(relativeL2(dw, f("rmsnorm/grad/w"))).toBeLessThan(TOLERANCE);
    });

    test("rope", () => {
      const [sequences, heads, context, dim] = file.shape("rope/in/x") as [
        number,
        number,
        number,
        number,
      ];
      const x = f("rope/in/x");
      const rows = sequences * heads * context;
      ops.mg_op_rope(threads, x, rows, context, 1, dim, 10_000, 0);
      expect(relativeL2(x, f("rope/out"))).toBeLessThan(TOLERANCE);
      const dx = f("rope/dout");
      ops.mg_op_rope(threads, dx, rows, context, 1, dim, 10_000, 1);
      expect(relativeL2(dx, f("rope/grad/x"))).toBeLessThan(TOLERANCE);
    });

    test("swiglu", () => {
      const [gate, up] = [f("swiglu/in/g"), f("swiglu/in/u")];
      const h = like("swiglu/out");
      ops.mg_op_swiglu(gate, up, h.length, h);
      expect(relativeL2(h, f("swiglu/out"))).toBeLessThan(TOLERANCE);
      const [dgate, dup] = [like("swiglu/in/g"), like("swiglu/in/u")];
      ops.mg_op_swiglu_backward(gate, up, f("swiglu/dout"), h.length, dgate, dup);
      expect(relativeL2(dgate, f("swiglu/grad/g"))).toBeLessThan(TOLERANCE);
      expect(relativeL2(dup, f("swiglu/grad/u"))).toBeLessThan(TOLERANCE);
    });

    test("gqa", () => {
      const q_shape = file.shape("gqa/in/q");
      const kv_shape = file.shape("gqa/in/k");
      const [sequences, heads, context, dim] = q_shape as [number, number, number, number];
      const kv_heads = kv_shape[1]!;
      const q = swapMiddle(f("gqa/in/q"), q_shape);
      const k = swapMiddle(f("gqa/in/k"), kv_shape);
      const v = swapMiddle(f("gqa/in/v"), kv_shape);
      const expected = (name: string, shape: number[]) => swapMiddle(f(`gqa/${name}`), shape);
      const o = new Float32Array(q.length);
      ops.mg_op_gqa(threads, q, k, v, sequences, context, heads, kv_heads, dim, o);
      expect(relativeL2(o, expected("out", q_shape))).toBeLessThan(TOLERANCE);
      const d_o = expected("dout", q_shape);
      const [dq, dk, dv] = [q, k, v].map((x) => new Float32Array(x.length)) as [
        Float32Array,
        Float32Array,
        Float32Array,
      ];
      ops.mg_op_gqa_backward(
        threads,
        q,
        k,
        v,
        d_o,
        sequences,
        context,
        heads,
        kv_heads,
        dim,
        dq,
        dk,
        dv,
      );
      expect(relativeL2(dq, expected("grad/q", q_shape))).toBeLessThan(TOLERANCE);
      expect(relativeL2(dk, expected("grad/k", kv_shape))).toBeLessThan(TOLERANCE);
      expect(relativeL2(dv, expected("grad/v", kv_shape))).toBeLessThan(TOLERANCE);
    });

    test("bitlinear, codes and scales exact", () => {
      const [rows, k] = file.shape("bitlinear/in/x") as [number, number];
      const n = file.shape("bitlinear/in/w")[0]!;
      const [x, w] = [f("bitlinear/in/x"), f("bitlinear/in/w")];
      const y = like("bitlinear/out");
      const [t, q] = [new Int8Array(n * k), new Int8Array(rows * k)];
      const [w_inverse, x_inverse] = [new Float32Array(1), new Float32Array(rows)];
      ops.mg_op_bitlinear(threads, x, w, rows, n, k, y, t, w_inverse, q, x_inverse);
      expect([...t]).toEqual([...file.i32("bitlinear/w_ternary")]);
      expect([...q]).toEqual([...file.i32("bitlinear/x_int8")]);
      const scales = x_inverse.map((s) => 1 / s);
      expect(relativeL2(scales, f("bitlinear/x_scale"))).toBeLessThan(TOLERANCE);
      const w_scale = Number(file.metadata.bitlinear_w_scale_mul);
      expect(Math.abs(w_inverse[0]! * w_scale - 1)).toBeLessThan(TOLERANCE);
      expect(relativeL2(y, f("bitlinear/out"))).toBeLessThan(TOLERANCE);
      const [dx, dw] = [like("bitlinear/in/x"), like("bitlinear/in/w")];
      ops.mg_op_bitlinear_backward(threads, x, w, f("bitlinear/dout"), rows, n, k, dx, dw);
      expect(relativeL2(dx, f("bitlinear/grad/x"))).toBeLessThan(TOLERANCE);
      expect(relativeL2(dw, f("bitlinear/grad/w"))).toBeLessThan(TOLERANCE);
    });

    test("cross_entropy with ignored targets", () => {
      const [rows, vocab] = file.shape("cross_entropy/in/logits") as [number, number];
      const loss = new Float64Array(1);
      const dlogits = like("cross_entropy/in/logits");
      const targets = file.i32("cross_entropy/in/target");
      expect(targets).toContain(-100);
      const logits = f("cross_entropy/in/logits");
      ops.mg_op_cross_entropy(logits, targets, rows, vocab, loss, dlogits);
      expect(Math.abs(loss[0]! / f("cross_entropy/out")[0]! - 1)).toBeLessThan(TOLERANCE);
      const scale = f("cross_entropy/dout")[0]!;
      const grad = dlogits.map((d) => d * scale);
      expect(relativeL2(grad, f("cross_entropy/grad/logits"))).toBeLessThan(TOLERANCE);
    });

    test("tied embedding: tanh(w[ids]) w^T", () => {
      const [vocab, width] = file.shape("embed_tied/in/w") as [number, number];
      const w = f("embed_tied/in/w");
      const ids = file.i32("embed_tied/in/ids");
      const rows = ids.length;
      const x = new Float32Array(rows * width);
      ops.mg_op_embed(w, ids, rows, width, vocab, x);
      const h = x.map(Math.tanh);
      const out = like("embed_tied/out");
      ops.mg_op_gemm(threads, rows, vocab, width, h, 0, w, 1, 0, out);
      expect(relativeL2(out, f("embed_tied/out"))).toBeLessThan(TOLERANCE);
      const dout = f("embed_tied/dout");
      const dh = new Float32Array(rows * width);
      ops.mg_op_gemm(threads, rows, width, vocab, dout, 0, w, 0, 0, dh);
      const dw = like("embed_tied/in/w");
      ops.mg_op_gemm(threads, vocab, width, rows, dout, 1, h, 0, 1, dw);
      const dx = dh.map((d, i) => d * (1 - h[i]! ** 2));
      ops.mg_op_embed_backward(dx, ids, rows, width, vocab, dw);
      expect(relativeL2(dw, f("embed_tied/grad/w"))).toBeLessThan(TOLERANCE);
    });

    test("four AdamW steps", () => {
      const p = f("adamw/p0");
      const [m, v] = [like("adamw/p0"), like("adamw/p0")];
      for (let step = 1; step <= 4; step++) {
        const packed = packAdamW([1e-3, 0.9, 0.95, 1e-8, 0.1, 0], step);
        ops.mg_op_adamw(threads, packed, f(`adamw/grad${step - 1}`), p, m, v, p.length);
        expect(relativeL2(p, f(`adamw/p${step}`))).toBeLessThan(TOLERANCE);
      }
      expect(relativeL2(m, f("adamw/m4"))).toBeLessThan(TOLERANCE);
      expect(relativeL2(v, f("adamw/v4"))).toBeLessThan(TOLERANCE);
    });
  });
