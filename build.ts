/**
 * Builds dist/magnet: compiles cpp/ with g++ into build/libmagnet_cpu.so (only what changed) and the
 * contracts into build/contracts.ts, then embeds them and the demo text into one executable with
 * `bun build --compile`. `bun build.ts --library-only` stops before that (what `bun test`, the type
 * check and development need). BITNET_CPP_DIR, a
 * folder of bitnet.cpp or llama.cpp, adds the engine `bitnet.cpp` (src/native/bitnet-cpp.ts). `bun build.ts
 * --target aarch64` cross-compiles into build/aarch64/ and dist/magnet-aarch64; the executable needs
 * Bun's runtime for that target, of the version that builds (AARCH64_RUNTIME says where it is).
 * `bun build.ts --target sanitized` makes the fuzz driver build/sanitized/fuzz-gguf instead: the
 * library's code with the address and undefined-behaviour sanitizers. The GPU's library is built by
 * cpp/cuda/build.ts where nvcc is found, but not with --library-only (that takes what is there); `--target
 * cuda` builds it alone, `--target emulated` its emulation for tests, `--target watched` and `--target
 * emulated-sanitized` the tests of its kernels with what finds defects in them.
 */
import fs from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { buildContracts } from "./contracts/build.ts";
import {
  type Compiler,
  compile,
  compileFiles,
  leaveEmpty,
  link,
  mtime,
  root,
  say,
  sources,
} from "./cpp/compile.ts";
import {
  buildCudaLibrary,
  buildEmulated,
  buildEmulatedSanitized,
  buildWatched,
} from "./cpp/cuda/build.ts";
import { bitnetCppFolder } from "./src/native/bitnet-cpp-folder.ts";

const buildDir = path.join(root, "build");

/** Where a library is built, and by what. */
interface Target extends Compiler {
  folder: string;
  /** The executable, and the Bun that goes into it; the running one where it is absent. */
  executable: string;
  runtime?: string;
  /** Flags that come after the common ones. */
  flags?: string[];
  /** A program of our own in place of the library: what its file names in cpp/tests start with. */
  program?: string;
}
const TARGETS = {
  host: {
    compiler: process.env.CXX ?? "g++",
    compilerPackage: "g++",
    folder: buildDir,
    executable: path.join(root, "dist/magnet"),
  },
  aarch64: {
    compiler: process.env.CXX_AARCH64 ?? "aarch64-linux-gnu-g++",
    compilerPackage: "g++-aarch64-linux-gnu",
    folder: path.join(buildDir, "aarch64"),
    executable: path.join(root, "dist/magnet-aarch64"),
    runtime:
      process.env.AARCH64_RUNTIME ??
      path.join(root, "node_modules/@oven/bun-linux-aarch64/bin/bun"),
  },
  sanitized: {
    compiler: process.env.CXX ?? "g++",
    compilerPackage: "g++",
    folder: path.join(buildDir, "sanitized"),
    executable: path.join(buildDir, "sanitized/fuzz-gguf"),
    // With sanitizers GCC 12 warns about its own intrinsics.
    flags: [
      "-O1",
      "-g1",
      "-Wno-error",
      "-fsanitize=address,undefined",
      "-fno-sanitize-recover=all",
    ],
    program: "fuzz_",
  },
  emulated: {
    compiler: process.env.CXX ?? "g++",
    compilerPackage: "g++",
    folder: path.join(buildDir, "emulated"),
    executable: path.join(buildDir, "emulated/libmagnet_cuda.so"),
  },
  watched: {
    compiler: process.env.CXX ?? "g++",
    compilerPackage: "g++",
    folder: path.join(buildDir, "watched"),
    executable: path.join(buildDir, "watched/gemm_test"),
  },
  "emulated-sanitized": {
    compiler: process.env.CXX ?? "g++",
    compilerPackage: "g++",
    folder: path.join(buildDir, "emulated-sanitized"),
    executable: path.join(buildDir, "emulated-sanitized/gemm_test"),
  },
} satisfies Record<string, Target>;

/**
 * -ffp-contract=off and no fast-math: the same bits from every path (a fused multiply-add is
 * written as one). No -march: SIMD paths are functions with target attributes, chosen at run time.
 */
