/** Every learner gives the same bits on every SIMD path and for every number of threads. */
import { expect, test } from "bun:test";
import path from "node:path";
import { cpuInfo } from "../../src/native/library.ts";

function digests(cpu: string, threads: number): string[] {
  const { stdout, stderr } = Bun.spawnSync(
    [process.execPath, path.join(import.meta.dir, "learner-digest.ts"), String(threads)],
    { env: { ...process.env, MAGNET_CPU: cpu } },
  );
  expect(stderr.toString()).toBe("");
  return stdout.toString().trim().split("\n");
}

test("models and predictions have the same bits on every path and thread count", () => {
  const { paths } = cpuInfo();
  if (paths.length === 1) process.stderr.write("this CPU has the scalar path only\n");
  const expected = digests("scalar", 1);
  expect(expected.length).toBe(19);
  for (const name of paths) expect(digests(name, 2)).toEqual(expected);
  for (const threads of [3, 8]) expect(digests(paths[0]!, threads)).toEqual(expected);
}, 120_000);
