/**
 * Calls into the native library: arguments are checked before they reach it, failures arrive with
 * the library's text, long calls leave the event loop free, and the cache fallback of the loader
 * refuses a tampered file.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { sha256Hex } from "../../src/core/bytes.ts";
import { type MagnetError, toMagnetError } from "../../src/core/errors.ts";
import {
  type Address,
  addressSlot,
  bind,
  bindAsync,
  bytesAt,
  cString,
  floatsAt,
  NULL,
  statusError,
  takeAddress,
} from "../../src/native/ffi.ts";
import { allocNative, CPU_PATHS, cpuInfo, freeNative } from "../../src/native/library.ts";
import { checkArchitecture, intoCache, libraryFile } from "../../src/native/loader.ts";

const native = bind({
  mg_alloc: ["u64", "buffer"],
  mg_cpu_info: ["buffer", "u64"],
  mg_last_error: ["buffer", "u64"],
});
/** The declaration is deliberately loose: these tests pass what TypeScript would refuse. */
const loose = native as unknown as Record<string, (...args: unknown[]) => void>;

const failure = (run: () => unknown): MagnetError => {
  try {
    run();
  } catch (error) {
    return toMagnetError(error);
  }
  throw new Error("it did not fail");
};

describe("argument checks", () => {
  test("the number of arguments", () => {
    expect(() => loose.mg_alloc!(1)).toThrow("mg_alloc takes 2 arguments, not 1");
    expect(() => loose.mg_alloc!(1, null, null)).toThrow("takes 2 arguments, not 3");
  });

  test.each([[-1], [1.5], [Number.NaN], [2 ** 60], [-1n], [2n ** 64n], ["1"], [undefined]])(
    "%p is no u64",
    (value) => expect(() => loose.mg_alloc!(value, addressSlot())).toThrow("is not a u64"),
  );

  test("ranges of the 32-bit kinds, and null handles", () => {
    const wide = bind({ mg_model_tensor_info: ["handle", "u32", "buffer"] });
    const call = wide.mg_model_tensor_info as unknown as (...args: unknown[]) => void;
    const config = allocNative(64);
    for (const bad of [-1, 2 ** 32, 0.5, Number.POSITIVE_INFINITY, "0"])
      expect(() => call(config, bad, new Uint8Array(128))).toThrow("is not a u32");
    for (const bad of [NULL, null, undefined, -5])
      expect(() => call(bad, 0, new Uint8Array(128))).toThrow("null or freed handle");
    freeNative(config);
  });

  test("what is no typed array is no buffer; an empty one is null", () => {
    for (const bad of ["text", {}, [1, 2], new ArrayBuffer(8)])
      expect(() => loose.mg_alloc!(8, bad)).toThrow("not a typed array");
    const error = failure(() => loose.mg_alloc!(8, new Uint8Array(0)));
    expect(error).toMatchObject({ code: "NATIVE_INVALID", message: "mg_alloc: out is null" });
  });
});

describe("what passes arrives as it is", () => {
  test("u64, as a number and as a bigint, to the last bit", () => {
    for (const bytes of [2 ** 53 - 1, 2 ** 52 + 1, 2n ** 63n + 7n])
      expect(failure(() => native.mg_alloc(bytes, addressSlot())).message).toBe(
        `cannot allocate ${bytes} bytes`,
      );
  });

  test("every kind of view: its own first byte, its own length", () => {
    const backing = new ArrayBuffer(4096, { maxByteLength: 8192 });
    const views = [
      new Uint8Array(backing, 512),
      new DataView(backing, 1024),
      new Int32Array(new SharedArrayBuffer(4096)),
      Buffer.alloc(2000).subarray(3),
    ];
    for (const view of views) {
      native.mg_cpu_info(view as NodeJS.TypedArray, view.byteLength);
      const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
      expect(JSON.parse(cString(bytes.slice()))).toEqual(cpuInfo());
    }
  });
});

