/**
 * The tokenizer inside a GGUF file: what comes back is what went in, its hash is the one that the
 * naive way gives, and a bad one (random damage to its arrays) is refused or is a tokenizer that
 * works; nothing else happens.
 */
import { beforeAll, expect, test } from "bun:test";
import fc from "fast-check";
import { canonicalJson, sha256Hex } from "../../src/core/bytes.ts";
import { MagnetError } from "../../src/core/errors.ts";
import { GgufFile } from "../../src/model/gguf-file.ts";
import { tokenizerEntries, tokenizerFromGguf } from "../../src/model/gguf-tokenizer.ts";
import { type GgufEntry, writeGguf } from "../../src/model/gguf-writer.ts";
import type { Tokenizer } from "../../src/model/tokenizer.ts";
import { errorOf } from "./error-of.ts";
import { sharedTokenizer } from "./tokenizer-fixtures.ts";

const TOKENS = "tokenizer.ggml.tokens";
const MERGES = "tokenizer.ggml.merges";
const TYPES = "tokenizer.ggml.token_type";
const HASH = "magnet.tokenizer_hash";

let entries: GgufEntry[];
let shared: Tokenizer;
beforeAll(async () => {
  shared = await sharedTokenizer();
  entries = tokenizerEntries(shared);
});

async function read(changed: readonly GgufEntry[]): Promise<Tokenizer> {
  const pieces: Uint8Array[] = [];
  await writeGguf({ write: async (bytes) => void pieces.push(bytes) }, changed, []);
  const file = await GgufFile.parse(new Uint8Array(Buffer.concat(pieces)));
  try {
    return await tokenizerFromGguf(file);
  } finally {
    file.close();
  }
}

/** The entries with some replaced; without a stated hash, which would refuse every change. */
const withEntries = (...replaced: GgufEntry[]): GgufEntry[] => [
  ...entries.filter(({ key }) => key !== HASH && !replaced.some((r) => r.key === key)),
  ...replaced,
];
const without = (key: string) => entries.filter((entry) => entry.key !== key && entry.key !== HASH);
const texts = (key: string, value: readonly string[]): GgufEntry => ({
  key,
  type: "string[]",
  value,
});

test("tokens, merges, special tokens and the hash are those that were written", async () => {
  const again = await read(entries);
  expect(again.tokens()).toEqual(shared.tokens().map((token) => new Uint8Array(token)));
  expect(again.merges()).toEqual(shared.merges());
  expect(again.specials).toEqual(shared.specials);
  expect(again.hash).toBe(shared.hash);
  expect(again.toJson()).toBe(shared.toJson());
  expect(shared.hash as string).toBe(sha256Hex(canonicalJson(JSON.parse(shared.toJson()))));
  expect([again.bos_id, again.eos_id, again.vocab_size]).toEqual([2044, 2045, 2048]);
  const text = "It's 12345 whales 고래 🐳\r\n\r\n";
  expect(again.encode(text)).toEqual(shared.encode(text));
});

