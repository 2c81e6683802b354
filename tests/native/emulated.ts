/**
 * The GPU's library as the emulation of a device runs it (cpp/cuda/build.ts): built when it is first
 * asked for, which takes minutes once and then what has changed.
 */
import fs from "node:fs";
import path from "node:path";

export const root = path.join(import.meta.dir, "../..");
export const emulatedFolder = path.join(root, "build/emulated");
export const emulatedFile = path.join(emulatedFolder, "libmagnet_cuda.so");
/** The library and the tests of the kernels compiled, on a machine that does other things too. */
export const BUILD_TIMEOUT_MS = 1_800_000;

export function build(target: string, env: Record<string, string> = {}): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync(
    [process.execPath, "build.ts", "--target", target],
    { cwd: root, env: { ...process.env, ...env }, stdin: "ignore" },
  );
  if (exitCode !== 0) throw new Error(`build.ts --target ${target}: ${stderr}${stdout}`);
  return stderr.toString();
}

/** From here on this process takes the emulation for the GPU's library. */
export function useEmulation(): void {
  build("emulated");
  process.env.MAGNET_CUDA_LIBRARY = emulatedFile;
}

/**
 * How kernels were launched (cpp/cuda/platform/emulation_launches.cpp): a file for each test program, and
 * one for the library, of which tests/gpu/run.test.ts takes note.
 */
export const launchFolder = path.join(emulatedFolder, "launches");
/** An empty one of the program or library. */
export function launchFile(name: string): string {
  fs.mkdirSync(launchFolder, { recursive: true });
  const file = path.join(launchFolder, name);
  fs.writeFileSync(file, "");
  return file;
}

/** Emulated threads are slow; a program that takes longer than this hangs. */
export const RUN_TIMEOUT_MS = 600_000;

/** What a test program says, all of it. */
export async function runProgram(
  command: string[],
  env: Record<string, string> = {},
): Promise<{ code: number; said: string; complained: string }> {
  const child = Bun.spawn(command, {
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
  return { code: await child.exited, said, complained };
}

/** Names of the test programs, by what is in cpp/cuda/tests. */
export const kernelTests = (): string[] =>
  fs
    .readdirSync(path.join(root, "cpp/cuda/tests"))
    .filter((name) => name.endsWith("_test.cpp"))
    .map((name) => path.basename(name, ".cpp"));
