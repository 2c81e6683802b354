/** JSONL: fields, long lines against JSON.parse, places of errors, packed files. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import type { MagnetError } from "../../src/core/errors.ts";
import { readParts } from "../../src/model/data.ts";
import { jsonlSplitter, WHOLE_LINE_BYTES_MAX } from "../../src/model/jsonl-parts.ts";
import { LongJsonLine } from "../../src/model/long-json-line.ts";
import { type TextPart, textSplitter } from "../../src/model/text-parts.ts";

let root = "";
let folder = "";
let made = 0;
beforeAll(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-jsonl-"));
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));
beforeEach(() => {
  folder = path.join(root, `case-${made++}`);
  fs.mkdirSync(folder);
});
const file = (name: string, content: string | Uint8Array) => {
  const target = path.join(folder, name);
  fs.writeFileSync(target, content);
  return target;
};
const textOf = (parts: readonly TextPart[]) => Buffer.concat(parts.map((p) => p.bytes)).toString();
const failure = (run: Promise<unknown>): Promise<MagnetError> =>
  run.then(
    () => expect.unreachable(),
    (error) => error,
  );

/** The text of a line through the parser for long lines, in pieces of `piece_bytes`. */
function longLine(line: string, piece_bytes: number, field = "text"): string {
  const json = new LongJsonLine(field, textSplitter("t", 100, true));
  const bytes = new TextEncoder().encode(line);
  const parts: TextPart[] = [];
  for (let at = 0; at < bytes.length; at += piece_bytes)
    parts.push(...json.push(bytes.slice(at, at + piece_bytes)));
  parts.push(...json.finish());
  return textOf(parts);
}
/** Without blank parts at the start: blank text is no document. */
const start = (text: string | null) => {
  let at = 0;
  while (text !== null && text.charCodeAt(at) <= 32) at++;
  return text?.slice(at);
};
/** What the parser of whole lines makes of it, or null where it refuses. */
function expectedText(line: string): string | null {
  try {
    const value = JSON.parse(line);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    if (!isObject || !Object.hasOwn(value, "text") || typeof value.text !== "string") return null;
    return Buffer.from(new TextEncoder().encode(value.text)).toString();
  } catch {
    return null;
  }
}

describe("a line that is too long to hold", () => {
  const text = fc.string({ unit: "binary", maxLength: 400 });
  const line = fc
    .tuple(fc.dictionary(fc.string(), fc.jsonValue()), text, fc.boolean())
    .map(([rest, content, first]) => {
      const { text: _, ...others } = rest;
      const value = first ? { text: content, ...others } : { ...others, text: content };
      return JSON.stringify(value);
    });

  test("gives the text that JSON.parse gives, wherever its pieces end", () => {
    fc.assert(
      fc.property(line, fc.integer({ min: 1, max: 300 }), (given, piece_bytes) => {
        const expected = expectedText(given)!;
        expect(start(longLine(given, piece_bytes))).toBe(start(expected));
      }),
      { seed: 20_261_122, numRuns: 500 },
    );
    const escapes = String.raw`{"a":[1,-2.5e+3,{"text":"no"}],"te\u0078t":"\ud83d\ude00\ud83d \"\/\b\u00e9\\","b":{}}`;
    for (let piece = 1; piece < 20; piece++)
      expect(longLine(escapes, piece)).toBe(`😀\ufffd "/\bé\\`);
  });

  test("refuses what JSON.parse refuses, after any change of a byte", () => {
    const change = fc.tuple(fc.nat(), fc.constantFrom(...'{}[],:"\\ 0-1.eEtnu\nx\u0001'));
    fc.assert(
      fc.property(line, fc.array(change, { maxLength: 2 }), (given, changes) => {
        const letters = [...given];
        for (const [at, letter] of changes) letters[at % letters.length] = letter;
        const changed = letters.join("").replaceAll("\n", " ");
        const expected = expectedText(changed);
        let found: string | null = null;
        try {
          found = longLine(changed, 7);
        } catch {
          found = null;
        }
        const twice = (changed.match(/"text"/g) ?? []).length > 1;
        if (!twice) expect(start(found)).toBe(start(expected));
      }),
      { seed: 20_261_123, numRuns: 2000 },
    );
    for (const bad of ['{"text":"a"', '{"text":"a', '["text"]', '{"text":1}', "", '{"text":"a"}}'])
      expect(() => longLine(bad, 3)).toThrow();
    expect(() => longLine(`{"text":"a","b":${"[".repeat(300)}`, 50)).toThrow("deeper");
    expect(() => longLine('{"text":"a","text":"b"}', 50)).toThrow("twice");
  });

  test("is cut as a large text is, and its neighbours stay whole documents", () => {
    const long = Array.from({ length: 60_000 }, (_, i) => `Line ${i} of it.\n\n`).join("");
    expect(long.length).toBeGreaterThan(WHOLE_LINE_BYTES_MAX);
    const lines = ["first", long, "last"].map((t) => JSON.stringify({ id: 1, text: t }));
    const splitter = jsonlSplitter("t");
    const bytes = new TextEncoder().encode(lines.join("\n"));
    const parts: TextPart[] = [];
    for (let at = 0; at < bytes.length; at += 100_000)
      parts.push(...splitter.push(bytes.subarray(at, at + 100_000)));
    parts.push(...splitter.finish());
    expect(textOf(parts)).toBe(`first${long}last`);
    expect(parts.filter((p) => p.starts).length).toBe(3);
    expect(parts.filter((p) => p.ends).length).toBe(3);
    expect(Math.max(...parts.map((p) => p.bytes.length))).toBeLessThan(65_536);
  });
});

