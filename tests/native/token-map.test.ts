/**
 * Mapped tokens: bounds, both widths, and what happens when the file is cut off under the mapping:
 * an error for our own reads, the end of the process for anybody else's, as before.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { TokenMap } from "../../src/native/token-map.ts";

let folder = "";
let files = 0;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-map-"));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const OFFSET = 128;
const COUNT = 50_000;
const tokens = Int32Array.from({ length: COUNT }, (_, i) => (i * 7919) % 65_536);

/** A file of these tokens behind OFFSET zero bytes. */
function fileOf(token_bytes: 2 | 4): string {
  const file = path.join(folder, `${token_bytes}-${files++}.bin`);
  const body = token_bytes === 2 ? Uint16Array.from(tokens) : Uint32Array.from(tokens);
  fs.writeFileSync(file, Buffer.concat([new Uint8Array(OFFSET), Buffer.from(body.buffer)]));
  return file;
}
function open(file: string, token_bytes: 2 | 4, token_count = COUNT): TokenMap {
  const fd = fs.openSync(file, "r");
  try {
    return new TokenMap(fd, { offset: OFFSET, token_count, token_bytes });
  } finally {
    fs.closeSync(fd);
  }
}
function read(map: TokenMap, start: number, count: number): Int32Array {
  const out = new Int32Array(count);
  map.readInto(out, start);
  return out;
}

describe.each([2, 4] as const)("tokens of %d bytes", (token_bytes) => {
  test("are read from anywhere inside, and nowhere else", () => {
    const map = open(fileOf(token_bytes), token_bytes);
    for (const [start, count] of [
      [0, 1],
      [17, 5000],
      [COUNT - 3, 3],
      [0, COUNT],
      [COUNT, 0],
    ])
      expect(read(map, start!, count!)).toEqual(tokens.slice(start, start! + count!));
    for (const [start, count] of [
      [COUNT, 1],
      [COUNT - 1, 2],
      [2 ** 52, 1],
      [0, COUNT + 1],
    ])
      expect(() => read(map, start!, count!)).toThrow(
        expect.objectContaining({ code: "NATIVE_INVALID" }),
      );
    map.close();
    map.close();
    expect(() => read(map, 0, 1)).toThrow("closed");
  });

  test("a file cut off under the mapping is an error, again and again; the rest is readable", () => {
    const file = fileOf(token_bytes);
    const map = open(file, token_bytes);
    const kept_bytes = 4096; // one page
    fs.truncateSync(file, kept_bytes);
    const kept = (kept_bytes - OFFSET) / token_bytes;
    for (let i = 0; i < 100; i++) {
      expect(() => read(map, COUNT - 10, 10)).toThrow(
        expect.objectContaining({ code: "BAD_FORMAT" }),
      );
      expect(read(map, 0, kept)).toEqual(tokens.slice(0, kept));
    }
    fs.truncateSync(file, 0);
    expect(() => read(map, 0, 1)).toThrow("cut off");
    map.close();
  });
});

test("a file too short, and what is no file, are refused when they are mapped", () => {
  const code = (code: string) => expect.objectContaining({ code });
  expect(() => open(fileOf(2), 2, COUNT + 1)).toThrow(code("BAD_FORMAT"));
  expect(() => open(fileOf(2), 4)).toThrow(code("BAD_FORMAT"));
  expect(() => open("/dev/null", 2)).toThrow(code("UNSUPPORTED"));
  expect(() => open(folder, 2)).toThrow(code("UNSUPPORTED"));
});

test("a bus error that is not ours still ends the process", async () => {
  const file = fileOf(2);
  const program = `
    import fs from "node:fs";
    import { TokenMap } from ${JSON.stringify(path.resolve("src/native/token-map.ts"))};
    const fd = fs.openSync(process.argv[1], "r");
    const map = new TokenMap(fd, { offset: 128, token_count: 1000, token_bytes: 2 });
    const other = Bun.mmap(process.argv[1]);
    fs.truncateSync(process.argv[1], 0);
    try { map.readInto(new Int32Array(1), 0); } catch (error) { console.log(error.code); }
    console.log(other[20000]);
    console.log("alive");`;
  const child = Bun.spawn([process.execPath, "-e", program, file], {
    stdout: "pipe",
    stderr: "ignore",
  });
  expect(await new Response(child.stdout).text()).toBe("BAD_FORMAT\n");
  await child.exited;
  expect(child.exitCode === null || child.exitCode > 1).toBe(true);
});
