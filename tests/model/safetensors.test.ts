import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import { MagnetError } from "../../src/core/errors.ts";
import { hostFileSystem, writeDurably } from "../../src/model/file-system.ts";
import { bytesOf, SafetensorsFile, writeSafetensors } from "../../src/model/safetensors.ts";
import {
  encodeHeader,
  HEADER_BYTES_MAX,
  headerLength,
  parseHeader,
} from "../../src/model/safetensors-header.ts";

let folder = "";
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-safetensors-"));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const goldenFolder = path.join(import.meta.dir, "../golden/bitnet");

/** A file of this header text and this many data bytes. */
function fileOf(json: string, data_bytes: number): Uint8Array {
  const text = new TextEncoder().encode(json);
  const out = new Uint8Array(8 + text.length + data_bytes);
  new DataView(out.buffer).setBigUint64(0, BigInt(text.length), true);
  out.set(text, 8);
  return out;
}
function parse(file: Uint8Array) {
  const length = headerLength(file.subarray(0, 8), file.length);
  return parseHeader(file.subarray(8, 8 + length), file.length);
}
function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return error instanceof MagnetError ? error.code : `not a MagnetError: ${String(error)}`;
  }
  return "none";
}

describe("a written file", () => {
  test("reads back: names, shapes, metadata and every byte, scalars and empty tensors included", async () => {
    const file = path.join(folder, "round.safetensors");
    const a = Float32Array.from([1.5, -2, 3e-9, Number.NaN, 5, 6]);
    const b = Int32Array.from([-100, 7]);
    await writeDurably(hostFileSystem, file, (out) =>
      writeSafetensors(
        out,
        [
          { name: "a", dtype: "F32", shape: [2, 3], data: bytesOf(a) },
          { name: "empty", dtype: "F16", shape: [0, 4], data: new Uint8Array(0) },
          { name: "scalar", dtype: "U8", shape: [], data: Uint8Array.of(9) },
          {
            name: "b",
            dtype: "I32",
            shape: [2],
            data: () => [bytesOf(b).subarray(0, 3), bytesOf(b).subarray(3)],
          },
        ],
        { note: "한글" },
      ),
    );
    const read = await SafetensorsFile.open(file);
    expect(read.metadata).toEqual({ note: "한글" });
    expect(read.tensors.map((t) => [t.name, t.dtype, t.shape])).toEqual([
      ["a", "F32", [2, 3]],
      ["empty", "F16", [0, 4]],
      ["scalar", "U8", []],
      ["b", "I32", [2]],
    ]);
    expect(bytesOf(await read.floats("a"))).toEqual(bytesOf(a));
    expect(await read.integers("b")).toEqual(b);
    expect(await read.bytes("scalar")).toEqual(Uint8Array.of(9));
    const pieces: Uint8Array[] = [];
    for await (const piece of read.chunks()) pieces.push(piece.slice());
    expect(new Uint8Array(Buffer.concat(pieces))).toEqual(new Uint8Array(fs.readFileSync(file)));
    expect(read.entry("a").begin % 4).toBe(0);
    await expect(read.bytes("missing")).rejects.toMatchObject({ code: "TENSOR_MISSING" });
    await expect(read.integers("a")).rejects.toMatchObject({ code: "SHAPE_MISMATCH" });
    await read.close();
  });

  test("of the golden vectors, made by another writer, is accepted", async () => {
    const read = await SafetensorsFile.open(
      path.join(goldenFolder, "train_tiny_subln.safetensors"),
    );
    expect(read.entry("tokens").shape).toEqual([3, 1, 33]);
    expect((await read.integers("tokens")).every((t) => t >= 0 && t < 257)).toBe(true);
    expect(JSON.parse(read.metadata.config!).vocab).toBe(257);
    await read.close();
  });
});

