/** The row kernels: the scalar path's bits on every SIMD path, and the exponential's accuracy. */
import { expect, test } from "bun:test";
import path from "node:path";
import { cpuInfo } from "../../src/native/library.ts";
import { ops } from "../../src/native/ops.ts";

function digests(cpu: string): string[] {
  const { stdout, stderr } = Bun.spawnSync(
    [process.execPath, path.join(import.meta.dir, "row-digest.ts")],
    { env: { ...process.env, MAGNET_CPU: cpu } },
  );
  expect(stderr.toString()).toBe("");
  return stdout.toString().trim().split("\n");
}

test("row kernels have the same bits on every path, for every remainder and for NaN", () => {
  const simd = cpuInfo().paths.filter((name) => name !== "scalar");
  if (simd.length === 0) process.stderr.write("this CPU has the scalar path only\n");
  const expected = digests("scalar");
  expect(expected.length).toBe(2400);
  for (const name of simd) {
    const actual = digests(name);
    expect(actual.filter((line, i) => line !== expected[i])).toEqual([]);
    expect(actual.length).toBe(expected.length);
  }
}, 60_000);

test("the exponential keeps float32's accuracy over its whole range", () => {
  // x / (1 + e^-x): for very negative x the result's relative error is the exponential's, and three
  // roundings of 6e-8 come on top.
  const gate = Float32Array.from({ length: 350_001 }, (_, i) => -87.2 + i * 4.98e-4);
  const h = new Float32Array(gate.length);
  ops.mg_op_swiglu(gate, new Float32Array(gate.length).fill(1), gate.length, h);
  let worst = 0;
  for (const [i, x] of gate.entries()) {
    const exact = x / (1 + Math.exp(-x));
    if (x !== 0) worst = Math.max(worst, Math.abs(h[i]! / exact - 1));
  }
  expect(worst).toBeLessThan(3e-7);
});
