/** Training on files: the same as on the texts in memory, whatever they are packed in. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { sampleTexts } from "../../src/model/data.ts";
import { Tokenizer } from "../../src/model/tokenizer.ts";
import { corpus } from "./tokenizer-fixtures.ts";

let folder: string;
let lines: string[];

beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-train-tokenizer-"));
  const text = new TextDecoder().decode(corpus()).slice(0, 300_000);
  lines = text.split("\n").filter((line) => line.trim() !== "");
});
afterAll(() => fs.rmSync(folder, { recursive: true }));

/** On all text of files and folders: nothing is held out. */
const trainOn = (inputs: string[], vocab_size: number, signal?: AbortSignal) =>
  Tokenizer.train(sampleTexts({ inputs, split: { boundary: 0 }, signal }), { vocab_size });

test("text files in folders and JSONL give the tokenizer of the same texts in memory", async () => {
  const nested = path.join(folder, "data", "inner");
  fs.mkdirSync(nested, { recursive: true });
  const third = Math.floor(lines.length / 3);
  fs.writeFileSync(path.join(folder, "data", "a.txt"), lines.slice(0, third).join("\n"));
  fs.writeFileSync(path.join(nested, "b.md"), lines.slice(third, 2 * third).join("\n"));
  const records = lines.slice(2 * third).map((text) => `${JSON.stringify({ text })}\n`);
  fs.writeFileSync(path.join(folder, "data", "c.jsonl"), records.join(""));
  const fromFiles = await trainOn([path.join(folder, "data")], 1000);
  const texts = [
    lines.slice(0, third).join("\n"),
    lines.slice(third, 2 * third).join("\n"),
    ...lines.slice(2 * third),
  ];
  const encoder = new TextEncoder();
  const inMemory = await Tokenizer.train(
    texts.map((text) => encoder.encode(text)),
    { vocab_size: 1000 },
  );
  expect(fromFiles.hash).toBe(inMemory.hash);
});

test("whole texts as units learn tokens that span lines, lines do not", async () => {
  const text = new TextEncoder().encode("one\n\ntwo\n\nthree\n\n".repeat(50));
  const spans = (tokenizer: Tokenizer) =>
    tokenizer.tokens().some((token) => Buffer.from(token).includes("\n\n"));
  expect(spans(await Tokenizer.train([text], { vocab_size: 264 }))).toBe(false);
  expect(spans(await Tokenizer.train([text], { vocab_size: 264, unit: "text" }))).toBe(true);
});

test("missing files, binary files and an abort are errors of their own", async () => {
  const codeOf = (paths: string[], signal?: AbortSignal) =>
    trainOn(paths, 300, signal)
      .then(() => "done")
      .catch((error: { code: string }) => error.code);
  const binary = path.join(folder, "binary.txt");
  fs.writeFileSync(binary, Uint8Array.of(0x61, 0, 0x62));
  const text = path.join(folder, "text.txt");
  fs.writeFileSync(text, lines.join("\n"));
  expect(await codeOf([path.join(folder, "absent.txt")])).toBe("NOT_FOUND");
  expect(await codeOf([binary])).toBe("DATA_NOT_TEXT");
  expect(await codeOf([text], AbortSignal.abort())).toBe("CANCELLED");
});
