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

async function run(name: string, options: string[], env: Record<string, string>): Promise<void> {
  const child = Bun.spawn([path.join(emulatedFolder, name), ...options], {
    env: { ...process.env, ...env },
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
}

test.each(kernelTests())(
  "%s",
  (name) => run(name, [], { MAGNET_EMULATION_LAUNCHES: launchFile(name) }),
  RUN_TIMEOUT_MS + 10_000,
);

test(
  "attention_test with the shared memory of compute capability 12",
  () => run("attention_test", ["shared"], { MAGNET_EMULATION_CAPABILITY: "120" }),
  RUN_TIMEOUT_MS + 10_000,
);
