import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import type { MagnetError } from "../../src/core/errors.ts";
import { openData, prepareData, tokenizerSample } from "../../src/model/data.ts";
import { HeldoutSplit } from "../../src/model/heldout-split.ts";
import { textSplitter } from "../../src/model/text-parts.ts";
import type { TokenFile } from "../../src/model/token-file.ts";
import { prepareTexts, splitTexts } from "../../src/model/tokenise.ts";
import { BOS, byteTokenizer, EOS } from "./byte-tokenizer.ts";
import { faultyDisk } from "./faulty-disk.ts";

let root = "";
let folder = "";
beforeAll(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-data-"));
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));
let made = 0;
beforeEach(() => {
  folder = path.join(root, `case-${made++}`);
  fs.mkdirSync(folder);
});

const tokenizer = byteTokenizer;
const file = (name: string, content: string | Uint8Array) => {
  const target = path.join(folder, name);
  fs.mkdirSync(path.dirname(target), { recursive: true });
  fs.writeFileSync(target, content);
  return target;
};
const prepare = (inputs: string[], heldout_fraction = 0.2) =>
  prepareData({ inputs, tokenizer, out_dir: path.join(folder, "out"), heldout_fraction });
/** Documents of a file as text, with [ and ] for the begin and end token. */
function documents(tokens: TokenFile): string[] {
  return Array.from({ length: tokens.header.document_count }, (_, i) => {
    const start = tokens.documentStart(i);
    const ids = [...tokens.tokens(start, tokens.documentStart(i + 1) - start)];
    const text = ids.flatMap((id) => (id === BOS ? [91] : id === EOS ? [93] : [id]));
    return new TextDecoder().decode(Uint8Array.from(text));
  });
}
const novel = (bytes: number) => {
  const line = (i: number) => `Paragraph ${i} of the novel, with a whale or two in it.\n\n`;
  let text = "";
  for (let i = 0; text.length < bytes; i++) text += line(i);
  return text;
};

describe("preparing", () => {
  test("folders, text and JSONL become packed documents, split without loss", async () => {
    const texts = Array.from({ length: 30 }, (_, i) => `Text number ${i}. ${"x".repeat(i)}`);
    for (const [i, text] of texts.slice(0, 20).entries()) file(`in/deep/${i}.txt`, text);
    const lines = texts.slice(20).map((text, id) => JSON.stringify({ id, text }));
    file("in/more.jsonl", `${lines.join("\n")}\n\n`);
    file("in/image.png", Uint8Array.of(0, 1, 2));
    file("in/.hidden.txt", "hidden");
    const summary = await prepare([path.join(folder, "in")]);
    const data = await openData(path.join(folder, "out"));
    expect(data.summary).toEqual(summary);
    expect(data.tokenizer_json).toBe(tokenizer.toJson());
    const [train, heldout] = [documents(data.train), documents(data.heldout!)];
    expect([...train, ...heldout].sort()).toEqual(texts.map((t) => `[${t}]`).sort());
    expect(heldout.length).toBeGreaterThan(2);
    expect(heldout.length).toBeLessThan(11);
    expect(summary).toMatchObject({ files: 21, ignored_files: 1, vocab_size: 258 });
    const bytes = texts.join("").length;
    expect(summary.train.text_bytes + summary.heldout!.text_bytes).toBe(bytes);
    expect(summary.train.tokens).toBe(summary.train.text_bytes + 2 * train.length);
    data.close();
  });

  test("one large text is cut at blank lines; begin and end appear once", async () => {
    const text = novel(300_000);
    await prepare([file("novel.txt", text)], 0.1);
    const data = await openData(path.join(folder, "out"));
    const all = [...documents(data.train), ...documents(data.heldout!)];
    expect(all.length).toBeGreaterThan(30);
    expect(all.filter((d) => d.startsWith("[")).length).toBe(1);
    expect(all.filter((d) => d.endsWith("]")).length).toBe(1);
    const inner = all.map((d) => d.replace(/^\[|\]$/g, ""));
    for (const part of inner) expect(part.endsWith("\n\n")).toBe(true);
    expect(inner.join("").length).toBe(text.length);
    const share = data.heldout!.header.text_bytes / text.length;
    expect(share).toBeGreaterThan(0.05);
    expect(share).toBeLessThan(0.15);
    data.close();
  });

  test("the same texts in other files and order have the same split; duplicates stay together", () => {
    const texts = Array.from({ length: 40 }, (_, i) => ({
      name: `${i}`,
      bytes: new TextEncoder().encode(`Document ${i % 30} of the set.`),
    }));
    const side = (s: { bytes: Uint8Array }[]) =>
      s.map((p) => `${new TextDecoder().decode(p.bytes)}`);
    const forward = splitTexts(texts, 0.25);
    const backward = splitTexts([...texts].reverse(), 0.25);
    expect(side(backward.heldout).sort()).toEqual(side(forward.heldout).sort());
    const train = new Set(side(forward.train));
    expect(side(forward.heldout).filter((t) => train.has(t))).toEqual([]);
    expect(forward.heldout.length).toBeGreaterThan(4);
  });

  test("files and memory give the same tokens", async () => {
    const texts = Array.from({ length: 12 }, (_, i) => `Chapter ${i}\n\n${novel(2000 * i)}`);
    const named = texts.map((t, i) => ({ name: `${i}`, bytes: new TextEncoder().encode(t) }));
    for (const { name, bytes } of named) file(`in/${name.padStart(2, "0")}.txt`, bytes);
    const { train, heldout, parts } = await prepareTexts(named, {
      tokenizer,
      heldout_fraction: 0.2,
    });
    const summary = await prepare([path.join(folder, "in")], 0.2);
    expect(train.content_hash as string).toBe(summary.train.content_hash);
    expect(heldout.content_hash as string).toBe(summary.heldout!.content_hash);
    const sample = await tokenizerSample({
      inputs: [path.join(folder, "in")],
      heldout_fraction: 0.2,
    });
    expect(sample).toEqual(parts.train.map((p) => p.bytes));
    const small = await tokenizerSample({
      inputs: [path.join(folder, "in")],
      heldout_fraction: 0.2,
      sample_bytes_max: 30_000,
    });
    expect(small.length).toBeLessThan(sample.length);
  });

  test("nothing held out where none is wanted, and an old held-out file goes away", async () => {
    const input = file("a.txt", novel(5000));
    expect((await prepare([input], 0.1)).heldout).not.toBeNull();
    expect((await prepare([input], 0)).heldout).toBeNull();
    const data = await openData(path.join(folder, "out"));
    expect(data.heldout).toBeNull();
    data.close();
  });
});

