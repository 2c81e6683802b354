/**
 * The kernels of cpp/cuda in the emulation of a device: every test program of cpp/cuda/tests, which
 * compares them with plain loops in float64 and wants the same bits from every order of the threads. How
 * they launch kernels is kept for cuda-nvcc.test.ts.
 */
import { beforeAll, expect, test } from "bun:test";
import path from "node:path";
import {
  BUILD_TIMEOUT_MS,
  build,
  emulatedFolder,
  kernelTests,
  launchFile,
  RUN_TIMEOUT_MS,
  runProgram,
} from "./emulated.ts";

beforeAll(() => {
  build("emulated");
}, BUILD_TIMEOUT_MS);

async function run(name: string, options: string[], env: Record<string, string>): Promise<void> {
  const command = [path.join(emulatedFolder, name), ...options];
  const { code, said, complained } = await runProgram(command, env);
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
