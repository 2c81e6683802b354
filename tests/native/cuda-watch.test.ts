/**
 * Kernels in the emulation of a device, under the watch (cpp/cuda/platform/emulation_watch.hpp): races,
 * accesses out of place, values that nobody wrote. That the watch finds them is itself tested
 * (watch_test.cpp); of the other programs only the quick ones are here, tests/gpu/sanitize.sh has all.
 */
import { beforeAll, expect, test } from "bun:test";
import path from "node:path";
import { BUILD_TIMEOUT_MS, build, RUN_TIMEOUT_MS, root, runProgram } from "./emulated.ts";

const PROGRAMS = [
  ...["watch_test", "streams_test", "head_test", "optimizer_test", "norm_test"],
  "infer_step_test",
];

beforeAll(() => {
  build("watched");
}, BUILD_TIMEOUT_MS);

test.each(PROGRAMS)(
  "%s",
  async (name) => {
    const { code, said, complained } = await runProgram([path.join(root, "build/watched", name)]);
    // Status 66: the program passed, the watch found something.
    expect({ code, output: said + complained }).toMatchObject({ code: 0 });
    expect(said).toMatch(/: \d+ checks passed, 0 failed\s*$/);
    expect(complained).not.toContain("WATCH");
  },
  RUN_TIMEOUT_MS + 10_000,
);
