/** Preference pairs from text: which stretches, which rejected responses, which side. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { prepareData } from "../../src/model/data.ts";
import { LowestSample } from "../../src/model/lowest-sample.ts";
import { cutPlace, cutText } from "../../src/model/text-cuts.ts";
import { makeTextPairs, type TextPairsOptions } from "../../src/model/text-pairs.ts";
import { readParts } from "../../src/model/text-reader.ts";
import { bytesTokenizer, writeLines } from "./align-fixture.ts";
import { errorOf } from "./error-of.ts";
import { chapters } from "./training-fixture.ts";

interface Line {
  prompt: string;
  chosen: string;
  rejected: string;
  heldout: boolean;
}
let root = "";
let folder = "";
const texts = new Map<string, string>();
beforeAll(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-text-pairs-"));
  folder = path.join(root, "texts");
  fs.mkdirSync(folder);
  for (const { name, bytes } of chapters(24)) {
    fs.writeFileSync(path.join(folder, `${name}.txt`), bytes);
    texts.set(name, new TextDecoder().decode(bytes));
  }
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

async function make(name: string, change: Partial<TextPairsOptions> = {}) {
  const out_file = path.join(root, name);
  const summary = await makeTextPairs({
    ...{ inputs: [folder], out_file, lengths: { prompt: 120, response: 80 }, seed: 7n },
    ...{ count: 200, heldout_count: 40, heldout_fraction: 0.2, ...change },
  });
  const text = fs.readFileSync(out_file, "utf8");
  return {
    summary,
    text,
    lines: text
      .trim()
      .split("\n")
      .map((l) => JSON.parse(l) as Line),
  };
}
/** The chapters that hold a text. */
const placesOf = (text: string) => [...texts].filter(([, t]) => t.includes(text)).map(([n]) => n);

describe("pairs from text", () => {
  test("go on truly, are answered by another document, and occur once", async () => {
    const { summary, lines } = await make("pairs.jsonl");
    expect(summary).toMatchObject({ pairs: 200, heldout_pairs: 40, documents: 24 });
    expect(lines).toHaveLength(240);
    for (const { prompt, chosen, rejected } of lines) {
      const [place] = placesOf(prompt + chosen);
      expect(place).toBeDefined();
      expect(placesOf(rejected)).not.toContain(place!);
      expect(Math.abs(prompt.length - 120)).toBeLessThan(40);
      expect(Math.abs(chosen.length - 80)).toBeLessThan(40);
      expect(chosen).toMatch(/^\s/); // the same kind of place for both
      expect(rejected).toMatch(/^\s/);
    }
    for (const field of ["prompt", "chosen"] as const)
      expect(new Set(lines.map((line) => line[field])).size).toBe(240);
  });

  test("hold out the documents that training holds out", async () => {
    const { lines } = await make("held.jsonl");
    const out_dir = path.join(root, "data");
    const prepared = await prepareData({
      ...{ inputs: [folder], tokenizer: bytesTokenizer, out_dir, heldout_fraction: 0.2 },
    });
    const sides = new Map<string, boolean>();
    for (const { prompt, chosen, rejected, heldout } of lines)
      for (const text of [prompt + chosen, rejected]) {
        const [place] = placesOf(text);
        expect(sides.get(place!) ?? heldout).toBe(heldout);
        sides.set(place!, heldout);
      }
    const held = [...sides].filter(([, side]) => side).map(([name]) => name);
    const bytes = held.reduce(
      (n, name) => n + new TextEncoder().encode(texts.get(name)!).length,
      0,
    );
    expect(prepared.heldout!.text_bytes).toBe(bytes);
  });

  test("are the same from the same seed, wherever the texts are", async () => {
    const first = await make("first.jsonl");
    const moved = path.join(root, "moved");
    fs.mkdirSync(moved);
    const names = [...texts.keys()].toReversed();
    for (const [i, name] of names.entries())
      fs.copyFileSync(path.join(folder, `${name}.txt`), path.join(moved, `${i}.txt`));
    const second = await make("second.jsonl", { inputs: [moved] });
    expect(second.text).toBe(first.text);
    expect(second.summary.sha256).toBe(first.summary.sha256);
    expect((await make("other.jsonl", { seed: 8n })).text).not.toBe(first.text);
  });

  test("can be measured in tokens", async () => {
    const units = { tokenizer: bytesTokenizer, lengths: { prompt: 120, response: 80 } };
    expect((await make("tokens.jsonl", units)).text).toBe((await make("bytes.jsonl")).text);
  });

  test("of one document alone take another part of it; texts too short are an error", async () => {
    const book = path.join(root, "book.txt");
    fs.writeFileSync(book, [...texts.values()].join("\n\n"));
    const { lines, summary } = await make("book.jsonl", { inputs: [book], count: 50 });
    expect(summary.documents).toBe(1);
    for (const { chosen, rejected } of lines) expect(rejected).not.toBe(chosen);
    const short = writeLines(path.join(root, "short.jsonl"), [{ text: "a b" }, { text: "c d" }]);
    const error = await errorOf(make("none.jsonl", { inputs: [short] }));
    expect(error.code).toBe("DATA_TOO_SMALL");
    expect(fs.existsSync(path.join(root, "none.jsonl"))).toBe(false);
  });

  test("drop what is there twice", async () => {
    const copy = path.join(root, "copy");
    fs.cpSync(folder, copy, { recursive: true });
    const all = { count: 1e6, heldout_count: 1e6 };
    const once = await make("once.jsonl", all);
    const twice = await make("twice.jsonl", { ...all, inputs: [folder, copy] });
    expect(twice.text).toBe(once.text);
    expect(twice.summary.duplicates).toBe(once.lines.length + 2 * once.summary.duplicates);
  });

  test("keep whole characters", async () => {
    const text = "漢字かな交じり文を切る。".repeat(20);
    const bytes = new TextEncoder().encode(text);
    for (let at = 1; at < 30; at++)
      expect(text).toContain(new TextDecoder().decode(bytes.subarray(0, cutPlace(bytes, at))));
    const lengths = { prompt: 31, response: 20 };
    const cuts = await cutText(bytes, { lengths, seed: 1n });
    expect(cuts.length).toBeGreaterThan(5);
    for (const cut of cuts) expect(text).toContain(cut.prompt + cut.continuation);
  });

  test("all parts of the text are used when enough pairs are wanted", async () => {
    const { lines } = await make("many.jsonl", { count: 1e6, heldout_count: 1e6 });
    const parts = await readParts([folder]);
    const bytes = parts.reduce((n, part) => n + part.bytes.length, 0);
    const used = lines.reduce((n, l) => n + Buffer.byteLength(l.prompt + l.chosen), 0);
    expect(used / bytes).toBeGreaterThan(0.95);
    expect(used / bytes).toBeLessThanOrEqual(1);
  });
});

describe("a sample of the lowest keys", () => {
  test("does not depend on the order, and has each key once", () => {
    const keys = Array.from({ length: 5000 }, (_, i) => String((i * 7919) % 3001).padStart(5, "0"));
    const sampleOf = (given: string[]) => {
      const sample = new LowestSample<string>(50);
      for (const key of given) sample.add(key, key);
      return sample.values();
    };
    const expected = [...new Set(keys)].sort().slice(0, 50);
    expect(sampleOf(keys)).toEqual(expected);
    expect(sampleOf(keys.toReversed())).toEqual(expected);
    expect(new LowestSample<string>(0).values()).toEqual([]);
  });
});