const COMPILE_FLAGS = [
  "-std=c++20",
  "-O3",
  "-g0",
  "-fPIC",
  "-Wall",
  "-Wextra",
  "-Wpedantic",
  "-Wshadow",
  "-Werror",
  "-ffp-contract=off",
  "-fno-math-errno",
  "-fvisibility=hidden",
  "-fvisibility-inlines-hidden",
  "-ffunction-sections",
  "-fdata-sections",
];
const LINK_FLAGS = [
  "-shared",
  "-static-libstdc++",
  "-static-libgcc",
  "-Wl,--exclude-libs,ALL",
  "-Wl,--version-script=cpp/exports.map",
  "-Wl,--gc-sections",
  "-Wl,-z,now",
  "-Wl,-z,relro",
  "-Wl,--no-undefined",
  "-s",
  "-lpthread",
  "-ldl",
];

/** The objects of the CPU library, or of the target's program. */
async function compileAll(target: Target): Promise<string[]> {
  const prefix = target.program;
  const isOfProgram = (name: string) => prefix !== undefined && name.startsWith(prefix);
  const tests = fs.readdirSync(path.join(root, "cpp/tests")).filter((n) => n.endsWith(".cpp"));
  const program = tests.filter(isOfProgram).map((name) => path.join(root, "cpp/tests", name));
  const own = sources("cpp", /\.cpp$/).filter((file) => !others.some((o) => file.startsWith(o)));
  return compileFiles(target, {
    folder: path.join(target.folder, "obj"),
    files: [...own, ...program],
    flags: [...COMPILE_FLAGS, ...(target.flags ?? [])],
    linkFlags: LINK_FLAGS,
    what: `C++ files for ${path.relative(root, target.folder)}`,
  });
}

async function buildLibrary(target: Target): Promise<void> {
  const file = path.join(target.folder, "libmagnet_cpu.so");
  await link(target, await compileAll(target), file, LINK_FLAGS);
}

async function buildProgram(target: Target): Promise<void> {
  const flags = [...(target.flags ?? []), "-lpthread", "-ldl"];
  await link(target, await compileAll(target), target.executable, flags);
}

const bitnetSources = path.join(root, "cpp/bitnet_cpp");
/** Of other libraries. */
const others = [bitnetSources, path.join(root, "cpp/cuda")];

/**
 * The shim between magnet and bitnet.cpp, against the llama.h and libllama in BITNET_CPP_DIR. Where
 * that is not set an empty file takes its place, so that the executable embeds something: it says
 * "not in this build".
 */
async function buildBitnetShim(target: Target): Promise<void> {
  const shim = path.join(target.folder, "libmagnet_bitnet.so");
  const given = process.env.BITNET_CPP_DIR;
  if (!given) return leaveEmpty(shim);
  const { includes, library, ggml } = bitnetCppFolder(given);
  const source = path.join(bitnetSources, "shim.cpp");
  const libraries = [library, ...ggml];
  const folders = [...new Set(libraries.map((file) => path.dirname(file)))];
  // Its exceptions may come through the shim: both need the same C++ runtime.
  const args = [
    ...COMPILE_FLAGS,
    ...includes.flatMap((folder) => ["-isystem", folder]),
    ...["-I", "cpp/include", "-shared", source, "-o", `${shim}.tmp`],
    ...folders.flatMap((folder) => [`-L${folder}`, `-Wl,-rpath,${folder}`]),
    ...libraries.map((file) => `-l:${path.basename(file)}`),
  ];
  const stamp = path.join(target.folder, "obj/bitnet-shim");
  const command = [target.compiler, ...args].join(" ");
  const inputs = [...sources("cpp/bitnet_cpp", /./), path.join(root, "cpp/include/magnet_infer.h")];
  const newest = Math.max(...[...inputs, ...libraries].map(mtime));
  const same = fs.existsSync(stamp) && fs.readFileSync(stamp, "utf8") === command;
  if (same && mtime(shim) > newest && fs.statSync(shim).size > 0) return;
  await compile(target, args);
  fs.renameSync(`${shim}.tmp`, shim);
  fs.writeFileSync(stamp, command);
  say(`${path.relative(root, shim)}, against ${library}`);
}

/**
 * The demo's text: Moby Dick and the State of the Union addresses (public domain, from npm data
 * packages), one document per chapter or address, as gzipped JSON [{name, text}].
 */
