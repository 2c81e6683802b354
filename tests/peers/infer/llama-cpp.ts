/**
 * llama.cpp as npm brings it: headers out of the source bundle of node-llama-cpp (which carries a
 * git history of one commit), libraries of @node-llama-cpp/linux-x64. Laid out below build/ as a
 * folder with include/ and lib/, as BITNET_CPP_DIR names one.
 */
import fs from "node:fs";
import path from "node:path";

const root = path.join(import.meta.dir, "../../..");
const modules = path.join(import.meta.dir, "../node_modules");
const bins = path.join(modules, "@node-llama-cpp/linux-x64/bins/linux-x64");
const bundle = path.join(modules, "node-llama-cpp/llama/gitRelease.bundle");
const folder = path.join(root, "build/llama.cpp");

export interface LlamaCpp {
  /** With include/ and lib/. */
  folder: string;
  /** The version in the libraries' names, such as v0.5.0. */
  version: string;
}

async function run(command: string[], cwd = root): Promise<string> {
  const child = Bun.spawn(command, { cwd, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code !== 0) throw new Error(`${command.join(" ")} ended with ${code}\n${stderr}`);
  return stdout;
}

/** llama.h and ggml's headers, from the bundle's only commit. */
async function unpackHeaders(into: string): Promise<void> {
  const clone = `${into}.clone`;
  await run(["git", "clone", "-q", "--bare", bundle, clone]);
  const commit = (await run(["git", "-C", clone, "rev-list", "--all", "-n", "1"])).trim();
  for (const [at, levels] of [
    ["include", 1],
    ["ggml/include", 2],
  ] as const) {
    const archive = `${into}.tar`;
    await run(["git", "-C", clone, "archive", "-o", archive, commit, at]);
    await run(["tar", "-xf", archive, "-C", into, `--strip-components=${levels}`]);
    fs.rmSync(archive);
  }
  fs.rmSync(clone, { recursive: true });
}

/** Makes the folder where it is not there yet. Throws where the packages are not installed. */
export async function llamaCpp(): Promise<LlamaCpp> {
  const names = fs.existsSync(bins) ? fs.readdirSync(bins) : [];
  const library = names.find((name) => /^libllama\.[\w.]+\.so$|^libllama\.so$/.test(name));
  if (library === undefined || !fs.existsSync(bundle))
    throw new Error("llama.cpp is not there: npm test installs tests/peers/node_modules");
  const version = /^libllama\.(.+)\.so$/.exec(library)?.[1] ?? "unknown";
  const done = path.join(folder, `complete-${version}`);
  if (!fs.existsSync(done)) {
    const making = `${folder}.${process.pid}`;
    const include = path.join(making, "include");
    const lib = path.join(making, "lib");
    for (const part of [include, lib]) fs.mkdirSync(part, { recursive: true });
    await unpackHeaders(include);
    for (const name of names.filter((n) => /^lib(llama|ggml)[\w.-]*\.so$/.test(n)))
      fs.symlinkSync(path.join(bins, name), path.join(lib, name));
    fs.writeFileSync(path.join(making, path.basename(done)), "");
    fs.rmSync(folder, { recursive: true, force: true });
    fs.renameSync(making, folder);
  }
  return { folder, version };
}

/**
 * A folder with the CPU libraries that llama.cpp may choose from: all of them, or only the one for
 * AVX2.
 */
export function backendsFolder({ folder: at }: LlamaCpp, isa: "auto" | "avx2"): string {
  const lib = path.join(at, "lib");
  if (isa === "auto") return lib;
  const only = path.join(at, "avx2");
  const library = "libggml-cpu-haswell.so";
  fs.mkdirSync(only, { recursive: true });
  if (!fs.existsSync(path.join(only, library)))
    fs.symlinkSync(fs.realpathSync(path.join(lib, library)), path.join(only, library));
  return only;
}

/** Compiles llama-bench.cpp against it; path of the executable. */
export async function llamaBench({ folder: at }: LlamaCpp): Promise<string> {
  const source = path.join(import.meta.dir, "llama-bench.cpp");
  const executable = path.join(at, "llama-bench");
  if (fs.existsSync(executable) && fs.statSync(executable).mtimeMs > fs.statSync(source).mtimeMs)
    return executable;
  const lib = path.join(at, "lib");
  const libraries = fs
    .readdirSync(lib)
    .filter((name) => /^lib(llama|ggml|ggml-base)(\.v[\d.]+)?\.so$/.test(name))
    .map((name) => `-l:${name}`);
  const compiler = process.env.CXX ?? "g++";
  const flags = ["-std=c++20", "-O2", "-Wall", "-Wextra", `-I${path.join(at, "include")}`];
  const link = [`-L${lib}`, ...libraries, `-Wl,-rpath,${lib}`];
  await run([compiler, ...flags, source, "-o", `${executable}.tmp`, ...link]);
  fs.renameSync(`${executable}.tmp`, executable);
  return executable;
}
