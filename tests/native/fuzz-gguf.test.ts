/**
 * Some thousand cases of the GGUF loader's fuzz driver (cpp/tests/fuzz_gguf*.cpp), linked to the
 * library's own objects: no crash, no error code that a damaged file must not give, no valid file
 * refused. With sanitizers and 200,000 cases: tests/fuzz/gguf.sh.
 */
import { afterAll, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

const root = path.join(import.meta.dir, "../..");
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-fuzz-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const CASES = 3000;
const SEED = 20261121;
/** A driver of three files compiled, then some seconds of cases, on a machine that is busy. */
const TIMEOUT_MS = 300_000;

const filesIn = (place: string, pattern: RegExp) =>
  fs
    .readdirSync(path.join(root, place))
    .filter((name) => pattern.test(name))
    .map((name) => path.join(root, place, name));

function run(command: string[]): string {
  const { exitCode, signalCode, stdout, stderr } = Bun.spawnSync(command, {
    cwd: root,
    stdin: "ignore",
  });
  if (exitCode !== 0)
    throw new Error(`${command.slice(0, 4).join(" ")}: ${exitCode} ${signalCode}\n${stderr}`);
  return stdout.toString();
}

/** Kept in build/ until one of its files is newer. */
function driver(): string {
  const file = path.join(root, "build/fuzz-gguf");
  const sources = filesIn("cpp/tests", /^fuzz_.*\.cpp$/);
  const objects = filesIn("build/obj", /\.o$/);
  const inputs = [...sources, ...filesIn("cpp/tests", /^fuzz_.*\.hpp$/), ...objects];
  const newest = Math.max(...inputs.map((input) => fs.statSync(input).mtimeMs));
  if (fs.existsSync(file) && fs.statSync(file).mtimeMs > newest) return file;
  const flags = ["-std=c++20", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"];
  const temporary = `${file}.${process.pid}.tmp`;
  run([process.env.CXX ?? "g++", ...flags, ...sources, ...objects, "-o", temporary]);
  fs.renameSync(temporary, file);
  return file;
}

test(
  "damaged and lying GGUF files are refused, or load and run",
  () => {
    const result = JSON.parse(run([driver(), String(SEED), String(CASES), folder]));
    const refused = Object.keys(result.refusals);
    process.stderr.write(
      `fuzz-gguf: ${result.cases_per_second} cases/s, ${result.loaded} loaded, ` +
        `${refused.length} kinds of refusal\n`,
    );
    expect(result.cases).toBe(CASES);
    expect(result.loaded).toBeGreaterThan(CASES / 10);
    expect(refused.length).toBeGreaterThan(40);
    for (const reason of ["gap or overlap", "cut off while it was read", "appears twice", "NaN"])
      expect(refused.some((text) => text.includes(reason))).toBe(true);
  },
  TIMEOUT_MS,
);
