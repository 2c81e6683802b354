/**
 * The kernels of cpp/cuda in the emulation of a device: every test program of cpp/cuda/tests, which
 * compares them with plain loops in float64 and wants the same bits from every order of the threads. How
 * they launch kernels is kept for cuda-nvcc.test.ts.
 */
import { beforeAll, expect, test } from "bun:test";
import path from "node:path";
import { BUILD_TIMEOUT_MS, build, emulatedFolder, kernelTests, launchFile } from "./emulated.ts";

/** Emulated threads are slow; what takes longer than this hangs. */
const RUN_TIMEOUT_MS = 600_000;

beforeAll(() => {
  build("emulated");
}, BUILD_TIMEOUT_MS);

test.each(kernelTests())(
  "%s",
  async (name) => {
    const child = Bun.spawn([path.join(emulatedFolder, name)], {
      env: { ...process.env, MAGNET_EMULATION_LAUNCHES: launchFile(name) },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      timeout: RUN_TIMEOUT_MS,
    });
    const [said, complained] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
    ]);
    const code = await child.exited;
    const [, passed, failed] = /: (\d+) checks passed, (\d+) failed\s*$/.exec(said) ?? [];
    expect({ code, failed, output: said + complained }).toMatchObject({ code: 0, failed: "0" });
    expect(Number(passed)).toBeGreaterThan(0);
  },
  RUN_TIMEOUT_MS + 10_000,
);
