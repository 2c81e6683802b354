/** Reading tables: formats, kinds of columns, what is refused and how, and garbage in every form. */
import { afterAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import fc from "fast-check";
import { MagnetError } from "../../src/core/errors.ts";
import { timeOf } from "../../src/research/table/infer.ts";
import { toLearnerMatrix } from "../../src/research/table/matrix.ts";
import { readTable } from "../../src/research/table/read.ts";
import type { Column } from "../../src/research/table/types.ts";
import { failure, scratch } from "./planted.ts";

const { folder, file } = scratch();
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const readCsvText = (text: string | Uint8Array) => readTable([file("t.csv", text)]);
async function column(text: string): Promise<Column> {
  const { table } = await readCsvText(
    `c,other\n${text
      .split("\n")
      .map((c) => `${c},1`)
      .join("\n")}`,
  );
  return table.columns[0]!;
}
const numbers = (c: Column) => (c.kind === "number" ? [...c.values] : "category");
const texts = (c: Column) =>
  c.kind === "category" ? [...c.codes].map((code) => c.levels[code] ?? null) : "number";

describe("CSV", () => {
  test("a byte order mark, CRLF, quotes, empty lines and no last newline", async () => {
    const { table } = await readCsvText('\uFEFF"a","b, ""c"""\r\n1,"x\r\ny"\r\n\r\n2,"z"');
    expect(table.rows).toBe(2);
    expect(table.columns.map((c) => c.name)).toEqual(["a", 'b, "c"']);
    expect(numbers(table.columns[0]!)).toEqual([1, 2]);
    expect(texts(table.columns[1]!)).toEqual(["x\r\ny", "z"]);
  });

  test("semicolons and tabs are seen", async () => {
    for (const separator of [";", "\t", "|"]) {
      const { table } = await readCsvText(`a${separator}"b,c"\n1${separator}2\n`);
      expect(table.columns.map((c) => c.name)).toEqual(["a", "b,c"]);
    }
  });

  test("a ragged row is an error with its line", async () => {
    const error = await failure(() => readCsvText("a,b\n1,2\n3\n"));
    expect(error.code).toBe("BAD_TABLE");
    expect(error.message).toContain("t.csv:3");
    expect(error.hint).toContain("as many cells");
  });

  test("two columns of one name, an open quote, no rows, no file", async () => {
    expect((await failure(() => readCsvText("a,a\n1,2\n"))).message).toContain('called "a"');
    expect((await failure(() => readCsvText('a,b\n"1,2\n3,4\n'))).hint).toContain("quote");
    expect((await failure(() => readCsvText("a,b\n"))).message).toContain("no rows");
    expect((await failure(() => readCsvText(""))).message).toContain("empty");
    expect((await failure(() => readTable(["/nowhere.csv"]))).code).toBe("NOT_FOUND");
  });

  test("a cell of 10 MB is refused by its column, not read", async () => {
    const error = await failure(() => readCsvText(`a,b\n1,${"x".repeat(10_000_000)}\n`));
    expect(error.message).toContain('column "b" has 10000000 characters');
    const quoted = await failure(() => readCsvText(`a,b\n1,"${"x\n".repeat(5_000_000)}"\n`));
    expect(quoted.message).toContain("characters in one cell");
  });

  test("other encodings and compressed files are named with the command that helps", async () => {
    const latin = new Uint8Array([97, 10, 0xe9, 10]);
    expect((await failure(() => readCsvText(latin))).hint).toContain("iconv -f LATIN1");
    const utf16 = new Uint8Array([0xff, 0xfe, 97, 0]);
    expect((await failure(() => readCsvText(utf16))).hint).toContain("iconv -f UTF-16");
    expect((await failure(() => readCsvText(Bun.gzipSync("a\n1\n")))).hint).toContain("gunzip");
    expect((await failure(() => readCsvText("a\n\0\n"))).message).toContain("zero bytes");
  });

  test("files are put below each other; other columns are named", async () => {
    const first = file("1.csv", "a,b\n1,x\n");
    const second = file("2.csv", "b,a\ny,2\n"); // another order is no harm
    const { table } = await readTable([first, second]);
    expect(numbers(table.columns[0]!)).toEqual([1, 2]);
    expect(texts(table.columns[1]!)).toEqual(["x", "y"]);
    const third = file("3.csv", "a,bb\n1,2\n");
    const error = await failure(() => readTable([first, third]));
    expect(error.message).toContain('3.csv has a column "bb"');
    expect(error.hint).toBe("did you mean b?");
  });
});

describe("kinds of columns", () => {
  test("numbers with missing ones; infinities count as missing and are said", async () => {
    expect(numbers(await column("1\nNA\n-2.5e3\n\n .5 \nNaN"))).toEqual([
      1,
      Number.NaN,
      -2500,
      Number.NaN,
      0.5,
      Number.NaN,
    ]);
    const { table, notes } = await readCsvText("c,d\n1,1\nInf,2\n-inf,3\n");
    expect(numbers(table.columns[0]!)).toEqual([1, Number.NaN, Number.NaN]);
    expect(notes.map((n) => n.code)).toEqual(["INFINITE_VALUES"]);
    expect(notes[0]!.text).toContain('"c" has 2 infinite');
  });

  test("categories in the order of their text, missing as -1", async () => {
    const c = await column("b\na\nNA\nb");
    expect(c.kind === "category" && c.levels).toEqual(["a", "b"]);
    expect(texts(c)).toEqual(["b", "a", null, "b"]);
    expect(texts(await column("TRUE\nFALSE"))).toEqual(["TRUE", "FALSE"]);
  });

  test("codes of one width with leading zeros stay text", async () => {
    expect(texts(await column("00501\n90210"))).toEqual(["00501", "90210"]);
    expect(numbers(await column("0\n12\n007"))).toEqual([0, 12, 7]);
  });

  test("a few texts among many numbers are said and missing", async () => {
    const cells = Array.from({ length: 100 }, (_, i) => (i === 7 ? "oops" : String(i)));
    const { table, notes } = await readCsvText(`c,d\n${cells.map((c) => `${c},1`).join("\n")}`);
    expect(table.columns[0]!.kind).toBe("number");
    expect(notes[0]!.code).toBe("TEXT_AMONG_NUMBERS");
    expect(notes[0]!.text).toContain('"oops"');
  });

  test("times in ISO 8601; impossible dates are no times", async () => {
    expect(timeOf("2024-02-29T12:30:15.250Z")).toBe(Date.UTC(2024, 1, 29, 12, 30, 15, 250));
    expect(timeOf("2024-05-31 08:00+02:00")).toBe(Date.UTC(2024, 4, 31, 6));
    expect(timeOf("1969-12-31")).toBe(-86_400_000);
    for (const bad of ["2023-02-29", "2024-13-01", "2024-01-01T25:00", "24-01-01", "2024-1-1"])
      expect(timeOf(bad)).toBeNaN();
    const c = await column("2024-01-01\nNA\n2024-01-03");
    expect(c.kind === "number" && c.time).toBe(true);
  });
});

describe("JSON lines", () => {
  const readJsonl = (text: string) => readTable([file("t.jsonl", text)]);

  test("keys are columns, absent ones are missing, kinds are kept", async () => {
    const { table } = await readJsonl(
      '{"a":1,"b":"x"}\n\n{"b":"y","c":true}\n{"a":null,"c":false}',
    );
    expect(table.rows).toBe(3);
    expect(numbers(table.columns[0]!)).toEqual([1, Number.NaN, Number.NaN]);
    expect(texts(table.columns[1]!)).toEqual(["x", "y", null]);
    expect(texts(table.columns[2]!)).toEqual([null, "true", "false"]);
  });

  test("what is no object, and nested values, are errors with their line", async () => {
    expect((await failure(() => readJsonl('{"a":1}\n[1]'))).message).toContain("t.jsonl:2");
    expect((await failure(() => readJsonl('{"a":1}\n{"a":'))).message).toContain(":2: not JSON");
    expect((await failure(() => readJsonl('{"a":{"b":1}}'))).message).toContain("holds an object");
    expect((await failure(() => readJsonl('{"a":[1]}'))).message).toContain("holds a list");
  });
});

test("the learners' matrix: columns, codes, times as days, bounds of float32", async () => {
  const { table } = await readCsvText("n,c,t\n1e300,b,1970-01-03\nNA,NA,1970-01-02\n-1,a,NA\n");
  const matrix = toLearnerMatrix(table);
  expect([...matrix.levels]).toEqual([0, 2, 0]);
  expect([...matrix.values]).toEqual([
    Math.fround(3.4028234663852886e38),
    Number.NaN,
    -1,
    1,
    Number.NaN,
    0,
    2,
    1,
    Number.NaN,
  ]);
  expect([...toLearnerMatrix(table, [table.columns[1]!]).values]).toEqual([1, Number.NaN, 0]);
});

describe("garbage", () => {
  const readable = async (name: string, bytes: Uint8Array | string) => {
    try {
      const { table } = await readTable([file(name, bytes)]);
      for (const c of table.columns)
        expect(c.kind === "number" ? c.values.length : c.codes.length).toBe(table.rows);
    } catch (error) {
      if (!(error instanceof MagnetError)) throw error;
      expect(error.hint).toBeTruthy();
      expect(error.message.length).toBeLessThan(1000);
    }
  };

  test("random bytes and text as any format end in a table or one clear error", async () => {
    const names = fc.constantFrom("g.csv", "g.tsv", "g.jsonl", "g.parquet");
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.string({ maxLength: 300 }).map((s) => new TextEncoder().encode(s)),
      fc
        .array(
          fc.constantFrom(",", '"', "\n", "\r\n", "a", "1", "é", "\t", "{", "}", ":", "[", "null"),
        )
        .map((parts) => new TextEncoder().encode(parts.join(""))),
    );
    await fc.assert(fc.asyncProperty(names, bytes, readable), { numRuns: 1500 });
  });
});
