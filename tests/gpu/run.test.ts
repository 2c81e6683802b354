/**
 * tests/gpu/run.sh, rehearsed on the emulation: every script that a machine with a GPU runs gets to its
 * end and says what it is to say, and what fails (a library, a test that hangs, a bench that crashes, a
 * full disk) costs its own row and no other.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { MAIN } from "../cli/magnet.ts";
import { BUILD_TIMEOUT_MS, build, launchFile, root } from "../native/emulated.ts";

/** On a machine that does other things too. */
const RUN_TIMEOUT_MS = 900_000;
const home = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-gpu-"));
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));

const hasNumpy = ["python3", "/usr/bin/python3"].some(
  (python) =>
    Bun.which(python) !== null && Bun.spawnSync([python, "-c", "import numpy"]).exitCode === 0,
);
if (!hasNumpy)
  process.stderr.write(
    "run.test.ts: skipped, no python3 with numpy (apt-get install python3-numpy)\n",
  );

interface Row {
  what: string;
  value: string;
  holds: boolean | null;
}
let count = 0;

async function run(env: Record<string, string>, ...args: string[]) {
  const made = env.MADE ?? path.join(home, `made-${count++}`);
  const child = Bun.spawn(["tests/gpu/run.sh", ...args], {
    cwd: root,
    env: { PATH: process.env.PATH!, HOME: process.env.HOME ?? home, MADE: made, ...env },
    ...({ stdin: "ignore", stdout: "pipe", stderr: "pipe" } as const),
  });
  const [stdout, stderr] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  const code = await child.exited;
  const file = path.join(made, "rows.jsonl");
  const text = fs.existsSync(file) ? fs.readFileSync(file, "utf8") : "";
  const rows = text
    .split("\n")
    .filter((line) => line !== "")
    .map((line): Row => JSON.parse(line));
  return { code, said: stdout + stderr, rows, made };
}
const rowOf = (rows: Row[], what: string) => rows.find((row) => row.what === what);

beforeAll(() => {
  build("emulated");
}, BUILD_TIMEOUT_MS);

describe.skipIf(!hasNumpy)("a rehearsal", () => {
  test(
    "all scripts but the longest come to their end, and the table says what it was",
    async () => {
      const checks = ["load", "golden", "tests", "memcheck"];
      const stages = [...checks, "speed", "infer", "gemm", "delta", "product"];
      const parts = { TESTS: "streams_test gemm_schedule_test", PRODUCT: "doctor train" };
      const executable = { MAGNET: MAIN.command.join(" ") };
      // For the table of kernels: those that no test of kernels launches.
      const noted = { MAGNET_EMULATION_LAUNCHES: launchFile("libmagnet_cuda.so") };
      const { code, said, rows } = await run(
        { ...parts, ...noted, ...executable },
        "--rehearse",
        ...stages,
      );
      expect({ code, failed: rows.filter(({ holds }) => holds === false), said }).toMatchObject({
        code: 0,
        failed: [],
      });
      for (const what of [
        "libmagnet_cuda.so",
        "train_tiny_subln, float32: gradients",
        "orpo_small, bfloat16: loss",
        "inference: all logits against the CPU's",
        "streams_test on the GPU",
        "memcheck, gemm_schedule_test",
        "magnet doctor",
        "magnet train --device cuda",
      ])
        expect(rowOf(rows, what)?.holds).toBe(true);
      // No speed is judged.
      for (const what of [
        "tiny training, context 32",
        "decode tiny, batch 1",
        "matrix products, codes",
        "round's arithmetic, int4",
      ])
        expect(rowOf(rows, what)?.holds).toBeNull();
      expect(said).toContain("does not fit, as it should");
      expect(said).toMatch(/== table: rehearsal, no GPU/);
      expect(said).toMatch(/\| tiny training, context 32 .*\| rehearsal +\|/);
    },
    RUN_TIMEOUT_MS,
  );

  test(
    "what fails costs its own row: a library, a test that hangs, one that crashes, a bench, a full disk",
    async () => {
      const broken = path.join(home, "broken");
      fs.mkdirSync(broken);
      const program = (name: string, body: string) =>
        fs.writeFileSync(path.join(broken, name), `#!/bin/sh\n${body}\n`, { mode: 0o755 });
      fs.writeFileSync(path.join(broken, "libmagnet_cuda.so"), "not a library");
      program("hanging_test", "exec sleep 1000");
      program("crashing_test", 'echo "about to \\"crash\\""; kill -SEGV $$');
      program("passing_test", 'echo "passing_test: 3 checks passed, 0 failed"');
      const line = "mma     codes       32 x      24 x      64    100.0 us      0.0 TFLOP/s";
      program("gemm_bench", `echo "${line}"; kill -SEGV $$`);
      const out = path.join(home, "out");
      fs.mkdirSync(out);
      for (const name of ["rows.jsonl", "log.txt"])
        fs.symlinkSync("/dev/full", path.join(out, name));
      const TESTS = "hanging_test crashing_test passing_test absent_test";
      const env = { MAGNET_GPU_MADE: broken, OUT: out, TESTS };
      const stages = ["load", "gemm", "tests"];
      const { code, said, rows } = await run(env, "--rehearse", "--within", "90", ...stages);
      expect(code).toBe(1);
      const found = Object.fromEntries(
        rows.map(({ what, value, holds }) => [what, [value, holds]]),
      );
      expect(found["hanging_test on the GPU"]).toEqual([expect.stringMatching(/^stopped/), false]);
      expect(found["crashing_test on the GPU"]).toEqual([expect.stringContaining("139"), false]);
      expect(found["absent_test on the GPU"]).toEqual([expect.stringContaining("127"), false]);
      expect(found["passing_test on the GPU"]?.[1]).toBe(true);
      expect(found["the library"]).toEqual([expect.stringMatching(/ELF|too short/), false]);
      // What it had measured is there.
      expect(found["matrix products, codes"]?.[1]).toBeNull();
      expect(found["matrix products"]).toEqual([expect.stringContaining("-11"), false]);
      expect(said).toMatch(/== table/);
      expect(said).toMatch(/\| hanging_test on the GPU .*rehearsal: NO/);
    },
    RUN_TIMEOUT_MS,
  );

  test("a stage that has no time left is a row", async () => {
    const { rows } = await run({}, "--rehearse", "--within", "10", "golden", "infer");
    expect(rows.map(({ what, value }) => [what, value])).toEqual([
      ["golden", "no time was left for it"],
      ["infer", "no time was left for it"],
    ]);
  });
});

