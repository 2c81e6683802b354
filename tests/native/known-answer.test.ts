/**
 * The built-in known answer: every path gives it, and a library whose SIMD paths do not falls back
 * to the scalar one, says so, and fails the doctor's check. The fault is injected into a copy of
 * the library.
 */
import { afterAll, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { cpuInfo, knownAnswer } from "../../src/native/library.ts";

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-known-answer-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const library = path.join(import.meta.dir, "../../build/libmagnet_cpu.so");
/** SIMD paths of this CPU, best first. */
const simdPaths = cpuInfo().paths.filter((name) => name !== "scalar");

/** mg_cpu_info and mg_known_answer of a library file, in a process of its own. */
function ask(file: string, cpu?: string) {
  const script = `
    import { dlopen, FFIType } from "bun:ffi";
    const { symbols } = dlopen(${JSON.stringify(file)}, {
      mg_cpu_info: { args: [FFIType.ptr, FFIType.u64], returns: FFIType.i32 },
      mg_known_answer: { args: [FFIType.ptr, FFIType.ptr], returns: FFIType.i32 },
    });
    const text = new Uint8Array(1024);
    const numbers = [new BigUint64Array(1), new BigUint64Array(1)];
    const status = symbols.mg_cpu_info(text, text.length);
    symbols.mg_known_answer(...numbers);
    const info = status === 0 ? JSON.parse(new TextDecoder().decode(text.subarray(0, text.indexOf(0)))) : null;
    const [digest, expected] = numbers.map((n) => n[0].toString(16).padStart(16, "0"));
    console.log(JSON.stringify({ status, info, digest, expected }));`;
  const env = { ...process.env, MAGNET_CPU: cpu ?? "" };
  const { stdout, stderr } = Bun.spawnSync([process.execPath, "-e", script], { env });
  expect(stderr.toString()).toBe("");
  return JSON.parse(stdout.toString());
}

test("the path in force gives the known answer", () => {
  const { digest, expected } = knownAnswer();
  expect(digest).toBe(expected);
  expect(cpuInfo().refused).toEqual([]);
});

test("every path of this CPU gives the same answer", () => {
  for (const name of cpuInfo().paths) {
    const { info, digest } = ask(library, name);
    expect(info.path).toBe(name);
    expect(digest).toBe(knownAnswer().expected);
  }
});

test("a wrong answer takes the SIMD paths out of use", () => {
  if (simdPaths.length === 0) {
    process.stderr.write("not run: this CPU has no SIMD path that could be refused\n");
    return;
  }
  const expected = Buffer.alloc(8);
  expected.writeBigUInt64LE(BigInt(`0x${knownAnswer().expected}`));
  const bytes = fs.readFileSync(library);
  const at = bytes.indexOf(expected);
  expect(at).toBeGreaterThan(0);
  expect(bytes.indexOf(expected, at + 1)).toBe(-1);
  bytes[at]! ^= 1;
  const broken = path.join(folder, "broken.so");
  fs.writeFileSync(broken, bytes);

  const { info, digest, expected: wanted } = ask(broken);
  expect(info).toMatchObject({ path: "scalar", refused: simdPaths });
  expect(digest).not.toBe(wanted);
  for (const name of simdPaths) expect(ask(broken, name).status).toBe(-7);
});