describe("cutting texts", () => {
  test("parts join to the text, wherever the pieces end and whatever the text", () => {
    const paragraph = fc.string({ unit: "grapheme", maxLength: 3000 });
    fc.assert(
      fc.property(
        fc.array(paragraph, { maxLength: 60 }),
        fc.integer({ min: 1, max: 9999 }),
        (ps, n) => {
          const text = ps.join("\n\n").replaceAll("\u0000", "").replaceAll("\ufeff", "");
          const bytes = new TextEncoder().encode(text);
          const splitter = textSplitter("t", 1024);
          const parts = [];
          for (let at = 0; at < bytes.length; at += n)
            parts.push(...splitter.push(bytes.slice(at, at + n)));
          parts.push(...splitter.finish());
          const joined = Buffer.concat(parts.map((p) => p.bytes)).toString();
          expect(joined.trimStart()).toBe(text.trimStart());
          if (parts.length > 0) {
            expect(parts.map((p) => p.starts).indexOf(true)).toBe(0);
            expect(parts.filter((p) => p.ends).length).toBeLessThanOrEqual(1);
          }
        },
      ),
      { seed: 20_260_305, numRuns: 60 },
    );
  });

  test("a text without blank lines or spaces is cut between characters", () => {
    const splitter = textSplitter("t", 16_384);
    const text = "글".repeat(100_000);
    const parts = [...splitter.push(new TextEncoder().encode(text)), ...splitter.finish()];
    expect(parts.length).toBeGreaterThan(3);
    expect(Math.max(...parts.map((p) => p.bytes.length))).toBeLessThanOrEqual(65_536);
    expect(parts.map((p) => new TextDecoder().decode(p.bytes)).join("")).toBe(text);
  });

  test("a byte-order mark is no text", () => {
    const splitter = textSplitter("t", Number.POSITIVE_INFINITY);
    splitter.push(new TextEncoder().encode("\ufeffhello"));
    expect(splitter.finish()[0]!.bytes).toEqual(new TextEncoder().encode("hello"));
  });

  test("both sides get something, near the wanted share", () => {
    const split = new HeldoutSplit();
    for (let i = 0; i < 2000; i++)
      split.add(new TextEncoder().encode(`d${i} ${"y".repeat(i % 97)}`));
    const low = split.boundary(0.01);
    const high = split.boundary(0.5);
    expect(low).toBeGreaterThan(0);
    expect(low / 65_536).toBeCloseTo(0.01, 1);
    expect(high / 65_536).toBeCloseTo(0.5, 1);
    expect(split.boundary(0)).toBe(0);
  });
});