describe("a hostile or damaged header is one clear error", () => {
  const f32 = (begin: number, end: number, shape = "[1]") =>
    `{"dtype":"F32","shape":${shape},"data_offsets":[${begin},${end}]}`;
  const corrupt: [string, Uint8Array][] = [
    ["shorter than a length", new Uint8Array(5)],
    ["a header length beyond the file", fileOf("{}", 0).fill(9, 0, 1)],
    ["a header length beyond the limit", new Uint8Array(64).fill(255, 0, 8)],
    ["no JSON", fileOf("hello", 0)],
    ["an array", fileOf("[]", 0)],
    ["deep nesting", fileOf("[".repeat(100_000), 0)],
    ["an unfinished string", fileOf('{"a', 0)],
    ["the same name twice", fileOf(`{"a":${f32(0, 4)},"a"  :${f32(0, 4)}}`, 4)],
    ["the same name, escaped", fileOf(`{"a":${f32(0, 4)},"\\u0061":${f32(0, 4)}}`, 4)],
    [
      "a field twice",
      fileOf(`{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4),
    ],
    ["an overlap", fileOf(`{"a":${f32(0, 4)},"b":${f32(2, 6)}}`, 6)],
    ["two names for one range", fileOf(`{"a":${f32(0, 4)},"b":${f32(0, 4)}}`, 4)],
    ["a hole", fileOf(`{"a":${f32(0, 4)},"b":${f32(8, 12)}}`, 12)],
    ["bytes behind the last tensor", fileOf(`{"a":${f32(0, 4)}}`, 5)],
    ["a tensor beyond the file", fileOf(`{"a":${f32(0, 4)}}`, 3)],
    ["an end before its start", fileOf(`{"a":${f32(4, 0)}}`, 4)],
    ["a shape of another size", fileOf(`{"a":${f32(0, 4, "[2]")}}`, 4)],
    ["an overflowing shape", fileOf(`{"a":${f32(0, 4, "[4294967296,4294967296,4294967296]")}}`, 4)],
    ["a negative size", fileOf(`{"a":${f32(0, 4, "[-1,-1]")}}`, 4)],
    ["a fraction", fileOf(`{"a":${f32(0, 4, "[0.5,2]")}}`, 4)],
    ["an unknown type", fileOf(`{"a":{"dtype":"toString","shape":[1],"data_offsets":[0,4]}}`, 4)],
    ["a surplus field", fileOf(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}`, 1)],
    ["metadata that is no text", fileOf(`{"__metadata__":{"a":1}}`, 0)],
    ["a header that is not UTF-8", fileOf("{}", 0).fill(0xff, 8, 9)],
    ["an empty name", fileOf(`{"":${f32(0, 4)}}`, 4)],
  ];
  for (const [name, file] of corrupt)
    test(name, () => {
      expect(codeOf(() => parse(file))).toBe("SAFETENSORS_CORRUPT");
    });

  test("a type of the format that we do not read is named", () => {
    const file = fileOf(`{"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}`, 8);
    expect(codeOf(() => parse(file))).toBe("UNSUPPORTED");
  });
  test("a name like an object's own field is only a name", () => {
    const file = fileOf(`{"__proto__":${f32(0, 4)},"constructor":${f32(4, 8)}}`, 8);
    expect([...parse(file).tensors.keys()]).toEqual(["__proto__", "constructor"]);
  });
  test("a length just beyond the limit is refused before anything is read", () => {
    const first8 = new Uint8Array(8);
    new DataView(first8.buffer).setBigUint64(0, BigInt(HEADER_BYTES_MAX + 1), true);
    expect(codeOf(() => headerLength(first8, 2 ** 40))).toBe("SAFETENSORS_CORRUPT");
  });

  test("mutated bytes never end in anything but a header or a MagnetError", () => {
    const header = encodeHeader(
      [
        { name: "model.embed_tokens.weight", dtype: "F32", shape: [3, 4] },
        { name: "model.norm.weight", dtype: "BF16", shape: [4] },
      ],
      { format: "pt" },
    );
    const whole = new Uint8Array(header.length + 56);
    whole.set(header);
    const mutation = fc.array(
      fc.tuple(fc.nat(header.length + 8), fc.integer({ min: 0, max: 255 })),
      {
        minLength: 1,
        maxLength: 6,
      },
    );
    fc.assert(
      fc.property(mutation, fc.option(fc.nat(whole.length)), (changes, cut) => {
        const file = whole.slice(0, cut ?? whole.length);
        for (const [at, value] of changes) if (at < file.length) file[at] = value;
        expect(codeOf(() => parse(file))).toMatch(/^(none|SAFETENSORS_CORRUPT|UNSUPPORTED)$/);
      }),
      { seed: 20_260_301, numRuns: 3000 },
    );
  });
});

describe("opening", () => {
  test("a missing file, a folder and a cut file", async () => {
    await expect(SafetensorsFile.open(path.join(folder, "none"))).rejects.toMatchObject({
      code: "NOT_FOUND",
    });
    await expect(SafetensorsFile.open(folder)).rejects.toMatchObject({ code: "NOT_A_FILE" });
    const cut = path.join(folder, "cut.safetensors");
    const golden = fs.readFileSync(path.join(goldenFolder, "train_small_llama.safetensors"));
    fs.writeFileSync(cut, golden.subarray(0, golden.length - 1));
    await expect(SafetensorsFile.open(cut)).rejects.toMatchObject({
      code: "SAFETENSORS_CORRUPT",
      exit: "verification",
      message: expect.stringContaining(cut),
    });
  });
});
