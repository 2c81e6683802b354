/** Files and texts made to break the tokenizer: refused by name, or handled in bounded time. */
import { expect, test } from "bun:test";
import { Tokenizer } from "../../src/model/tokenizer.ts";
import { ENCODE_BYTES_MAX, NativeBpeTrainer, NativeTokenizer } from "../../src/native/tokenizer.ts";
import { sharedTokenizer } from "./tokenizer-fixtures.ts";

const small = await Tokenizer.train([new TextEncoder().encode("hello hello hello")], {
  vocab_size: 264,
});

interface TokenizerFile {
  [name: string]: unknown;
  added_tokens: Record<string, unknown>[];
  pre_tokenizer: { pretokenizers: [Record<string, unknown>, Record<string, unknown>] };
  model: { [name: string]: unknown; vocab: Record<string, unknown>; merges: unknown[] };
}
type Edit = (file: TokenizerFile) => unknown;

/** The code and message that a changed file is refused with. */
function refusal(edit: Edit): string {
  const file = JSON.parse(small.toJson()) as TokenizerFile;
  edit(file);
  return refusalOfText(JSON.stringify(file));
}
function refusalOfText(text: string): string {
  try {
    Tokenizer.fromJson(text);
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return `${code}: ${message}`;
  }
  return "accepted";
}

const REFUSED: [name: string, edit: Edit, message: RegExp][] = [
  ["another model", (f) => (f.model.type = "Unigram"), /model\.type is "Unigram"/],
  ["dropout", (f) => (f.model.dropout = 0.1), /model\.dropout/],
  ["byte fallback", (f) => (f.model.byte_fallback = true), /byte_fallback/],
  ["unknown token", (f) => (f.model.unk_token = "<unk>"), /unk_token/],
  ["subword prefix", (f) => (f.model.continuing_subword_prefix = "##"), /subword_prefix/],
  ["normalizer", (f) => (f.normalizer = { type: "NFC" }), /normalizer is .*NFC/],
  ["truncation", (f) => (f.truncation = { max_length: 4 }), /truncation/],
  ["decoder", (f) => (f.decoder = { type: "WordPiece" }), /decoder\.type/],
  ["post-processor", (f) => (f.post_processor = { type: "BertProcessing" }), /post_processor/],
  ["no pre-tokenizer", (f) => delete (f as Partial<TokenizerFile>).pre_tokenizer, /pre_tokenizer/],
  [
    "another pattern",
    (f) => (f.pre_tokenizer.pretokenizers[0].pattern = { Regex: "\\S+" }),
    /Split\.pattern/,
  ],
  [
    "prefix space",
    (f) => (f.pre_tokenizer.pretokenizers[1].add_prefix_space = true),
    /add_prefix_space/,
  ],
  ["stripping", (f) => (f.added_tokens[0]!.lstrip = true), /lstrip/],
  ["added, not special", (f) => (f.added_tokens[0]!.special = false), /not special/],
  ["negative id", (f) => (f.model.vocab["!"] = -1), /id -1/],
  ["fractional id", (f) => (f.model.vocab["!"] = 0.5), /id 0\.5/],
  ["huge id", (f) => (f.model.vocab["!"] = 2 ** 40), /id 1099511627776/],
  ["text id", (f) => (f.model.vocab["!"] = "0"), /id "0"/],
  ["same id twice", (f) => (f.model.vocab["!"] = 1), /is taken/],
  ["a gap", (f) => (f.added_tokens[3]!.id = 9999), /no token has the id/],
  ["a byte missing", (f) => renameToken(f, "!", "!!"), /no token for the byte 0x21/],
  ["not in the alphabet", (f) => renameToken(f, "!", "h e"), /byte alphabet/],
  ["empty token", (f) => renameToken(f, "!", ""), /empty/],
  ["long token", (f) => renameToken(f, "!", "x".repeat(5000)), /too long/],
  ["special listed twice", (f) => (f.added_tokens[1]!.content = "<|user|>"), /are the same/],
  ["half a surrogate", (f) => (f.added_tokens[1]!.content = "\ud800"), /surrogate/],
  ["merges of strangers", (f) => f.model.merges.push("zzz q"), /outside the vocabulary/],
  ["merges to no token", (f) => f.model.merges.push("q z"), /no token/],
  ["a merge of one", (f) => f.model.merges.push("q"), /not a pair/],
  ["a merge of three", (f) => f.model.merges.push("q q q"), /not a pair/],
  ["a merge of numbers", (f) => f.model.merges.push([1, 2]), /outside the vocabulary/],
  ["a merge twice", (f) => f.model.merges.push(f.model.merges[0]), /are the same/],
  ["no merges", (f) => delete (f.model as Partial<TokenizerFile["model"]>).merges, /merges/],
  ["a list as vocab", (f) => (f.model.vocab = [] as never), /vocab is not an object/],
  ["no model", (f) => delete (f as Partial<TokenizerFile>).model, /model is not an object/],
];

/** Gives a token another text, in the vocabulary only. */
function renameToken(file: TokenizerFile, from: string, to: string): void {
  const id = file.model.vocab[from];
  expect(id).toBeNumber();
  delete file.model.vocab[from];
  file.model.vocab[to] = id;
}