test(
  "a build names the file that does not compile, and goes on from what it has",
  async () => {
    const compilers = path.join(home, "compilers");
    const calls = path.join(home, "calls");
    fs.mkdirSync(compilers);
    // In their place: as fast as a build can be, and as wrong as wanted.
    const script = `#!/bin/sh
echo "$*" >> ${calls}
case "$*" in *"\${BREAK:-no file}"*) echo "error: expected a ;" >&2; exit 1 ;; esac
while [ $# -gt 1 ]; do [ "$1" = -o ] && echo made > "$2"; shift; done`;
    for (const name of ["nvcc", "g++"])
      fs.writeFileSync(path.join(compilers, name), `${script}\n`, { mode: 0o755 });
    const env = {
      ...{ PATH: `${compilers}:${process.env.PATH}`, NVCC: path.join(compilers, "nvcc") },
      MADE: path.join(home, "built"),
    };
    const first = await run({ ...env, BREAK: "norm_backward.cu" }, "--rehearse", "build");
    expect(first.code).toBe(1);
    expect(rowOf(first.rows, "libmagnet_cuda.so")).toMatchObject({
      ...{ value: "did not compile: norm_backward.cu", holds: false },
    });
    expect(rowOf(first.rows, "build for sm_90a")?.holds).toBe(false);
    expect(first.said).toContain("expected a ;");
    fs.rmSync(calls);
    const second = await run(env, "--rehearse", "build");
    expect([second.code, rowOf(second.rows, "build for sm_90a")?.holds]).toEqual([0, true]);
    const compiled = fs.readFileSync(calls, "utf8").match(/ -c \S+/g);
    expect(compiled).toEqual([" -c cpp/cuda/kernels/norm_backward.cu"]);
    for (const name of ["libmagnet_cuda.so", "libmagnet_cpu.so", "gemm_test", "delta_bench"])
      expect(fs.existsSync(path.join(env.MADE, name))).toBe(true);
  },
  RUN_TIMEOUT_MS,
);

test("an unknown stage or flag is named, and without a GPU nothing runs", async () => {
  const stage = await run({}, "--rehearse", "goldn");
  expect([stage.code, stage.said]).toEqual([2, expect.stringContaining("unknown stage goldn")]);
  const flag = await run({}, "--rehears");
  expect([flag.code, flag.said]).toEqual([2, expect.stringContaining("unknown flag --rehears")]);
  if (Bun.which("nvidia-smi") !== null) return;
  const { code, said, rows } = await run({});
  expect([code, rows]).toEqual([7, []]);
  expect(said).toContain("nvidia-smi shows no GPU here");
});
