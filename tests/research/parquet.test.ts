/** Parquet in: kinds, codecs, times; damaged and lying files end in one error and quickly. */
import { afterAll, expect, test } from "bun:test";
import fs from "node:fs";
import fc from "fast-check";
import { parquetWriteBuffer } from "hyparquet-writer";
import { MagnetError } from "../../src/core/errors.ts";
import { CellTable } from "../../src/research/table/cells.ts";
import { readParquet } from "../../src/research/table/parquet.ts";
import { readTable } from "../../src/research/table/read.ts";
import { failure, scratch } from "./planted.ts";

const { folder, file } = scratch();
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const ROWS = 500;
const columnData = [
  {
    name: "x",
    data: Array.from({ length: ROWS }, (_, i) => (i % 7 === 0 ? null : i / 3)),
    type: "DOUBLE" as const,
  },
  {
    name: "n",
    data: Array.from({ length: ROWS }, (_, i) => BigInt(i * 1000)),
    type: "INT64" as const,
  },
  {
    name: "word",
    data: Array.from({ length: ROWS }, (_, i) => ["b", "a", "NA"][i % 3]!),
    type: "STRING" as const,
  },
  {
    name: "yes",
    data: Array.from({ length: ROWS }, (_, i) => i % 2 === 0),
    type: "BOOLEAN" as const,
  },
  {
    name: "at",
    data: Array.from({ length: ROWS }, (_, i) => new Date(1e12 + i * 1000)),
    type: "TIMESTAMP" as const,
  },
];
const written = (codec: "SNAPPY" | "UNCOMPRESSED" = "SNAPPY") =>
  new Uint8Array(parquetWriteBuffer({ columnData, codec }));

test("numbers, integers, text, booleans and times come as the same columns as from CSV", async () => {
  for (const codec of ["SNAPPY", "UNCOMPRESSED"] as const) {
    const { table, notes } = await readTable([file("t.parquet", written(codec))]);
    expect(notes).toEqual([]);
    expect(table.rows).toBe(ROWS);
    const [x, n, word, yes, at] = table.columns;
    expect(x!.kind === "number" && [...x!.values.slice(0, 3)]).toEqual([Number.NaN, 1 / 3, 2 / 3]);
    expect(n!.kind === "number" && n!.values[499]).toBe(499_000);
    expect(word!.kind === "category" && word!.levels).toEqual(["a", "b"]);
    expect(word!.kind === "category" && [...word!.codes.slice(0, 3)]).toEqual([1, 0, -1]);
    expect(yes!.kind === "category" && yes!.levels).toEqual(["false", "true"]);
    expect(at!.kind === "number" && at!.time && at!.values[2]).toBe(1e12 + 2000);
  }
});

test("a file without the right name is known by its first bytes", async () => {
  expect((await readTable([file("t.data", written())])).table.rows).toBe(ROWS);
});

test("a file cut at any place is one clear error", async () => {
  const whole = written();
  for (let length = 4; length < whole.length; length += 97) {
    const error = await failure(() => readTable([file("cut.parquet", whole.slice(0, length))]));
    expect(error.code).toBe("BAD_TABLE");
    expect(error.hint).toContain("damaged");
  }
});

test("nested values are refused by name", async () => {
  const bytes = parquetWriteBuffer({
    columnData: [
      { name: "deep", data: [{ a: 1 }], type: "JSON" },
      { name: "x", data: [1], type: "DOUBLE" },
    ],
  });
  const error = await failure(() => readTable([file("b.parquet", new Uint8Array(bytes))]));
  expect(error.message).toContain('"deep" holds');
});

test("random bytes between the marks, and random ends of a good file: one clear error", async () => {
  const whole = written();
  const mark = new TextEncoder().encode("PAR1");
  const garbage = fc
    .uint8Array({ maxLength: 400 })
    .map((bytes) => new Uint8Array([...mark, ...bytes, ...mark]));
  const otherEnd = fc
    .tuple(fc.nat(whole.length - 1), fc.uint8Array({ minLength: 1, maxLength: 12 }))
    .map(([length, end]) => new Uint8Array([...whole.slice(0, length), ...end]));
  const readable = async (bytes: Uint8Array) => {
    try {
      await readTable([file("garbage.parquet", bytes)]);
    } catch (error) {
      if (!(error instanceof MagnetError)) throw error;
      expect(error.hint).toBeTruthy();
    }
  };
  await fc.assert(fc.asyncProperty(fc.oneof(garbage, otherEnd), readable), { numRuns: 600 });
});

test("a damaged page that never ends is given up, and does not hold the process", async () => {
  const at = (i: number) => (i % 3 === 2 ? null : i % 2 === 1 ? "a" : "b");
  const columns = [{ name: "w", data: Array.from({ length: ROWS }, (_, i) => at(i)) }];
  const bytes = parquetWriteBuffer({ columnData: columns, codec: "UNCOMPRESSED" });
  let endless = 0;
  // One run length among the first bytes of the pages is made absurd at each place in turn.
  for (let place = 4; place < 90 && endless === 0; place += 1) {
    const damaged = new Uint8Array(bytes.slice(0));
    damaged.set([219, 255, 255, 255, 255, 255], place);
    const error = await failure(() =>
      readParquet("endless.parquet", damaged, new CellTable(), 0.3),
    ).catch(() => null); // this place decides nothing
    if (error?.message.includes("do not end")) endless++;
  }
  expect(endless).toBe(1);
}, 60_000);
