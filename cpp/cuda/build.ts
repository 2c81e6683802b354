/**
 * Builds the GPU's library from cpp/cuda, in two ways. By nvcc (NVCC names it, else it is looked for
 * in CUDA_HOME, PATH and /usr/local/cuda; NVCC="" goes without) it becomes build/libmagnet_cuda.so,
 * which the executable embeds; where there is none an empty file takes its place, and magnet says "not in
 * this build". By g++, with the emulation of a device, it becomes build/emulated/libmagnet_cuda.so and
 * the programs of cpp/cuda/tests: for tests, never embedded. The programs alone are also built with
 * what finds defects: build/watched (cpp/cuda/platform/emulation_watch.hpp) and, with g++'s sanitizers of
 * addresses and undefined behaviour, build/emulated-sanitized. Flags of nvcc that do not depend on
 * the GPU are in cpp/cuda/nvcc.options, and what is taken from the CPU's library in host.sources, which
 * tests/gpu/run.sh reads too; -fmad=false: the bits are those of the operations as they are written.
 */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import {
  type Compiler,
  compileFiles,
  leaveEmpty,
  link,
  objectOf,
  root,
  say,
  sources,
} from "../compile.ts";

/** sm_120 came with 12.8. */
const CUDA_MIN = [12, 8] as const;
/**
 * Machine code for the GPUs that are common (it also runs on those of the same major version), and PTX of
 * the newest version that others can take, from which the driver makes theirs. sm_90a has instructions
 * that no later GPU has: what needs them is compiled for it alone, and so the PTX is made without.
 */
const GPUS = [
  "arch=compute_80,code=sm_80",
  "arch=compute_90a,code=sm_90a",
  "arch=compute_90,code=compute_90",
  "arch=compute_120,code=sm_120",
];
const LINK_FLAGS = [
  ...["-shared", "-cudart=static", "--no-device-link"],
  ...["-Xcompiler=-static-libstdc++", "-Xcompiler=-static-libgcc"],
  ...["--exclude-libs,ALL", "--version-script=cpp/exports.map", "--gc-sections", "-z,now"].map(
    (flag) => `-Xlinker=${flag}`,
  ),
  ...["-Xlinker=-z,relro", "-Xlinker=--no-undefined", "-Xlinker=-s"],
];
/** -fno-ipa-reference: fibers change what GCC believes that nobody writes. */
const EMULATED_FLAGS = [
  ...["-std=c++20", "-x", "c++", "-O2", "-g1", "-fPIC", "-Wall", "-Wextra", "-Wpedantic"],
  ...["-Wshadow", "-Werror", "-Wno-unknown-pragmas", "-ffp-contract=off", "-fvisibility=hidden"],
  "-fno-ipa-reference",
];

const linesOf = (file: string) => fs.readFileSync(path.join(root, file), "utf8").trim().split("\n");
/** Of the CPU's library, in this one too. */
const HOST_SOURCES = linesOf("cpp/cuda/host.sources").map((file) => path.join(root, file));
const ONLY_ON_DEVICE = /runtime_cuda\.cu$/;
const ONLY_EMULATED = /\/(emulation\w*|runtime_emulated)\.cpp$/;
const ONLY_WATCHED = /\/emulation_watch\w*\.cpp$/;

const kernels = (left_out: RegExp) =>
  sources("cpp/cuda", /\.(cu|cpp)$/).filter((file) => !left_out.test(file));

/** nvcc, or null where there is none or none is wanted. */
export function findNvcc(env: Record<string, string | undefined> = process.env): string | null {
  if (env.NVCC !== undefined) return env.NVCC || null;
  const homes = [env.CUDA_HOME, "/usr/local/cuda"].map((home) => home && `${home}/bin/nvcc`);
  const places = [homes[0], Bun.which("nvcc", { PATH: env.PATH ?? "" }), homes[1]];
  return places.find((file) => file && fs.existsSync(file)) ?? null;
}

/** Why this nvcc does not do, or null. */
function unfit(nvcc: string): string | null {
  let text: string;
  try {
    text = execFileSync(nvcc, ["--version"], { encoding: "utf8" });
  } catch (error) {
    return `${nvcc} does not run (${error instanceof Error ? error.message : String(error)})`;
  }
  const [, major, minor] = /release (\d+)\.(\d+)/.exec(text) ?? [];
  const [least, least_minor] = CUDA_MIN;
  const fits = Number(major) > least || (Number(major) === least && Number(minor) >= least_minor);
  return fits ? null : `${nvcc} is of CUDA ${major}.${minor}, ${CUDA_MIN.join(".")} is needed`;
}

/**
 * build/libmagnet_cuda.so. `host`: the compiler of the CPU library, which lies in the same folder with
 * its objects.
 */
