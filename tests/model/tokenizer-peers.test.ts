/**
 * Differential tests: ids against @huggingface/tokenizers and the Rust library (npm tokenizers),
 * merges against the Rust trainer, pre-tokens against the regular expression.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { seededRandom } from "../../src/core/random.ts";
import { Tokenizer } from "../../src/model/tokenizer.ts";
import { pretokenEnds } from "../../src/native/tokenizer.ts";
import { corpus, huggingFaceTokenizer, rustMerges, rustTokenizer } from "./tokenizer-fixtures.ts";
import { classOf, UNICODE_CLASSES_FILE, unicodeClasses } from "./unicode-classes.ts";

const KOREAN = [
  "작은 배가 바다를 건너갑니다. 바람이 불면 돛을 올리고, 비가 오면 덮개를 씌워요.",
  "오늘은 2024년 3월 15일이고, 기온은 영하 3.5도였다! 정말 춥지 않나요?",
];
const JAPANESE = [
  "小さな船が海を渡っていきます。風が吹けば帆を上げ、雨が降れば覆いをかけます。",
  "今日は2024年３月１５日、気温は零下3.5度でした！本当に寒いですね？カタカナも「ひらがな」も。",
];
const EMOJI = [
  "👨‍👩‍👧‍👦 family, 🏳️‍🌈 flag, 👍🏽 skin, 🇰🇷🇯🇵 flags",
  "1️⃣ keycap, e\u0301 accent, \u{1f9d1}\u200d\u{1f680}",
];
const SHAPES = [
  "  two  spaces   three\t\ttabs \t mixed\n\n\nlines\r\n\r\n",
  "  indented\n \n x \u00a0\u3000wide\u2028sep\u0085nel",
  "0 12 345 6789 123456789012 ½²③Ⅷ ٣٤٥ १२३ x1y22z333",
  "I'm you're THEY'LL we'Ve he'd it's 'S 'tis o'clock 'lL ''s '\u017fx 'ſ don'T 're",
  "<html>a==b!=c</html> {[(...)]} #!/bin/sh -- \n--\n ...\n\n  \n",
  "\ufeffstart \ufeff\n!\ufeff 𝔘𝔫𝔦 ǅ ʰ ª ﷽ \u0000\u0001\u007f",
  "",
  " ",
  "\n",
];
const TEXTS = [...KOREAN, ...JAPANESE, ...EMOJI, ...SHAPES];

let folder: string;
let tokenizer: Tokenizer;
let mixed: string;

beforeAll(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-peers-"));
  // A corpus in which multi-byte characters have merges too.
  mixed = path.join(folder, "mixed.txt");
  const repeated = TEXTS.map((text) => `${text}\n`.repeat(40))
    .join("")
    .replaceAll("\0", "");
  fs.writeFileSync(mixed, Buffer.concat([corpus(), Buffer.from(repeated)]));
  tokenizer = await Tokenizer.train([fs.readFileSync(mixed)], { vocab_size: 6000 });
});
afterAll(() => fs.rmSync(folder, { recursive: true }));

/** Random assigned code points, some runs of one class and some of any, in a fixed order. */
function randomTexts(seed: number, count: number): string[] {
  const random = seededRandom(seed);
  const assigned: number[] = [];
  for (let code = 0; code < 0x32000; code++) {
    const text = String.fromCodePoint(code);
    if ((code < 0xd800 || code > 0xdfff) && !/\p{Cn}/u.test(text)) assigned.push(code);
  }
  const spice = " \t\n\r'sSdlLrReEvVmMtT0a!\u00a0\u3000".split("");
  return Array.from({ length: count }, () => {
    let text = "";
    while (text.length < 60)
      text +=
        random.next() < 0.4
          ? spice[random.below(spice.length)]
          : String.fromCodePoint(assigned[random.below(assigned.length)]!);
    return text;
  });
}

test("ids equal @huggingface/tokenizers on languages, emoji, shapes and random code points", () => {
  const peer = huggingFaceTokenizer(tokenizer.toJson());
  const english = new TextDecoder().decode(corpus()).slice(0, 200_000);
  for (const text of [...TEXTS, ...randomTexts(21, 3000), english]) {
    const ids = peer.encode(text, { add_special_tokens: false }).ids;
    if (!Bun.deepEquals([...tokenizer.encode(text)], ids))
      expect([text, [...tokenizer.encode(text)]]).toEqual([text, ids]);
    expect(tokenizer.decode(ids)).toBe(text);
  }
});

