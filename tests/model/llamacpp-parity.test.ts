/**
 * Files of ours in llama.cpp (node-llama-cpp's prebuilt library, in a child process): the same logits, the
 * same greedy tokens, the same ids. Run with --rounding llamacpp, which repeats llama.cpp's roundings.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { execFile } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { seededRandom } from "../../src/core/random.ts";
import { type ExportType, exportGguf } from "../../src/model/export-gguf.ts";
import { GgufFile } from "../../src/model/gguf-file.ts";
import { evalLogits, InferenceModel } from "../../src/model/inference.ts";
import type { Tokenizer } from "../../src/model/tokenizer.ts";
import { cpuInfo } from "../../src/native/library.ts";
import {
  bookTokenizer,
  maxDifference,
  randomParams,
  SMALL,
  trainedParams,
} from "./small-models.ts";

const PEERS = path.join(import.meta.dir, "../peers");
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-parity-"));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const TEXT = "Call me Ishmael. Some years ago, never mind how long precisely, I sailed about";
const TEXTS = [
  TEXT,
  "안녕하세요, 세계! 오늘은 2026년입니다.",
  "こんにちは世界。吾輩は猫である。",
  "emoji 👩‍👩‍👧‍👦 and 🎉🎉  \n\n  spaces\t\ttabs\r\n",
  "it's 12345678 x=foo_bar(1.5e-3); // naïve café ½ ²",
  ...randomStrings(40),
];

/** Assigned code points of several scripts, spaces and digits. */
function randomStrings(n: number): string[] {
  const random = seededRandom(20261121);
  const ranges = [
    [0x20, 0x5f],
    [0xa1, 0x15e],
    [0x391, 0x10],
    [0xac00, 0x2ba0],
    [0x4e00, 0x5000],
    [0x3041, 0x50],
    [0x1f600, 0x40],
    [0x9, 2],
  ] as const;
  return Array.from({ length: n }, () =>
    String.fromCodePoint(
      ...Array.from({ length: 1 + random.below(30) }, () => {
        const [start, count] = ranges[random.below(ranges.length)]!;
        return start + random.below(count);
      }),
    ),
  );
}

interface Answer {
  runtime: string;
  logits: Float32Array;
  tokenized: number[][];
}

/** What llama.cpp makes of a file; Bun first, then node. */
async function llamaCpp(file: string, tokens: Int32Array): Promise<Answer> {
  const request = path.join(folder, "request.json");
  const out = path.join(folder, "logits.f32");
  fs.writeFileSync(request, JSON.stringify({ tokens: [...tokens], texts: TEXTS }));
  const failures: string[] = [];
  for (const runtime of [process.execPath, "node"]) {
    try {
      const args = ["llama-cpp-logits.mjs", file, request, out];
      const options = { cwd: PEERS, timeout: 30_000, maxBuffer: 1 << 26 };
      const { stdout } = await promisify(execFile)(runtime, args, options);
      const answer = JSON.parse(stdout) as { runtime: string; tokenized: number[][] };
      const bytes = new Uint8Array(fs.readFileSync(out));
      return { ...answer, logits: new Float32Array(bytes.buffer, 0, bytes.length / 4) };
    } catch (error) {
      failures.push(`${runtime}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  throw new Error(
    `llama.cpp did not run; are tests/peers/node_modules installed? ${failures.join("\n")}`,
  );
}

/**
 * Our attention sums run in the order of llama.cpp's AVX-512 library. Where that one is not chosen, a last
 * bit differs now and then, flips the rounding of one attention weight to f16 and of some activations to
 * int8 behind it, and moves the logits after it by up to some 0.02.
 */
const LIMIT = cpuInfo().features.includes("avx512f") ? 1e-3 : 5e-2;

const argmax = (row: Float32Array) => row.reduce((best, v, i) => (v > row[best]! ? i : best), 0);

/** Positions where both disagree on the best token although it leads by more than the margin. */
function greedyDisagreements(ours: Float32Array, theirs: Float32Array, vocab: number): number {
  let wrong = 0;
  for (let at = 0; at < ours.length; at += vocab) {
    const a = ours.subarray(at, at + vocab);
    const b = theirs.subarray(at, at + vocab);
    const sorted = Float32Array.from(b).sort();
    const lead = sorted[vocab - 1]! - sorted[vocab - 2]!;
    if (lead > 2 * LIMIT && argmax(a) !== argmax(b)) wrong++;
  }
  return wrong;
}

let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await bookTokenizer(SMALL.vocab_size);
});

const CASES: [name: string, variant: "bitnet" | "llama", trained: boolean][] = [
  ["bitnet, random weights", "bitnet", false],
  ["llama, random weights", "llama", false],
  ["bitnet, briefly trained", "bitnet", true],
  ["llama, briefly trained", "llama", true],
];

describe.each(CASES)("%s", (name, variant, trained) => {
  const config = { ...SMALL, variant };
  const made: Partial<Record<ExportType, { ours: Float32Array; theirs: Answer }>> = {};

  beforeAll(async () => {
    const params = trained
      ? await trainedParams(config, tokenizer, 12)
      : await randomParams(config, variant === "bitnet" ? 5n : 2n);
    const tokens = Int32Array.of(tokenizer.bos_id!, ...tokenizer.encode(TEXT)).subarray(0, 28);
    for (const type of ["TQ2_0", "TQ1_0", "F16"] as const) {
      const file = path.join(folder, `${variant}-${trained}-${type}.gguf`);
      await exportGguf({ config, params, tokenizer, type, name, path: file });
      const gguf = await GgufFile.open(file);
      const model = await InferenceModel.fromGguf(gguf, 1);
      gguf.close();
      const ours = await evalLogits(model, tokens, "llamacpp");
      model.close();
      made[type] = { ours, theirs: await llamaCpp(file, tokens) };
    }
  }, 60_000);

  test.each(["TQ2_0", "TQ1_0"] as const)("%s logits are llama.cpp's", (type) => {
    const { ours, theirs } = made[type]!;
    expect(maxDifference(ours, theirs.logits)).toBeLessThan(LIMIT);
    expect(greedyDisagreements(ours, theirs.logits, config.vocab_size)).toBe(0);
  });

  test("TQ1_0 and TQ2_0 give identical logits", () => {
    expect(maxDifference(made.TQ1_0!.ours, made.TQ2_0!.ours)).toBe(0);
  });

  // Every activation is rounded to f16 there: a last-bit difference flips a rounding more often.
  test("F16 logits are llama.cpp's within its roundings", () => {
    const { ours, theirs } = made.F16!;
    expect(maxDifference(ours, theirs.logits)).toBeLessThan(5e-2);
  });

  test("llama.cpp tokenises as we do: English, Korean, Japanese, emoji, random strings", () => {
    const ours = TEXTS.map((text) => [...tokenizer.encode(text)]);
    expect(made.TQ2_0!.theirs.tokenized).toEqual(ours);
  });
});
