/** Llama-3's vocabulary of 128,256 tokens: it loads, and its ids are those of two other encoders. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { seededRandom } from "../../src/core/random.ts";
import { Tokenizer } from "../../src/model/tokenizer.ts";
import { type Llama3Peer, llama3Peer, llama3TokenizerJson } from "./llama3-vocabulary.ts";
import { corpus, huggingFaceTokenizer } from "./tokenizer-fixtures.ts";

let folder = "";
let file = "";
let peer: Llama3Peer;
let tokenizer: Tokenizer;
beforeAll(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-llama3-"));
  file = path.join(folder, "tokenizer.json");
  peer = await llama3Peer();
  fs.writeFileSync(file, llama3TokenizerJson(peer));
  tokenizer = await Tokenizer.load(file);
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const TEXTS = [
  "Call me Ishmael. I'm 38, you'LL see: 1,234,567.89 — naïve façades, coöperation!",
  "작은 배가 바다를 건너갑니다. 바람이 불면 돛을 올리고, 2024년 3월 15일엔 비가 와요.",
  "小さな船が海を渡っていきます。今日は2024年３月１５日、気温は零下3.5度でした！",
  "  two  spaces\t\ttabs\n\n\nlines\r\n\r\n  indented\n \n",
  "def f(x):\n    return x ** 2  # 👨‍👩‍👧‍👦 🏳️‍🌈 e\u0301 𝔘𝔫𝔦\n",
  "",
  " ",
];
/** Strings of assigned code points of all planes, between letters and spaces. */
function randomTexts(count: number): string[] {
  const random = seededRandom(31);
  const letter = () => {
    if (random.next() < 0.3) return " \n'sTt.0a"[random.below(9)]!;
    for (;;) {
      const text = String.fromCodePoint(random.below(0x20000));
      if (text.isWellFormed() && !/\p{Cn}/u.test(text)) return text;
    }
  };
  return Array.from({ length: count }, () => Array.from({ length: 40 }, letter).join(""));
}

test("all tokens are there, and the file comes back as it was read", () => {
  expect(tokenizer.vocab_size).toBe(128_256);
  expect(tokenizer.bos_id).toBe(128_000);
  expect(tokenizer.eos_id).toBe(128_001);
  expect(tokenizer.merges().length).toBe(280_147);
  const again = Tokenizer.fromJson(tokenizer.toJson());
  expect(again.hash).toBe(tokenizer.hash);
  // Every token by itself is the text of its bytes.
  const ids = Int32Array.from({ length: 128_000 }, (_, id) => id);
  const bytes = Buffer.concat(tokenizer.tokens().slice(0, 128_000));
  expect(Buffer.compare(tokenizer.decodeBytes(ids), bytes)).toBe(0);
});

test("ids equal @huggingface/tokenizers and llama3-tokenizer-js", () => {
  const json = huggingFaceTokenizer(fs.readFileSync(file, "utf8"));
  const english = new TextDecoder().decode(corpus()).slice(0, 100_000);
  for (const text of [...TEXTS, ...randomTexts(500), english]) {
    const ids = [...tokenizer.encode(text)];
    expect([text, ids]).toEqual([text, json.encode(text, { add_special_tokens: false }).ids]);
    // That encoder knows no long s behind an apostrophe, and has no tokens for an empty text.
    if (!text.includes("ſ")) expect(ids).toEqual(peer.encode(text, { bos: false, eos: false }));
    expect(tokenizer.decode(ids)).toBe(text);
  }
}, 60_000);

test("loading takes little time and memory", async () => {
  const program = `
    import fs from "node:fs";
    const { Tokenizer } = await import(${JSON.stringify(path.resolve("src/model/tokenizer.ts"))});
    const field = (name) => 1024 * Number(new RegExp(name + ":\\\\s+(\\\\d+)")
      .exec(fs.readFileSync("/proc/self/status", "utf8"))[1]);
    Tokenizer.fromJson; Bun.gc(true);
    const before = field("VmRSS"), start = process.cpuUsage();
    const tokenizer = await Tokenizer.load(process.argv[1]);
    const { user, system } = process.cpuUsage(start);
    const peak_bytes = field("VmHWM") - before;
    Bun.gc(true);
    console.log(JSON.stringify({ cpu_ms: (user + system) / 1e3, peak_bytes,
      kept_bytes: field("VmRSS") - before, vocab_size: tokenizer.vocab_size }));`;
  const child = Bun.spawn([process.execPath, "-e", program, file], { stdout: "pipe" });
  const report = JSON.parse(await new Response(child.stdout).text());
  expect(await child.exited).toBe(0);
  const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
  process.stderr.write(
    `llama-3: ${report.cpu_ms.toFixed(0)} ms of CPU time, ` +
      `${mib(report.peak_bytes)} at most, ${mib(report.kept_bytes)} kept\n`,
  );
  expect(report.vocab_size).toBe(128_256);
  expect(report.cpu_ms).toBeLessThan(5000);
  expect(report.peak_bytes).toBeLessThan(400 * 2 ** 20);
}, 60_000);
