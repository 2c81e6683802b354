/**
 * The library for AArch64, cross-compiled and run under qemu, gives the bits of this machine's:
 * known answer, training, products, row kernels, codecs, inference, tokenizer (cpp/tests).
 * The build is cached in build/aarch64; the first one takes about a minute of CPU time.
 */
import { describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { cpuInfo } from "../../src/native/library.ts";

const root = path.join(import.meta.dir, "../..");
const build = path.join(root, "build");
const tests = path.join(root, "cpp/tests");
/** A whole library compiled, on a machine that does other things too. */
const BUILD_TIMEOUT_MS = 1_200_000;
const RUN_TIMEOUT_MS = 300_000;

const crossCompiler = process.env.CXX_AARCH64 ?? "aarch64-linux-gnu-g++";
const tools = { [crossCompiler]: "g++-aarch64-linux-gnu", "qemu-aarch64": "qemu-user" };
const missing = Object.entries(tools).filter(([tool]) => Bun.which(tool) === null);
for (const [tool, debianPackage] of missing)
  process.stderr.write(
    `aarch64.test.ts: skipped, ${tool} is not installed (sudo apt-get install ${debianPackage})\n`,
  );

function run(command: string[], environment: Record<string, string> = {}): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync(command, {
    cwd: root,
    env: { ...process.env, ...environment },
    stdin: "ignore",
  });
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${exitCode}\n${stderr}${stdout}`);
  return stdout.toString();
}

const filesIn = (folder: string, pattern: RegExp) =>
  fs
    .readdirSync(folder)
    .filter((name) => pattern.test(name))
    .map((name) => path.join(folder, name));

/** The driver linked to the objects in `folder`/obj; kept until one of its files is newer. */
function linkDriver(compiler: string, folder: string): string {
  const driver = path.join(folder, "digest");
  const sources = filesIn(tests, /^digest.*\.cpp$/);
  const objects = filesIn(path.join(folder, "obj"), /\.o$/);
  const inputs = [...sources, ...filesIn(tests, /\.hpp$/), ...objects];
  const newest = Math.max(...inputs.map((file) => fs.statSync(file).mtimeMs));
  if (fs.existsSync(driver) && fs.statSync(driver).mtimeMs > newest) return driver;
  const flags = ["-std=c++20", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"];
  run([compiler, ...flags, "-static", ...sources, ...objects, "-o", `${driver}.tmp`]);
  fs.renameSync(`${driver}.tmp`, driver);
  return driver;
}

interface Digests {
  path: string;
  features: string[];
  values: Map<string, string>;
}

function digests(driver: string[], cpu: string, threads: number): Digests {
  const lines = run([...driver, String(threads)], { MAGNET_CPU: cpu })
    .trim()
    .split("\n")
    .map((line) => line.split(" ") as [string, string]);
  const { path: inForce, features, ...values } = Object.fromEntries(lines);
  return {
    path: inForce!,
    features: features!.split(","),
    values: new Map(Object.entries(values)),
  };
}

describe.skipIf(missing.length > 0)("the library for AArch64", () => {
  let expected: Digests;
  let driver: string;

  // A test and not a hook: it takes long, and where it is skipped it counts as one.
  test(
    "cross-compiles and links",
    () => {
      run([process.execPath, "build.ts", "--target", "aarch64", "--library-only"]);
      driver = linkDriver(crossCompiler, path.join(build, "aarch64"));
      expected = digests([linkDriver(process.env.CXX ?? "g++", build)], "scalar", 1);
      expect(expected.values.size).toBeGreaterThan(20);
    },
    BUILD_TIMEOUT_MS,
  );

  test(
    "this machine's paths and thread counts agree on the digests",
    () => {
      for (const cpu of cpuInfo().paths)
        for (const threads of [1, 2]) {
          const found = digests([path.join(build, "digest")], cpu, threads);
          expect(found.path).toBe(cpu);
          expect(found.values).toEqual(expected.values);
        }
    },
    RUN_TIMEOUT_MS,
  );

  test(
    "scalar path",
    () => {
      const found = digests(["qemu-aarch64", "-cpu", "max", driver], "scalar", 1);
      expect(found.path).toBe("scalar");
      expect(found.values).toEqual(expected.values);
    },
    RUN_TIMEOUT_MS,
  );

  test(
    "NEON with dot products is the best path, on two threads",
    () => {
      const found = digests(["qemu-aarch64", "-cpu", "max", driver], "", 2);
      expect(found.path).toBe("neon");
      expect(found.features).toEqual(["neon", "dotprod"]);
      expect(found.values).toEqual(expected.values);
    },
    RUN_TIMEOUT_MS,
  );

  test(
    "NEON of an older CPU, without dot products",
    () => {
      const found = digests(["qemu-aarch64", "-cpu", "cortex-a57", driver], "neon", 1);
      expect(found.path).toBe("neon");
      expect(found.features).toEqual(["neon"]);
      expect(found.values).toEqual(expected.values);
    },
    RUN_TIMEOUT_MS,
  );

  test("an x86 path is refused by name", () => {
    const command = ["qemu-aarch64", driver, "1"];
    expect(() => run(command, { MAGNET_CPU: "avx2" })).toThrow("this CPU lacks that path");
  });
});
