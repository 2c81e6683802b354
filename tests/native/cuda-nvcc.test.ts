/**
 * The GPU's library as nvcc compiles it: machine code for every kind of GPU and PTX for others, nothing
 * exported but the C ABI, and a plain answer on a machine without a driver.
 */
import { describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { findNvcc } from "../../cpp/cuda/build.ts";
import { BUILD_TIMEOUT_MS, build, root } from "./emulated.ts";

const library = path.join(root, "build/libmagnet_cuda.so");
const nvcc = findNvcc();
if (nvcc === null)
  process.stderr.write(
    "cuda-nvcc.test.ts: skipped, nvcc is not installed (the CUDA toolkit, 12.8 or newer)\n",
  );
/** Beside nvcc, or a package of its own. */
const dump =
  nvcc === null
    ? null
    : Bun.which("cuobjdump", {
        PATH: `${path.dirname(fs.realpathSync(nvcc))}:${process.env.PATH ?? ""}`,
      });
if (nvcc !== null && dump === null)
  process.stderr.write("cuda-nvcc.test.ts: which machine code there is, skipped: no cuobjdump\n");

function lines(command: string[]): string[] {
  const { exitCode, stdout, stderr } = Bun.spawnSync(command, { stdin: "ignore" });
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
  return stdout.toString().trim().split("\n");
}

test("nvcc is looked for where it is named, in CUDA_HOME, in PATH; none is wanted with NVCC empty", () => {
  const home = fs.mkdtempSync("/tmp/magnet-cuda-");
  const file = path.join(home, "bin/nvcc");
  try {
    fs.mkdirSync(path.dirname(file));
    fs.writeFileSync(file, "#!/bin/sh\n", { mode: 0o755 });
    expect(findNvcc({ CUDA_HOME: home, PATH: "" })).toBe(file);
    expect(findNvcc({ PATH: path.dirname(file) })).toBe(file);
    expect(findNvcc({ NVCC: "/opt/nvcc", CUDA_HOME: home })).toBe("/opt/nvcc");
    expect(findNvcc({ NVCC: "", CUDA_HOME: home })).toBeNull();
  } finally {
    fs.rmSync(home, { recursive: true });
  }
});

describe.skipIf(nvcc === null)("libmagnet_cuda.so", () => {
  test("compiles for every kind of GPU", () => void build("cuda"), BUILD_TIMEOUT_MS);

  test.skipIf(dump === null)(
    "holds machine code and PTX",
    () => {
      const kinds = (what: string) =>
        new Set(lines([dump!, what, library]).map((line) => /\.(sm_\w+)\./.exec(line)?.[1]));
      for (const gpu of ["sm_80", "sm_90a", "sm_120"]) expect(kinds("--list-elf")).toContain(gpu);
      for (const gpu of ["sm_80", "sm_90"]) expect(kinds("--list-ptx")).toContain(gpu);
    },
    60_000,
  );

  test("exports the C ABI alone", () => {
    const names = lines(["nm", "-D", "--defined-only", library]).map((l) => l.split(" ").at(-1)!);
    expect(names.filter((name) => !name.startsWith("mg_"))).toEqual([]);
    expect(names).toContain("mg_gpu_info");
    expect(names).toContain("mg_trainer_step");
  });

  test("loads without a driver, and says that there is none", () => {
    const script = `
      const { gpuInfo } = await import("./src/native/cuda.ts");
      const { gpus, why_none } = gpuInfo();
      console.log(JSON.stringify({ gpus: gpus.length, why_none }));`;
    const { stdout, exitCode, stderr } = Bun.spawnSync([process.execPath, "-e", script], {
      cwd: root,
      env: { ...process.env, MAGNET_CUDA_LIBRARY: library },
    });
    expect([exitCode, stderr.toString()]).toEqual([0, ""]);
    const { gpus, why_none } = JSON.parse(stdout.toString());
    if (gpus === 0) expect(why_none).toMatch(/driver/);
    else expect(why_none).toBeNull();
  });
});
