/** Every SIMD path gives the scalar path's bits, kernel by kernel, at odd shapes. */
import { expect, test } from "bun:test";
import path from "node:path";
import { cpuInfo } from "../../src/native/library.ts";

function digests(cpu: string): string[] {
  const { stdout, stderr } = Bun.spawnSync(
    [process.execPath, path.join(import.meta.dir, "op-digest.ts")],
    { env: { ...process.env, MAGNET_CPU: cpu } },
  );
  expect(stderr.toString()).toBe("");
  return stdout.toString().trim().split("\n");
}

test("products and attention have the same bits on every path", () => {
  const simd = cpuInfo().paths.filter((name) => name !== "scalar");
  if (simd.length === 0) process.stderr.write("this CPU has the scalar path only\n");
  const expected = digests("scalar");
  expect(expected.length).toBe(102);
  for (const name of simd) expect(digests(name)).toEqual(expected);
}, 60_000);
