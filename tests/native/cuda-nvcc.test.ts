/**
 * The GPU's library as nvcc compiles it: machine code for every kind of GPU and PTX for others, no kernel
 * that spills or does not fit unless its reason is here, nothing exported but the C ABI, and a plain answer
 * on a machine without a driver.
 */
import { describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { findNvcc } from "../../cpp/cuda/build.ts";
import { BUILD_TIMEOUT_MS, build, kernelTests, launchFolder, root } from "./emulated.ts";
import {
  type Kernel,
  readKernels,
  readLaunches,
  residentBlocks,
  TARGETS,
  tightest,
} from "./kernel-table.ts";

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

/**
 * Bytes that a thread may store and load for want of registers: a few words outside of the inner loops,
 * which another version of ptxas puts elsewhere.
 */
const SPILLED_BYTES_MAX = 64;
/** Kernels that may spill more, each with its reason. */
const SPILLS: { kernel: RegExp; bytes: number; why: string }[] = [
  {
    ...{ kernel: /^prefill_attention_kernel<256>$/, bytes: 600 },
    why: "heads of more than 128 columns fill all 255 registers that a thread can have",
  },
];
/** Kernels that others never launch: their code is empty there, or takes too much shared memory. */
const ONLY_FOR: { kernel: RegExp; targets: string[] }[] = [
  { kernel: /^gemm_wgmma_kernel</, targets: ["sm_90a"] },
  { kernel: /^attention_dkv_kernel<(96|128), true>/, targets: ["sm_80", "sm_90a"] },
];
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

test("where nvcc is missing or too old, the build says so and leaves an empty library", () => {
  const folder = fs.mkdtempSync("/tmp/magnet-cuda-");
  const file = path.join(folder, "libmagnet_cuda.so");
  const script = `
    const { buildCudaLibrary } = await import("./cpp/cuda/build.ts");
    await buildCudaLibrary({ compiler: "g++", compilerPackage: "g++", folder: process.argv[1] });`;
  const built = (nvcc: string) => {
    fs.writeFileSync(file, "of another build");
    const { exitCode, stderr } = Bun.spawnSync([process.execPath, "-e", script, folder], {
      cwd: root,
      env: { ...process.env, NVCC: nvcc },
    });
    expect([exitCode, fs.statSync(file).size]).toEqual([0, 0]);
    return stderr.toString();
  };
  try {
    expect(built("")).toMatch(/without GPUs: no nvcc \(the CUDA toolkit, 12\.8 or newer/);
    expect(built("/absent/nvcc")).toMatch(/without GPUs: \/absent\/nvcc does not run/);
    const old = path.join(folder, "nvcc");
    fs.writeFileSync(old, "#!/bin/sh\necho Cuda compilation tools, release 11.8, V11.8.89\n");
    fs.chmodSync(old, 0o755);
    expect(built(old)).toMatch(/without GPUs: .*nvcc is of CUDA 11\.8, 12\.8 is needed/);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});

describe.skipIf(nvcc === null)("libmagnet_cuda.so", () => {
  test("compiles for every kind of GPU", () => void build("cuda"), BUILD_TIMEOUT_MS);

  test.skipIf(dump === null)(
    "holds machine code and PTX",
    () => {
      const kinds = (what: string) =>
        // Some name sm_90a without its letter.
        new Set(lines([dump!, what, library]).map((line) => /\.(sm_\d+)a?\./.exec(line)?.[1]));
      for (const gpu of ["sm_80", "sm_90", "sm_120"]) expect(kinds("--list-elf")).toContain(gpu);
      expect([...kinds("--list-ptx")].filter((gpu) => gpu !== undefined)).toEqual(["sm_90"]);
      // The executable carries it.
      expect(fs.statSync(library).size).toBeLessThan(8 << 20);
    },
    60_000,
  );

  test("every kernel is compiled for every kind of GPU; none spills but those above", () => {
    const kernels = readKernels();
    expect(kernels.length).toBeGreaterThan(300);
    const of = (target: string) =>
      kernels.filter((kernel) => kernel.target === target).map(({ source, name }) => source + name);
    for (const target of Object.keys(TARGETS)) expect(of(target)).toEqual(of("sm_80"));
    const may = ({ name }: Kernel) =>
      SPILLS.find(({ kernel }) => kernel.test(name))?.bytes ?? SPILLED_BYTES_MAX;
    expect(kernels.filter((kernel) => kernel.spill_bytes > may(kernel))).toEqual([]);
    // What no longer spills leaves the list.
    const needed = ({ kernel }: { kernel: RegExp }) =>
      kernels.some((k) => k.spill_bytes > SPILLED_BYTES_MAX && kernel.test(k.name));
    expect(SPILLS.filter((known) => !needed(known))).toEqual([]);
  });

  test("as their tests launch them, at least one block of each kernel fits on a multiprocessor", () => {
    const absent = [...kernelTests(), "libmagnet_cuda.so"].filter(
      (name) => !fs.existsSync(path.join(launchFolder, name)),
    );
    if (absent.length > 0) {
      const why =
        "not known how kernels are launched: run tests/gpu and cuda-kernels.test.ts before";
      process.stderr.write(`cuda-nvcc.test.ts: ${why} (${absent.join(", ")})\n`);
      return;
    }
    const launches = readLaunches();
    const misfits: string[] = [];
    const unknown = new Set<string>();
    for (const kernel of readKernels()) {
      const { name, target, registers } = kernel;
      const only = ONLY_FOR.find((one) => one.kernel.test(name));
      if (only !== undefined && !only.targets.includes(target)) continue;
      const launch = tightest(kernel, launches.get(name) ?? []);
      if (launch === undefined) unknown.add(name);
      else if (residentBlocks(kernel, launch) === 0)
        misfits.push(`${name}, ${target}: ${registers} registers, ${JSON.stringify(launch)}`);
    }
    expect(misfits).toEqual([]);
    if (unknown.size > 0)
      process.stderr.write(`cuda-nvcc.test.ts: launched by no test: ${[...unknown].join("; ")}\n`);
  });

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