describe("fields and places", () => {
  test("another field is named; prototype properties are no fields", async () => {
    const input = file("a.jsonl", '{"body":"one","text":2}\r\n\n{"body":"two"}');
    const parts = await readParts([input], { text_field: "body" });
    expect(parts.map((p) => textOf([p]))).toEqual(["one", "two"]);
    const error = await failure(readParts([input], { text_field: "constructor" }));
    expect(error).toMatchObject({ code: "DATA_BAD_JSON" });
    expect(error.message).toBe(`${input}:1: no string field "constructor"`);
  });

  test.each([
    ["no JSON", '{"text":"a"}\n{"text":"b"\n', 2],
    ["a list", '{"text":"a"}\n\n["b"]\n', 3],
    ["a number", "7\n", 1],
  ])("%s is refused with file and line", async (_, content, number) => {
    const input = file("bad.jsonl", content);
    const error = await failure(readParts([input]));
    expect(error.code).toBe("DATA_BAD_JSON");
    expect(error.message).toStartWith(`${input}:${number}: `);
    expect(error.hint).toContain("--text-field");
  });

  test("a long line that ends badly, or is not UTF-8, is refused with its place", async () => {
    const filler = "x".repeat(WHOLE_LINE_BYTES_MAX);
    const cut = file("cut.jsonl", `{"text":"a"}\n{"text":"${filler}"`);
    expect((await failure(readParts([cut]))).message).toStartWith(`${cut}:2: not JSON`);
    const without = file("without.jsonl", `{"body":"${filler}"}`);
    expect((await failure(readParts([without]))).message).toContain('no string field "text"');
    const start = Buffer.from(`{"text":"ok"}\n{"text":"é${filler}`);
    const broken = file("broken.jsonl", Buffer.concat([start, Buffer.from([0xff, 0x22, 0x7d])]));
    const error = await failure(readParts([broken]));
    expect(error).toMatchObject({ code: "DATA_NOT_TEXT" });
    expect(error.message).toContain(`byte ${start.length}`);
  });
});

describe("files packed with gzip", () => {
  test("give what they hold; several members are one text", async () => {
    const text = "One line of it.\n\n".repeat(20_000);
    const plain = await readParts([file("a.txt", text)]);
    const half = text.length / 2;
    const members = [text.slice(0, half), text.slice(half)].map((t) => gzipSync(t));
    const packed = await readParts([file("b.txt.gz", Buffer.concat(members))]);
    expect(textOf(packed)).toBe(textOf(plain));
    const lines = await readParts([file("c.jsonl.gz", gzipSync('{"text":"one"}\n{"text":"two"}'))]);
    expect(lines.length).toBe(2);
    const found = await readParts([folder]);
    expect(textOf(found)).toBe(`${text}${text}onetwo`);
  });

  test("damage is one error with the file's name", async () => {
    const whole = gzipSync("text ".repeat(10_000));
    for (const bytes of [whole.subarray(0, whole.length - 20), Buffer.from("no gzip at all")]) {
      const input = file("bad.txt.gz", bytes);
      const error = await failure(readParts([input]));
      expect(error).toMatchObject({ code: "DATA_BAD_GZIP" });
      expect(error.message).toContain(input);
    }
  });
});
