/**
 * The engine bitnet.cpp, run against npm's llama.cpp: in a copy of this project that is built with
 * BITNET_CPP_DIR, beside one that is not. llama.cpp is held to its library for AVX2 CPUs, whose bits
 * `--rounding llamacpp` repeats token by token.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { exportGguf } from "../../src/model/export-gguf.ts";
import { bitnetCppFolder } from "../../src/native/bitnet-cpp-folder.ts";
import { llamaCpp } from "../peers/infer/llama-cpp.ts";
import { errorOf } from "./error-of.ts";
import { bookTokenizer, SMALL, trainedParams } from "./small-models.ts";

const root = path.join(import.meta.dir, "../..");
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-bitnet-cpp-"));
const copy = path.join(folder, "magnet");
const library = path.join(folder, "llama.cpp");
const model = path.join(folder, "small.gguf");
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

async function run(args: string[], env: Record<string, string> = {}): Promise<Ended> {
  const inherited = { ...process.env };
  delete inherited.BITNET_CPP_DIR;
  const child = Bun.spawn([process.execPath, ...args], {
    cwd: copy,
    env: { ...inherited, HOME: folder, ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, stdout, stderr };
}

const build = (env: Record<string, string>) => run(["build.ts", "--library-only"], env);
const chat = (...args: string[]) =>
  run(["src/main.ts", "chat", model, "--complete", "--temperature", "0", "--json", ...args]);

/** llama.cpp as in build/, with one library of kernels to choose from. */
async function layOutLibrary(): Promise<void> {
  const { folder: from } = await llamaCpp();
  fs.cpSync(path.join(from, "include"), path.join(library, "include"), { recursive: true });
  fs.mkdirSync(path.join(library, "lib"));
  for (const name of fs.readdirSync(path.join(from, "lib"))) {
    if (name.startsWith("libggml-cpu-") && name !== "libggml-cpu-haswell.so") continue;
    const file = fs.realpathSync(path.join(from, "lib", name));
    fs.symlinkSync(file, path.join(library, "lib", name));
  }
}

let absent: Ended;
let built: Ended;
beforeAll(async () => {
  fs.mkdirSync(copy);
  const script = "tests/model/bitnet-cpp-engines.ts";
  for (const part of [
    "src",
    "cpp",
    "contracts",
    "build.ts",
    "package.json",
    "package-lock.json",
    script,
  ])
    fs.cpSync(path.join(root, part), path.join(copy, part), {
      recursive: true,
      preserveTimestamps: true,
    });
  fs.cpSync(path.join(root, "build"), path.join(copy, "build"), {
    recursive: true,
    preserveTimestamps: true,
    filter: (file) =>
      !/llama\.cpp|aarch64|emulated|libmagnet_bitnet/.test(path.relative(root, file)),
  });
  fs.symlinkSync(fs.realpathSync(path.join(root, "node_modules")), path.join(copy, "node_modules"));
  const tokenizer = await bookTokenizer(SMALL.vocab_size);
  const params = await trainedParams(SMALL, tokenizer, 12);
  const about = { config: SMALL, tokenizer, name: "small" };
  await exportGguf({ ...about, params, type: "TQ2_0", path: model });
  await layOutLibrary();
  const without = await build({});
  expect([without.code, without.stderr]).toEqual([0, without.stderr]);
  absent = await chat("--prompt", "Call me", "--engine", "bitnet.cpp");
  built = await build({ BITNET_CPP_DIR: library });
}, 120_000);

test("a build without it says so, and how to get it", () => {
  expect(absent.code).toBe(7);
  expect(absent.stdout + absent.stderr).toContain("BITNET_CPP_ABSENT");
  expect(absent.stdout + absent.stderr).toContain("BITNET_CPP_DIR=FOLDER");
});

describe("a build with it", () => {
  test("compiles the shim against the folder's libllama", () => {
    expect([built.code, built.stderr]).toEqual([0, built.stderr]);
    expect(built.stderr).toContain("libmagnet_bitnet.so, against");
  });

  test("chat gives the text of --rounding llamacpp, greedy", async () => {
    const flags = ["--prompt", "Call me Ishmael.", "--max-tokens", "32", "--threads", "1"];
    const theirs = await chat(...flags, "--engine", "bitnet.cpp", "--rounding", "llamacpp");
    const ours = await chat(...flags, "--rounding", "llamacpp");
    expect([theirs.code, theirs.stderr]).toEqual([0, ""]);
    const text = (ended: Ended) => (JSON.parse(ended.stdout) as { text: string }).text;
    expect(text(theirs).length).toBeGreaterThan(10);
    expect(text(theirs)).toBe(text(ours));
  }, 60_000);

  test("alone, in company, cancelled and embedded: the tokens of --rounding llamacpp", async () => {
    const ended = await run(["tests/model/bitnet-cpp-engines.ts", model]);
    expect([ended.code, ended.stderr]).toEqual([0, ""]);
  }, 60_000);

  test("what it does not load is refused", async () => {
    const damaged = path.join(folder, "damaged.gguf");
    const bytes = fs.readFileSync(model);
    fs.writeFileSync(damaged, bytes.subarray(0, bytes.length - 4096));
    const refused = await run([
      "src/main.ts",
      "chat",
      damaged,
      "--prompt",
      "x",
      "--engine",
      "bitnet.cpp",
    ]);
    expect(refused.code).toBe(6);
    const hf = await run([
      "src/main.ts",
      "chat",
      folder,
      "--prompt",
      "x",
      "--engine",
      "bitnet.cpp",
    ]);
    expect(hf.stderr).toContain("GGUF_NEEDED");
  }, 60_000);
});

test("a folder that lacks a part is refused by the part's name", async () => {
  const empty = path.join(folder, "empty");
  fs.mkdirSync(empty);
  for (const [name, next] of [
    ["llama.h", "ggml.h"],
    ["ggml.h", "libllama.so"],
  ] as const) {
    expect((await errorOf((async () => bitnetCppFolder(empty))())).message).toContain(name);
    fs.writeFileSync(path.join(empty, name), "");
    expect((await errorOf((async () => bitnetCppFolder(empty))())).message).toContain(next);
  }
  const refused = await build({ BITNET_CPP_DIR: empty });
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("libllama.so");
});

test("the shim compiles against the llama.h of 2024 as well", async () => {
  const names = path.join(import.meta.dir, "llama-2024");
  const flags = ["-std=c++20", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"];
  const child = Bun.spawn(
    [
      process.env.CXX ?? "g++",
      ...flags,
      "-I",
      names,
      "-I",
      "cpp/include",
      "cpp/bitnet_cpp/shim.cpp",
    ],
    { cwd: root, stdin: "ignore", stderr: "pipe" },
  );
  const [stderr, code] = await Promise.all([new Response(child.stderr).text(), child.exited]);
  expect([code, stderr]).toEqual([0, ""]);
}, 60_000);