describe("bad input is one clear error", () => {
  const failure = (inputs: string[], fraction?: number): Promise<MagnetError> =>
    prepare(inputs, fraction).then(
      () => expect.unreachable(),
      (error) => error,
    );
  const cases: [string, string, () => string, RegExp?][] = [
    ["a missing file", "NOT_FOUND", () => path.join(folder, "none.txt")],
    ["an empty file", "DATA_EMPTY", () => file("a.txt", "")],
    ["only white space", "DATA_EMPTY", () => file("a.txt", " \n\n ")],
    ["an empty folder", "DATA_EMPTY", () => folder],
    ["a binary file", "DATA_NOT_TEXT", () => file("a.txt", Uint8Array.of(65, 66, 0, 1)), /byte 2/],
    [
      "invalid UTF-8 far inside",
      "DATA_NOT_TEXT",
      () => {
        const bytes = new TextEncoder().encode(novel(200_000));
        bytes[150_001] = 0xff;
        return file("a.txt", bytes);
      },
      /byte 150001/,
    ],
    [
      "UTF-16",
      "DATA_NOT_TEXT",
      () => file("a.txt", Buffer.from("\ufeffhello", "utf16le")),
      /UTF-16/,
    ],
    [
      "a cut character",
      "DATA_NOT_TEXT",
      () => file("a.txt", Uint8Array.of(65, 0xea, 0xb8)),
      /byte/,
    ],
    [
      "a line that is no JSON",
      "DATA_BAD_JSON",
      () => file("a.jsonl", '{"text":"a"}\n{x\n'),
      /jsonl:2: /,
    ],
    ["a line without text", "DATA_BAD_JSON", () => file("a.jsonl", '{"text":1}\n'), /jsonl:1: /],
    ["one document", "DATA_TOO_SMALL", () => file("a.txt", "Call me Ishmael.")],
  ];
  for (const [name, code, input, message] of cases)
    test(name, async () => {
      const given = input();
      const error = await failure([given]);
      expect(error.code).toBe(code);
      expect(error.hint).toBeString();
      if (message) expect(error.message).toMatch(message);
      if (code !== "DATA_TOO_SMALL") expect(error.message).toContain(given);
      expect(fs.existsSync(path.join(folder, "out", "train.mgt"))).toBe(false);
    });

  test("a full disk at any write keeps what was prepared before", async () => {
    const input = file("a.txt", novel(5000));
    const before = await prepare([input]);
    const other = file("b.txt", novel(9000));
    const out_dir = path.join(folder, "out");
    const run = (at: number) =>
      prepareData({ inputs: [other], tokenizer, out_dir, disk: faultyDisk(at, "ENOSPC").disk });
    for (const at of [2, 3, 4, 6, 8]) {
      await expect(run(at)).rejects.toMatchObject({ code: "DISK_FULL" });
      const data = await openData(out_dir);
      expect(data.summary).toEqual(before);
      data.close();
      expect(fs.readdirSync(out_dir).filter((n) => n.endsWith(".tmp"))).toEqual([]);
    }
  });

  test("a prepared folder whose files were exchanged or are gone", async () => {
    const input = file("a.txt", novel(5000));
    await prepare([input]);
    const out = path.join(folder, "out");
    fs.copyFileSync(path.join(out, "heldout.mgt"), path.join(out, "train.mgt"));
    await expect(openData(out)).rejects.toMatchObject({ code: "TOKENS_CORRUPT" });
    fs.rmSync(path.join(out, "data.json"));
    await expect(openData(out)).rejects.toMatchObject({ code: "DATA_NOT_PREPARED" });
    await expect(openData(path.join(folder, "none"))).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  test("cancelling", async () => {
    const signal = AbortSignal.abort();
    const inputs = [file("a.txt", novel(5000))];
    const out_dir = path.join(folder, "out");
    const run = prepareData({ inputs, tokenizer, out_dir, signal });
    await expect(run).rejects.toMatchObject({ code: "CANCELLED", exit: "interrupted" });
  });
});
