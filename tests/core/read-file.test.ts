/**
 * Reading small files: limits, and things that are no files must neither block nor fill the memory.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { MagnetError } from "../../src/core/errors.ts";
import { readSmallFile, readSmallText } from "../../src/core/read-file.ts";

let folder: string;
const at = (name: string) => path.join(folder, name);
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-read-"));
  fs.symlinkSync(at("b"), at("a"));
  fs.symlinkSync(at("a"), at("b"));
  expect(Bun.spawnSync(["mkfifo", at("fifo")]).exitCode).toBe(0);
});
afterAll(() => fs.rmSync(folder, { recursive: true }));

const codeOf = (file: string, limit = 100) => {
  try {
    readSmallFile(file, limit);
  } catch (error) {
    return (error as MagnetError).code;
  }
  return "ok";
};

test("the content up to the limit, and not one byte more", () => {
  for (const size of [0, 1, 99, 100]) {
    fs.writeFileSync(at("file"), "x".repeat(size));
    expect(readSmallText(at("file"), 100)).toBe("x".repeat(size));
  }
  fs.writeFileSync(at("file"), "x".repeat(101));
  expect(codeOf(at("file"))).toBe("FILE_TOO_LARGE");
});

test("files of /proc, which say that they are empty, are read whole", () => {
  expect(readSmallText("/proc/self/status", 1 << 16)).toStartWith("Name:");
  expect(codeOf("/proc/self/status", 10)).toBe("FILE_TOO_LARGE");
});

test.each([
  ["/dev/zero", "NOT_A_FILE"],
  ["/dev/null", "NOT_A_FILE"],
  ["/", "NOT_A_FILE"],
  ["/proc/nothing", "NOT_FOUND"],
  ["/etc/passwd/x", "NOT_A_FOLDER"],
  [`/${"n".repeat(300)}`, "BAD_PATH"],
])("%s: %s", (file, code) => {
  expect(codeOf(file)).toBe(code);
});

test("a pipe is refused without waiting for its writer; a loop of links is named", () => {
  expect(codeOf(at("fifo"))).toBe("NOT_A_FILE");
  expect(codeOf(at("a"))).toBe("NOT_FOUND");
});