describe("failures", () => {
  test("carry the library's own text and code", () => {
    const tooSmall = failure(() => native.mg_cpu_info(new Uint8Array(4), 4));
    expect(tooSmall.code).toBe("NATIVE_INVALID");
    expect(tooSmall.message).toContain("no room for the answer");
    const overflow = failure(() => native.mg_alloc(2n ** 64n - 1n, addressSlot()));
    expect(overflow.code).toBe("OUT_OF_MEMORY");
    expect(failure(() => native.mg_alloc(2n ** 62n, addressSlot())).message).toContain(
      "cannot allocate 4611686018427387904 bytes",
    );
  });

  test("every status has a stable code; CANCELLED exits as interrupted", () => {
    const codes = [-1, -2, -3, -4, -5, -6, -7, -8, -99].map((s) => statusError(s, "mg_x", "").code);
    expect(codes).toEqual([
      "NATIVE_INVALID",
      "SHAPE_MISMATCH",
      "OUT_OF_MEMORY",
      "CANCELLED",
      "NOT_A_NUMBER",
      "BAD_FORMAT",
      "UNSUPPORTED",
      "NATIVE_INTERNAL",
      "NATIVE_INTERNAL",
    ]);
    expect(statusError(-4, "mg_x", "").exit).toBe("interrupted");
    expect(statusError(-2, "mg_x", "").message).toBe("mg_x failed with status -2");
  });

  test("a text longer than the reader's buffer is cut, not overrun", () => {
    failure(() => native.mg_alloc(2n ** 62n, addressSlot()));
    const short = new Uint8Array(16).fill(7);
    native.mg_last_error(short, 8);
    expect(cString(short)).toBe("cannot ");
    expect([...short.subarray(8)]).toEqual(Array(8).fill(7));
  });
});

describe("memory", () => {
  test("is zeroed, aligned to 64 bytes and visible from both sides", () => {
    const address = allocNative(1000);
    expect((address as number) % 64).toBe(0);
    const bytes = bytesAt(address, 1000);
    expect(bytes.every((b) => b === 0)).toBe(true);
    floatsAt(address, 250)[249] = 1;
    expect([...bytes.subarray(996)]).toEqual([0, 0, 128, 63]);
    freeNative(address);
  });

  test("freeing null is a no-op, zero bytes can be asked for", () => {
    freeNative(NULL);
    const slot = addressSlot();
    native.mg_alloc(0, slot);
    expect(takeAddress(slot)).toBeGreaterThan(0);
    freeNative(takeAddress(slot) as Address);
  });
});

test("cpuInfo names the path in force", () => {
  const info = cpuInfo();
  expect(CPU_PATHS).toContain(info.path);
  expect(info.threads_online).toBeGreaterThan(0);
});

describe("worker pool", () => {
  const pooled = bindAsync({ mg_cpu_info: ["buffer", "u64"], mg_alloc: ["u64", "buffer"] });

  test("many calls at once all come back, each with its own answer", async () => {
    const buffers = Array.from({ length: 200 }, () => new Uint8Array(1024));
    await Promise.all(buffers.map((b) => pooled.mg_cpu_info(undefined, b, b.length)));
    for (const buffer of buffers) expect(JSON.parse(cString(buffer)).path).toBe(cpuInfo().path);
  });

  test("the error text belongs to its own call, among calls that succeed", async () => {
    const results = await Promise.allSettled(
      Array.from({ length: 60 }, (_, i) =>
        i % 2 === 0
          ? pooled.mg_cpu_info(undefined, new Uint8Array(1024), 1024)
          : pooled.mg_alloc(undefined, 2n ** 62n + BigInt(i), new BigUint64Array(1)),
      ),
    );
    for (const [i, result] of results.entries()) {
      expect(result.status).toBe(i % 2 === 0 ? "fulfilled" : "rejected");
      if (result.status === "rejected")
        expect(result.reason.message).toBe(`cannot allocate ${2n ** 62n + BigInt(i)} bytes`);
    }
  });

  test("wrong arguments are refused before a worker sees them", async () => {
    const call = pooled.mg_alloc as unknown as (...args: unknown[]) => Promise<void>;
    expect(call(undefined, -1, new BigUint64Array(1))).rejects.toThrow("is not a u64");
  });

  test("more waiting calls than the limit are told to retry later", async () => {
    const buffer = new Uint8Array(1024);
    const results = await Promise.allSettled(
      Array.from({ length: 1500 }, () => pooled.mg_cpu_info(undefined, buffer, buffer.length)),
    );
    const refused = results.filter((r) => r.status === "rejected");
    expect(refused.length).toBeGreaterThan(0);
    for (const r of refused)
      expect(r.reason).toMatchObject({ code: "QUEUE_FULL", retryable: true });
    await pooled.mg_cpu_info(undefined, buffer, buffer.length); // and it works again afterwards
  });
});