test("ids equal the Rust library, with whole pre-tokens looked up first or not", async () => {
  const json = JSON.parse(tokenizer.toJson());
  for (const ignore_merges of [true, false]) {
    json.model.ignore_merges = ignore_merges;
    const peer = rustTokenizer(JSON.stringify(json));
    const ours = Tokenizer.fromJson(JSON.stringify(json));
    const english = new TextDecoder().decode(corpus()).slice(200_000, 400_000);
    // It folds case as full Unicode does: a long s after an apostrophe is the one difference.
    for (const text of [...TEXTS, english].map((t) => t.replaceAll("ſ", "s"))) {
      const ids = (await peer.encode(text, null, { addSpecialTokens: false })).getIds();
      expect([...ours.encode(text)]).toEqual(ids);
      expect([...tokenizer.encode(text)]).toEqual(ids);
    }
  }
});

test("special tokens in text, where asked for, become the ids of @huggingface/tokenizers", () => {
  const peer = huggingFaceTokenizer(tokenizer.toJson());
  const text = "<|begin_of_text|><|user|>Who?<|assistant|> <|user|<|user|>> Me.<|end_of_text|>\n";
  const ids = peer.encode(text, { add_special_tokens: false }).ids;
  expect([...tokenizer.encode(text, { parse_special: true })]).toEqual(ids);
});

test("merges equal the Rust trainer's, all of them and every prefix", async () => {
  const before = process.cpuUsage();
  const theirs = rustMerges(tokenizer.toJson(), mixed, folder);
  const spent = process.cpuUsage(before);
  const start = performance.now();
  const large = await Tokenizer.train([fs.readFileSync(mixed)], { vocab_size: 20_000 });
  const took_s = (performance.now() - start) / 1e3;
  const peer_s = (spent.user + spent.system) / 1e6;
  process.stdout.write(
    `train: ${took_s.toFixed(2)} s (20,000), peer ${peer_s.toFixed(2)} s (30,000)\n`,
  );
  const ours = large.ggufMerges();
  expect(ours.length).toBeGreaterThan(19_000);
  expect(ours).toEqual(theirs.slice(0, ours.length));
  const small = tokenizer.ggufMerges();
  expect(small).toEqual(theirs.slice(0, small.length));
});

test("merges equal the Rust trainer's on small corpora full of ties and repeats", async () => {
  const random = seededRandom(23);
  for (let round = 0; round < 5; round++) {
    const words = Array.from({ length: 400 }, () =>
      Array.from({ length: 1 + random.below(12) }, () => "abcé가"[random.below(5)]).join(""),
    );
    const file = path.join(folder, `small-${round}.txt`);
    fs.writeFileSync(file, words.join(" "));
    const theirs = rustMerges(tokenizer.toJson(), file, folder);
    // As many tokens as there are to make: the refusal names the number.
    const hint = await Tokenizer.train([fs.readFileSync(file)], {
      vocab_size: 29_000,
      special_tokens: [],
    })
      .then(() => "")
      .catch((error: { hint: string }) => error.hint);
    const vocab_size = Number(/to (\d+)/.exec(hint)?.[1]);
    const ours = await Tokenizer.train([fs.readFileSync(file)], { vocab_size, special_tokens: [] });
    expect(ours.ggufMerges()).toEqual(theirs);
  }
});

test("the class of every code point is the runtime's", () => {
  expect(fs.readFileSync(UNICODE_CLASSES_FILE, "utf8")).toBe(unicodeClasses());
  expect([0x41, 0xac00, 0x39, 0x2160, 0x85, 0xfeff, 0xd800].map(classOf)).toEqual([
    1, 1, 2, 2, 3, 0, 0,
  ]);
});

test("pre-tokens are the matches of the regular expression", () => {
  const parts = [
    "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]",
    "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}",
    " ?[^\\p{White_Space}\\p{L}\\p{N}]+[\\r\\n]*",
    "\\p{White_Space}*[\\r\\n]+|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+",
  ];
  const pattern = new RegExp(parts.join("|"), "gu");
  for (const text of [...TEXTS, ...randomTexts(22, 2000)]) {
    let end = 0;
    const ends = (text.match(pattern) ?? []).map((word) => (end += Buffer.byteLength(word)));
    expect([...pretokenEnds(new TextEncoder().encode(text))]).toEqual(ends);
  }
});

test("encoding speed", () => {
  const text = corpus();
  const slice = new TextDecoder().decode(text).slice(0, 300_000);
  const timed = (work: () => void) => {
    const start = performance.now();
    work();
    return (performance.now() - start) / 1e3;
  };
  const peer = huggingFaceTokenizer(tokenizer.toJson());
  const ours = text.length / 1e6 / timed(() => tokenizer.encodeBytes(text));
  const theirs =
    slice.length / 1e6 / timed(() => peer.encode(slice, { add_special_tokens: false }));
  process.stdout.write(`encode: ${ours.toFixed(1)} MB/s, peer ${theirs.toFixed(2)} MB/s\n`);
});
