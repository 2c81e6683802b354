import { describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { seededRandom } from "../../src/core/random.ts";
import * as codec from "../../src/native/codec.ts";
import { rejection } from "./rejection.ts";

const random = seededRandom(8);
const floats = (n: number) => Float32Array.from({ length: n }, () => random.next() - 0.5);

/** F32 tensors of the golden file (layout: its README), by name. */
function golden(): Map<string, Float32Array> {
  const file = path.join(import.meta.dir, "../golden/bitnet/diloco_small.safetensors");
  const bytes = fs.readFileSync(file);
  const header_bytes = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + header_bytes).toString()) as Record<
    string,
    { dtype: string; data_offsets: [number, number] }
  >;
  const start = 8 + header_bytes;
  return new Map(
    Object.entries(header)
      .filter(([, t]) => t.dtype === "F32")
      .map(
        ([
          name,
          {
            data_offsets: [from, to],
          },
        ]) => [
          name,
          new Float32Array(Uint8Array.from(bytes.subarray(start + from, start + to)).buffer),
        ],
      ),
  );
}

describe("outer step", () => {
  test("two rounds of PyTorch's SGD with Nesterov momentum, every tensor, to 1e-6", async () => {
    const tensors = golden();
    const names = [...tensors.keys()].filter((n) => n.startsWith("w0/")).map((n) => n.slice(3));
    expect(names.length).toBe(13);
    for (const name of names) {
      const theta = tensors.get(`w0/${name}`)!.slice();
      const momentum = new Float32Array(theta.length);
      for (const r of [0, 1]) {
        const deltas = [0, 1].map((i) => tensors.get(`r${r}/delta${i}/${name}`)!);
        const delta = await codec.weightedSum(deltas, [1, 1]);
        await codec.outerStep(theta, momentum, delta, { lr: 0.7, mu: 0.9 });
        for (const [ours, what] of [
          [theta, "global"],
          [momentum, "momentum"],
        ] as const) {
          const theirs = tensors.get(`r${r}/${what}/${name}`)!;
          const worst = theirs.reduce((a, x, i) => Math.max(a, Math.abs(x - ours[i]!)), 0);
          expect(worst).toBeLessThan(1e-6);
        }
      }
    }
  });

  test("torchft's streaming fixture, delay 0 and alpha 0, both layers in their fragments", async () => {
    // Two replicas, constant gradient 2, inner SGD lr 1, outer SGD lr 2 without momentum; layer 0
    // is merged at steps 3, 9, 15 (fragment 0), six inner steps apart after the first.
    const expected = [1, -1, -3, -11, -13, -15, -17, -19, -21, -35, -37, -39, -41, -43, -45, -59];
    let global = 1;
    const local = [1, 1];
    const seen = [1];
    for (let step = 1; step < expected.length; step++) {
      local.forEach((x, i) => {
        local[i] = x - 2;
      });
      if (step % 6 === 3) {
        const theta = Float32Array.of(global);
        const deltas = await Promise.all(
          local.map((x) => codec.makeDelta(Float32Array.of(global), Float32Array.of(x))),
        );
        const mean = await codec.weightedSum(deltas, [1, 1]);
        await codec.outerStep(theta, Float32Array.of(0), mean, { lr: 2, mu: 0 });
        global = theta[0]!;
        local.fill(global);
      }
      seen.push(local[0]!);
    }
    expect(seen).toEqual(expected);
  });

  test("NaN, Inf or overflow anywhere: refused, and nothing has changed", async () => {
    const n = 70_000;
    for (const [at, value] of [
      [0, Number.NaN],
      [n - 1, Number.POSITIVE_INFINITY],
      [66_000, 3.4e38],
    ] as const) {
      const theta = floats(n);
      const momentum = floats(n);
      const delta = floats(n);
      delta[at] = value;
      const before = [theta.slice(), momentum.slice()];
      expect(
        await rejection(codec.outerStep(theta, momentum, delta, { lr: 0.7, mu: 0.9 })),
      ).toMatchObject({ code: "NOT_A_NUMBER" });
      expect([theta, momentum]).toEqual(before);
    }
    const out = new Float32Array(2);
    const huge = Float32Array.of(3e38, 0);
    expect(
      await rejection(codec.makeDelta(huge, Float32Array.of(-3e38, 0), { into: out })),
    ).toMatchObject({ code: "NOT_A_NUMBER" });
    expect([...out]).toEqual([0, 0]);
  });

  test("arrays of different models are refused", async () => {
    expect(
      await rejection(codec.outerStep(floats(3), floats(3), floats(4), { lr: 0.7, mu: 0.9 })),
    ).toMatchObject({ code: "SHAPE_MISMATCH" });
    expect(
      await rejection(codec.outerStep(floats(3), floats(3), floats(3), { lr: 0.7, mu: 1 })),
    ).toMatchObject({ code: "NATIVE_INVALID" });
  });
});

describe("weighted sum", () => {
  test("weights are normalised, the sum is in the given order, fused, in float32", async () => {
    const weights = codec.normaliseWeights([1, 2, 5]);
    expect([...weights]).toEqual([0.125, 0.25, 0.625]);
    const sum = await codec.weightedSum(
      [Float32Array.of(8, 1), Float32Array.of(4, -1), Float32Array.of(0, 2)],
      [1, 2, 5],
    );
    expect([...sum]).toEqual([2, 1.125]);
  });

  test("weights that make no mean are refused", () => {
    for (const bad of [[0, 0], [1, -1], [1, Number.NaN], [Number.POSITIVE_INFINITY, 1], []])
      expect(() => codec.normaliseWeights(bad)).toThrow(
        expect.objectContaining({ code: "BAD_WEIGHTS" }),
      );
  });
});

describe("two pseudo-gradients beside each other", () => {
  const LENGTH = 150_001; // several chunks and an odd end
  const norm = (a: Float32Array) => Math.sqrt(a.reduce((sum, x) => sum + x * x, 0));

  test("norms and distance as a plain loop in float64 gives them, for every thread count", async () => {
    const [a, b] = [floats(LENGTH), floats(LENGTH)];
    const found = await codec.compareDeltas(a, b, { threads: 1 });
    const expected = [norm(a), norm(b), Math.sqrt(a.reduce((s, x, i) => s + (x - b[i]!) ** 2, 0))];
    for (const [i, x] of [found.norm_a, found.norm_b, found.distance].entries())
      expect(Math.abs(x / expected[i]! - 1)).toBeLessThan(1e-12);
    for (const threads of [2, 7])
      expect(await codec.compareDeltas(a, b, { threads })).toEqual(found);
    expect((await codec.compareDeltas(a, a)).distance).toBe(0);
    expect((await codec.compareDeltas(a, new Float32Array(LENGTH))).norm_b).toBe(0);
  });

  test("the largest floats have a distance; NaN and infinities are refused", async () => {
    const [one, other] = [Float32Array.of(3e38, 0), Float32Array.of(-3e38, 0)];
    expect((await codec.compareDeltas(one, other)).distance).toBeCloseTo(6e38, -32);
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const bad = floats(LENGTH);
      bad[LENGTH - 1] = value;
      for (const pair of [[bad, floats(LENGTH)] as const, [floats(LENGTH), bad] as const])
        expect(await rejection(codec.compareDeltas(...pair))).toMatchObject({
          code: "NOT_A_NUMBER",
        });
    }
    expect(await rejection(codec.compareDeltas(floats(3), floats(4)))).toMatchObject({
      code: "SHAPE_MISMATCH",
    });
  });
});