function buildDemoText(): void {
  const outfile = path.join(buildDir, "demo-text.json.gz");
  const newest = Math.max(mtime(import.meta.path), mtime(path.join(root, "package-lock.json")));
  if (mtime(outfile) > newest) return;
  const documents = ["datasets-moby-dick", "datasets-sotu"].flatMap((name) => {
    const folder = path.join(root, "node_modules/@stdlib", name, "data");
    return fs
      .readdirSync(folder)
      .filter((file) => file.endsWith(".txt"))
      .sort()
      .map((file) => ({
        name: `${name}/${file}`,
        text: fs.readFileSync(path.join(folder, file), "utf8").trim(),
      }));
  });
  // The package also holds the whole book in one file: it would put held-out chapters into
  // training.
  const chapters = documents.filter(({ name }) => name !== "datasets-moby-dick/data.txt");
  fs.writeFileSync(`${outfile}.tmp`, gzipSync(JSON.stringify(chapters), { level: 9 }));
  fs.renameSync(`${outfile}.tmp`, outfile);
  say(`demo text, ${chapters.length} documents`);
}

/**
 * msgpackr's optional native addon would be opened by its build path from inside the binary: it is
 * replaced by nothing, and msgpackr falls back to JavaScript.
 */
const withoutNativeAddons: Bun.BunPlugin = {
  name: "without-native-addons",
  setup(build) {
    build.onResolve({ filter: /^msgpackr-extract$/ }, () => ({ path: "none", namespace: "none" }));
    build.onLoad({ filter: /.*/, namespace: "none" }, () => ({
      contents: "export default null",
      loader: "js",
    }));
  },
};

/** The loader imports the host's library: another target's takes its place. */
const withLibrary = (target: Target): Bun.BunPlugin => ({
  name: "with-library",
  setup(build) {
    build.onResolve({ filter: /\/libmagnet_(cpu|bitnet|cuda)\.so$/ }, (at) => ({
      path: path.join(target.folder, path.basename(at.path)),
    }));
  },
});

async function buildBinary(target: Target): Promise<void> {
  const { executable: outfile, runtime } = target;
  if (runtime !== undefined && !fs.existsSync(runtime))
    throw new Error(
      `the library is built, ${path.relative(root, outfile)} is not: ${runtime} is missing. ` +
        `Get it: npm pack @oven/bun-linux-aarch64@${Bun.version}; name its bin/bun by AARCH64_RUNTIME`,
    );
  fs.mkdirSync(path.dirname(outfile), { recursive: true });
  const result = await Bun.build({
    entrypoints: [
      path.join(root, "src/main.ts"),
      path.join(root, "src/native/worker.ts"),
      path.join(root, "src/research/table/parquet-worker.ts"),
      path.join(root, "src/agent/trail/point-worker.ts"),
    ],
    root: path.join(root, "src"),
    compile: {
      outfile,
      autoloadBunfig: false,
      autoloadDotenv: false,
      // The target's name alone would be downloaded; it also decides what process.arch is.
      ...(runtime !== undefined && { executablePath: runtime, target: "bun-linux-arm64" as const }),
    },
    minify: true,
    bytecode: true,
    format: "esm",
    plugins: [withoutNativeAddons, withLibrary(target)],
    throw: true,
  });
  if (!result.success) throw new Error("bun build failed");
  const size = (fs.statSync(outfile).size / 1e6).toFixed(0);
  say(`${path.relative(root, outfile)}, ${size} MB`);
}

function chosenTarget(): keyof typeof TARGETS | "cuda" {
  const at = process.argv.indexOf("--target");
  const name = at < 0 ? "host" : process.argv[at + 1];
  const names = [...(Object.keys(TARGETS) as (keyof typeof TARGETS)[]), "cuda" as const];
  const known = names.find((known) => known === name);
  if (known !== undefined) return known;
  throw new Error(`--target ${name ?? ""}: it is one of ${names.join(", ")}`);
}

/** The libraries and the executable of the host or another machine. */
async function buildAll(target: Target, library_only: boolean): Promise<void> {
  await buildLibrary(target);
  await buildBitnetShim(target);
  const cuda = path.join(target.folder, "libmagnet_cuda.so");
  if (target !== TARGETS.host) leaveEmpty(cuda);
  else if (!library_only) await buildCudaLibrary(target);
  else if (!fs.existsSync(cuda)) leaveEmpty(cuda);
  buildDemoText();
  await buildContracts(say);
  if (!library_only) await buildBinary(target);
}

try {
  const name = chosenTarget();
  if (name === "cuda") {
    await buildLibrary(TARGETS.host);
    await buildCudaLibrary(TARGETS.host);
  } else if (name === "sanitized") await buildProgram(TARGETS.sanitized);
  else if (name === "emulated") await buildEmulated(TARGETS.emulated);
  else if (name === "watched") await buildWatched(TARGETS.watched);
  else if (name === "emulated-sanitized")
    await buildEmulatedSanitized(TARGETS["emulated-sanitized"]);
  else await buildAll(TARGETS[name], process.argv.includes("--library-only"));
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  process.exit(1);
}