for (const [name, edit, message] of REFUSED)
  test(`refused by name: ${name}`, () => {
    expect(refusal(edit)).toMatch(/^BAD_TOKENIZER: /);
    expect(refusal(edit)).toMatch(message);
  });

test("texts that are no tokenizer.json are refused", () => {
  for (const text of ["", "{", "[]", "null", "7", "[".repeat(1_000_000), '{"model":{}}'])
    expect(refusalOfText(text)).toStartWith("BAD_TOKENIZER");
});

test("accepted: merges as pairs, specials in the vocabulary too, a post-processor", () => {
  const file = JSON.parse(small.toJson()) as TokenizerFile;
  file.model.merges = (file.model.merges as string[]).map((merge) => merge.split(" "));
  for (const { content, id } of file.added_tokens) file.model.vocab[String(content)] = id;
  file.post_processor = {
    type: "Sequence",
    processors: [{ type: "ByteLevel" }, { type: "TemplateProcessing" }],
  };
  expect(Tokenizer.fromJson(JSON.stringify(file)).hash).toBe(small.hash);
});

test("a token named __proto__ survives saving and loading", async () => {
  const text = new TextEncoder().encode("__proto__\n".repeat(50));
  const tokenizer = await Tokenizer.train([text], { vocab_size: 265 });
  const again = Tokenizer.fromJson(tokenizer.toJson());
  expect(again.hash).toBe(tokenizer.hash);
  expect(again.decode(again.encode("__proto__"))).toBe("__proto__");
});

test("ids outside the vocabulary do not decode", () => {
  for (const id of [264, -1, 2 ** 30, 2 ** 32, 0.5])
    expect(() => small.decode([0, id])).toThrow(/outside the vocabulary/);
});

test("the native checks hold without the file's", () => {
  const tokens = small.tokens();
  const none = new Uint32Array();
  const make = (merges: Uint32Array, special_ids: Uint32Array) => () =>
    NativeTokenizer.create({ tokens, merges, special_ids, ignore_merges: true });
  expect(make(Uint32Array.of(1, 2 ** 31), none)).toThrow(/merge 0/);
  expect(make(none, Uint32Array.of(2 ** 31))).toThrow(/outside the vocabulary/);
  expect(make(none, Uint32Array.of(263, 263))).toThrow(/listed twice/);
  expect(make(Uint32Array.of(263, 1), Uint32Array.of(263))).toThrow(/special or unknown/);
});

test("texts of one long word take time in proportion, not squared", async () => {
  const tokenizer = await sharedTokenizer();
  const shapes = ["a", "the", "\n", " ", "!", "1", "\u00a0", "가", "'s", "\n \n", "<|user|"];
  for (const shape of shapes) {
    const text = new TextEncoder().encode(shape.repeat(1_000_000 / shape.length));
    const ids = tokenizer.encodeBytes(text, { parse_special: true });
    expect(tokenizer.decodeBytes(ids).length).toBe(text.length); // squared would take an hour
  }
});

test("an aborted call ends with CANCELLED and the tokenizer goes on working", async () => {
  const tokenizer = await sharedTokenizer();
  const text = new Uint8Array(20_000_000).fill(97);
  const codeOf = (call: Promise<unknown>) =>
    call.then(() => "done").catch((error: { code: string }) => error.code);
  const controller = new AbortController();
  const encoding = codeOf(tokenizer.encodeBytesAsync(text, { signal: controller.signal }));
  controller.abort();
  expect(await encoding).toBe("CANCELLED");
  expect(tokenizer.decode(await tokenizer.encodeBytesAsync(Buffer.from("still")))).toBe("still");
  const trainer = new NativeBpeTrainer();
  expect(await codeOf(trainer.feed(text, true, AbortSignal.abort()))).toBe("CANCELLED");
  trainer.free();
});

test("several encodings of one tokenizer at once give what one gives", async () => {
  const tokenizer = await sharedTokenizer();
  const texts = Array.from({ length: 8 }, (_, i) => Buffer.from(`whale ${i} `.repeat(20_000)));
  const together = await Promise.all(texts.map((text) => tokenizer.encodeBytesAsync(text)));
  expect(together).toEqual(texts.map((text) => tokenizer.encodeBytes(text)));
});

test("texts beyond the limit are refused, at once", async () => {
  const text = new Uint8Array(ENCODE_BYTES_MAX + 1);
  expect(() => small.encodeBytes(text)).toThrow(/more than 67108864; split it/);
});

test("training on one endless repetition makes no token that does not load again", async () => {
  const text = new Uint8Array(40_000).fill(97);
  const hint = await Tokenizer.train([text], { vocab_size: 2000 })
    .then(() => "")
    .catch((error: { hint: string }) => error.hint);
  const vocab_size = Number(/to (\d+)/.exec(hint)?.[1]);
  const tokenizer = await Tokenizer.train([text], { vocab_size });
  expect(Math.max(...tokenizer.tokens().map((token) => token.length))).toBe(1024);
  expect(Tokenizer.fromJson(tokenizer.toJson()).hash).toBe(tokenizer.hash);
});
