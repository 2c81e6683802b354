/** What a user and the other rooms rely on: round trips, special tokens, files, errors. */
import { expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import { DEFAULT_SPECIAL_TOKENS, Tokenizer } from "../../src/model/tokenizer.ts";
import { corpus, sharedTokenizer } from "./tokenizer-fixtures.ts";

test("any bytes come back as they were", async () => {
  const tokenizer = await sharedTokenizer();
  const property = fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
    expect(tokenizer.decodeBytes(tokenizer.encodeBytes(bytes))).toEqual(new Uint8Array(bytes));
  });
  fc.assert(property, { seed: 11, numRuns: 500 });
});

test("any text comes back as it was, a byte-order mark included", async () => {
  const tokenizer = await sharedTokenizer();
  const property = fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => {
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  });
  fc.assert(property, { seed: 12, numRuns: 300 });
  expect(tokenizer.decode(tokenizer.encode("\ufeffa"))).toBe("\ufeffa");
});

test("special tokens are the last ids and never come from text unless asked for", async () => {
  const tokenizer = await sharedTokenizer();
  const ids = tokenizer.specials.map(({ id }) => id);
  expect(ids).toEqual([2044, 2045, 2046, 2047]);
  expect(tokenizer.specials.map(({ content }) => content)).toEqual([...DEFAULT_SPECIAL_TOKENS]);
  expect([tokenizer.bos_id, tokenizer.eos_id]).toEqual([2044, 2045]);
  const text = "a<|user|>b<|end_of_text|>";
  expect(ids.some((id) => tokenizer.encode(text).includes(id))).toBe(false);
  const parsed = tokenizer.encode(text, { parse_special: true });
  expect([parsed[1], parsed[3], parsed.length]).toEqual([2046, 2045, 4]);
  expect(tokenizer.decode(parsed)).toBe(text);
  expect(tokenizer.decode(parsed, { skip_special: true })).toBe("ab");
});

test("a saved tokenizer.json loads as the same tokenizer", async () => {
  const tokenizer = await sharedTokenizer();
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-tokenizer-"));
  try {
    const file = path.join(folder, "tokenizer.json");
    fs.writeFileSync(file, tokenizer.toJson());
    const again = await Tokenizer.load(file);
    expect(again.hash).toBe(tokenizer.hash);
    expect(again.merges()).toEqual(tokenizer.merges());
    const text = corpus().subarray(0, 50_000);
    expect(again.encodeBytes(text)).toEqual(tokenizer.encodeBytes(text));
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});

test("training twice gives the same tokenizer, and one of exactly the asked size", async () => {
  const again = await Tokenizer.train([corpus()], { vocab_size: 2048 });
  expect(again.hash).toBe((await sharedTokenizer()).hash);
  expect(again.vocab_size).toBe(2048);
  expect(again.merges().length).toBeGreaterThanOrEqual(2048 - 256 - 4);
});

test("texts too small for the vocabulary are refused with the size that fits", async () => {
  const training = Tokenizer.train([new TextEncoder().encode("aaaa")], { vocab_size: 300 });
  expect(training).rejects.toMatchObject({
    code: "CORPUS_TOO_SMALL",
    hint: expect.stringContaining("262"),
  });
  expect(Tokenizer.train([], { vocab_size: 259 })).rejects.toMatchObject({
    code: "BAD_VOCAB_SIZE",
  });
});