describe("loader", () => {
  let folder: string;
  beforeAll(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-loader-"));
  });
  afterAll(() => fs.rmSync(folder, { recursive: true }));
  const bytes = new TextEncoder().encode("stands for a library");
  const expected = () => path.join(folder, "magnet", "lib", `${sha256Hex(bytes)}.so`);

  test("the library came from memory on this machine, or from the cache where that is refused", () => {
    expect(libraryFile).toMatch(/^\/proc\/self\/fd\/\d+$|\/magnet\/lib\/[0-9a-f]{64}\.so$/);
  });

  test("the cache file is named by its content, only executable and readable by its owner", () => {
    expect(intoCache(bytes, folder)).toBe(expected());
    expect(fs.readFileSync(expected())).toEqual(Buffer.from(bytes));
    expect(fs.statSync(expected()).mode & 0o777).toBe(0o500);
    expect(fs.statSync(path.dirname(expected())).mode & 0o777).toBe(0o700);
    const { ino } = fs.statSync(expected());
    intoCache(bytes, folder);
    expect(fs.statSync(expected()).ino).toBe(ino); // a good file is used as it is
  });

  test("a tampered, world-writable or linked file is replaced", () => {
    fs.chmodSync(expected(), 0o700);
    fs.writeFileSync(expected(), "stands for an attack ");
    expect(fs.readFileSync(intoCache(bytes, folder))).toEqual(Buffer.from(bytes));

    fs.chmodSync(expected(), 0o777);
    intoCache(bytes, folder);
    expect(fs.statSync(expected()).mode & 0o022).toBe(0);

    const elsewhere = path.join(folder, "elsewhere.so");
    fs.writeFileSync(elsewhere, bytes);
    fs.rmSync(expected());
    fs.symlinkSync(elsewhere, expected());
    intoCache(bytes, folder);
    expect(fs.lstatSync(expected()).isSymbolicLink()).toBe(false);
  });

  test("with MAGNET_NO_MEMFD the real library loads from the cache", async () => {
    const script = `
      const { cpuInfo } = await import(${JSON.stringify(path.join(import.meta.dir, "../../src/native/library.ts"))});
      const { libraryFile } = await import(${JSON.stringify(path.join(import.meta.dir, "../../src/native/loader.ts"))});
      process.stdout.write(JSON.stringify({ libraryFile, path: cpuInfo().path }));`;
    const child = Bun.spawn([process.execPath, "-e", script], {
      env: { ...process.env, MAGNET_NO_MEMFD: "1", XDG_CACHE_HOME: folder },
      stdout: "pipe",
      stderr: "pipe",
    });
    const [text, errors] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
    ]);
    expect(errors).toBe("");
    const result = JSON.parse(text);
    expect(result.libraryFile).toStartWith(path.join(folder, "magnet", "lib"));
    expect(result.path).toBe(cpuInfo().path);
  });

  test("a library of another architecture is refused by name", () => {
    const header = new Uint8Array(64);
    header[18] = 183;
    checkArchitecture(header, "arm64");
    expect(() => checkArchitecture(header, "x64")).toThrow(
      "is built for arm64, this process runs on x64",
    );
    expect(() => checkArchitecture(bytes.subarray(0, 4))).toThrow("ELF machine 0");
  });
});