const names = (): string[] => shared.ggufTokens();
test.each([
  [
    "another model",
    () => withEntries({ key: "tokenizer.ggml.model", type: "string", value: "llama" }),
    "is llama, not gpt2",
  ],
  ["no pre-tokenizer", () => without("tokenizer.ggml.pre"), "is missing, not llama-bpe"],
  ["no tokens", () => without(TOKENS), "not an array of strings"],
  ["no merges", () => without(MERGES), "not an array of strings"],
  [
    "numbers as merges",
    () => withEntries({ key: MERGES, type: "i32[]", value: Int32Array.of(1) }),
    "not an array of strings",
  ],
  [
    "a type too few",
    () => withEntries({ key: TYPES, type: "i32[]", value: shared.ggufTokenTypes().slice(1) }),
    "for each token",
  ],
  [
    "a text as types",
    () => withEntries({ key: TYPES, type: "string", value: "normal" }),
    "for each token",
  ],
  [
    "a token with a space",
    () => withEntries(texts(TOKENS, ["a b", ...names().slice(1)])),
    "byte alphabet",
  ],
  [
    "a token that is twice there",
    () => withEntries(texts(TOKENS, names().with(400, names()[401]!))),
    "same bytes",
  ],
  ["an empty token", () => withEntries(texts(TOKENS, names().with(400, ""))), "empty"],
  ["a merge of one token", () => withEntries(texts(MERGES, ["ab"])), "does not join two tokens"],
  ["a merge of three", () => withEntries(texts(MERGES, ["a b c"])), "does not join two tokens"],
  ["a merge of nothing", () => withEntries(texts(MERGES, [" "])), "does not join two tokens"],
  ["a merge of a special token", () => withEntries(texts(MERGES, ["<|user|> a"])), "special"],
  ["200 tokens", () => withEntries(texts(TOKENS, names().slice(0, 200))), "token"],
] as [string, () => GgufEntry[], string][])("refuses %s", async (_, changed, message) => {
  const error = await errorOf(read(changed()));
  expect(error.code).toBe("BAD_TOKENIZER");
  expect(error.message).toContain(message);
  expect(error.hint).toContain("llama-bpe");
});

test("a vocabulary changed after its export is refused", async () => {
  const merges = shared.ggufMerges().slice(0, -1);
  const error = await errorOf(
    read([...withEntries(texts(MERGES, merges)), ...entries.filter(({ key }) => key === HASH)]),
  );
  expect(error.code).toBe("TOKENIZER_MISMATCH");
});

test("random damage is refused by name, or gives a tokenizer that works", async () => {
  const outcomes = { refused: 0, read: 0 };
  const name = fc.oneof(
    fc.string({ maxLength: 6 }),
    fc.string({ unit: "binary", maxLength: 4 }),
    fc.constantFrom("", "a", "Ġ", "Ġthe", "<|user|>", "Ā", "\u0143", "\u0144", "a a", "Ġ Ġ"),
  );
  const edit = fc.record({
    list: fc.constantFrom(TOKENS, MERGES),
    at: fc.nat(2100),
    name,
    kind: fc.constantFrom("replace", "remove", "insert", "swap"),
  });
  const types = fc.option(fc.array(fc.integer({ min: -1, max: 9 }), { maxLength: 4 }));
  const damage = fc.record({ edits: fc.array(edit, { maxLength: 3 }), types });
  const property = fc.asyncProperty(damage, async (d) => {
    const lists = new Map([
      [TOKENS, names()],
      [MERGES, shared.ggufMerges()],
    ]);
    for (const e of d.edits) {
      const list = lists.get(e.list)!;
      const at = e.at % list.length;
      if (e.kind === "replace") list[at] = e.name;
      else if (e.kind === "remove") list.splice(at, 1);
      else if (e.kind === "insert") list.splice(at, 0, e.name);
      else [list[at], list[0]] = [list[0]!, list[at]!];
    }
    const changed: GgufEntry[] = [...lists].map(([key, value]) => texts(key, value));
    if (d.types) {
      const value = shared.ggufTokenTypes();
      for (const type of d.types) value[Math.abs(type * 397) % value.length] = type;
      changed.push({ key: TYPES, type: "i32[]", value });
    }
    try {
      const tokenizer = await read(withEntries(...changed));
      outcomes.read++;
      const bytes = new TextEncoder().encode("The whale, the Ġ and <|user|> 고래\n");
      expect(tokenizer.decodeBytes(tokenizer.encodeBytes(bytes))).toEqual(bytes);
      expect(tokenizer.hash as string).toBe(
        sha256Hex(canonicalJson(JSON.parse(tokenizer.toJson()))),
      );
    } catch (error) {
      if (!(error instanceof MagnetError)) throw error;
      expect(error.code).toBe("BAD_TOKENIZER");
      outcomes.refused++;
    }
  });
  await fc.assert(property, { seed: 23, numRuns: 250 });
  expect(outcomes.refused).toBeGreaterThan(50);
  expect(outcomes.read).toBeGreaterThan(20);
}, 30_000);