export async function buildCudaLibrary(host: Compiler & { folder: string }): Promise<void> {
  const file = path.join(host.folder, "libmagnet_cuda.so");
  const nvcc = findNvcc();
  const missing =
    nvcc === null
      ? "no nvcc (the CUDA toolkit, 12.8 or newer; looked for in CUDA_HOME, PATH, /usr/local/cuda)"
      : unfit(nvcc);
  if (nvcc === null || missing !== null) {
    leaveEmpty(file);
    say(`without GPUs: ${missing}`);
    return;
  }
  const by = { compiler: nvcc, compilerPackage: "nvidia-cuda-toolkit" };
  const ccbin = `-ccbin=${host.compiler}`;
  const objects = await compileFiles(by, {
    folder: path.join(host.folder, "cuda"),
    files: kernels(ONLY_EMULATED),
    // Compressed, machine code takes a sixth of the room: instances of a template are much alike.
    flags: [
      ccbin,
      ...linesOf("cpp/cuda/nvcc.options"),
      "--compress-mode=size",
      "-Xptxas=-v",
      ...gencodes,
    ],
    linkFlags: LINK_FLAGS,
    reports: true,
    what: "CUDA files, which takes minutes the first time",
  });
  const own = HOST_SOURCES.map((source) => objectOf(path.join(host.folder, "obj"), source));
  await link(by, [...objects, ...own], file, [ccbin, ...LINK_FLAGS]);
}
const gencodes = GPUS.map((gpu) => `-gencode=${gpu}`);

type Emulated = Compiler & { folder: string };

function compileEmulated(host: Emulated, folder: string, files: string[], more: string[] = []) {
  return compileFiles(host, {
    folder: path.join(host.folder, folder),
    ...{ files, flags: [...EMULATED_FLAGS, ...more], linkFlags: [] },
    what: `C++ files for ${path.relative(root, host.folder)}`,
  });
}

/** Of cpp/cuda/tests, each linked with the objects. */
async function buildTests(host: Emulated, objects: string[], flags: string[] = []) {
  const tests = fs
    .readdirSync(path.join(root, "cpp/cuda/tests"))
    .filter((name) => (flags.length === 0 ? /_(test|bench)\.cpp$/ : /_test\.cpp$/).test(name))
    .map((name) => path.join(root, "cpp/cuda/tests", name));
  const programs = await compileEmulated(host, "test-obj", tests, flags);
  const sanitizers = flags.filter((flag) => !flag.includes("thread"));
  for (const [i, test] of tests.entries()) {
    const program = path.join(host.folder, path.basename(test, ".cpp"));
    await link(host, [programs[i]!, ...objects], program, [...sanitizers, "-lpthread"]);
  }
}

/** Both ways to run a kernel's test: by itself, and against the library. */
export async function buildEmulated(host: Emulated): Promise<void> {
  const sourceFiles = [...kernels(ONLY_ON_DEVICE), ...HOST_SOURCES];
  const objects = await compileEmulated(
    host,
    "obj",
    sourceFiles.filter((file) => !ONLY_WATCHED.test(file)),
  );
  const library = path.join(host.folder, "libmagnet_cuda.so");
  const link_flags = ["-shared", "-Wl,--no-undefined", "-Wl,--version-script=cpp/exports.map"];
  await link(host, objects, library, [...link_flags, "-lpthread"]);
  await buildTests(host, objects);
}

/**
 * -O1: accesses are those of the source. Every one calls the watch, but those of the emulation itself and
 * of the CPU's files.
 */
const WATCHED_FLAGS = ["-O1", "-DMG_WATCHED", "-fsanitize=thread"].concat(
  ["tsan-instrument-func-entry-exit=0", "tsan-distinguish-volatile=0"].flatMap((parameter) => [
    "--param",
    parameter,
  ]),
);
export async function buildWatched(host: Emulated): Promise<void> {
  const all = kernels(ONLY_ON_DEVICE);
  const own = all.filter((file) => ONLY_EMULATED.test(file));
  const watched = all.filter((file) => !ONLY_EMULATED.test(file));
  const objects = [
    ...(await compileEmulated(host, "obj", watched, WATCHED_FLAGS)),
    ...(await compileEmulated(host, "obj-own", [...own, ...HOST_SOURCES], ["-DMG_WATCHED"])),
  ];
  await buildTests(host, objects, WATCHED_FLAGS);
}

/** With sanitizers GCC 12 warns about its own intrinsics. */
const SANITIZED_FLAGS = [
  ...["-O1", "-Wno-error", "-w", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
  "-fno-omit-frame-pointer",
];
export async function buildEmulatedSanitized(host: Emulated): Promise<void> {
  const all = [...kernels(ONLY_ON_DEVICE), ...HOST_SOURCES];
  const files = all.filter((file) => !ONLY_WATCHED.test(file));
  const objects = await compileEmulated(host, "obj", files, SANITIZED_FLAGS);
  await buildTests(host, objects, SANITIZED_FLAGS);
}
