/**
 * Files of ours in llama.cpp (node-llama-cpp's prebuilt library, in a child process): the same
 * logits, the same greedy tokens, the same ids. `--rounding llamacpp` repeats what llama.cpp's
 * library for AVX2 CPUs computes token by token, sum by sum, so every bit is the same, for any
 * weights. llama.cpp's own logits differ by up to some 0.02 between its libraries, and between a
 * prompt at once and token by token: a last bit of a sum flips the rounding of an activation. So
 * the child fixes both (llama-cpp-logits.mjs).
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { execFile } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { seededRandom } from "../../src/core/random.ts";
import type { ModelConfig } from "../../src/model/config.ts";
import { type ExportType, exportGguf } from "../../src/model/export-gguf.ts";
import { type GgmlType, GgufFile } from "../../src/model/gguf-file.ts";
import { evalLogits, InferenceModel } from "../../src/model/inference.ts";
import type { Tokenizer } from "../../src/model/tokenizer.ts";
import { replaceEmbedding } from "./replace-embedding.ts";
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

interface Job {
  model: string;
  tokens: number[];
  texts: string[];
  out: string;
}
interface Answers {
  library: string;
  jobs: { tokenized: number[][] }[];
}

/** What llama.cpp makes of our files; Bun first, then node. */
async function llamaCpp(jobs: Job[]): Promise<Answers> {
  const request = path.join(folder, "request.json");
  fs.writeFileSync(request, JSON.stringify({ jobs }));
  const failures: string[] = [];
  for (const runtime of [process.execPath, "node"]) {
    try {
      const options = { cwd: PEERS, timeout: 60_000, maxBuffer: 1 << 26 };
      const args = ["llama-cpp-logits.mjs", request];
      const { stdout } = await promisify(execFile)(runtime, args, options);
      return JSON.parse(stdout) as Answers;
    } catch (error) {
      failures.push(`${runtime}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  throw new Error(
    `llama.cpp did not run; are tests/peers/node_modules installed? ${failures.join("\n")}`,
  );
}

/** What the two may differ by at most; in fact nothing. */
const LIMIT = 1e-3;

const largest = (row: Float32Array) => row.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
const argmax = (row: Float32Array) => row.reduce((best, v, i) => (v > row[best]! ? i : best), 0);

/** Positions where both disagree on the best token although it leads by over twice the limit. */
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

const TERNARY = ["TQ2_0", "TQ1_0"] as const satisfies ExportType[];
const TYPES = [...TERNARY, "F16"] as const satisfies ExportType[];
/** More layers' worth of blocks, longer rows and another rotation base than SMALL. */
const WIDE = { ...SMALL, d_model: 512, n_heads: 8, d_ff: 1280, rope_theta: 500_000 };
/** Heads and rows that are no multiples of 32; F16 only. */
const ODD = { ...SMALL, d_model: 120, n_heads: 3, n_kv_heads: 1, head_dim: 40, d_ff: 333 };

/** What embedding and head may be beside F16. */
const EMBEDDINGS = ["Q6_K", "F32", "BF16", "Q8_0", "Q4_0", "Q4_K"] as const;

interface Case {
  weights: string;
  config: ModelConfig;
  params: () => Promise<Float32Array>;
  types: readonly ExportType[];
  /** The embedding, which is the head too, is replaced by one of a type that we only read. */
  embedding?: GgmlType;
}
const cases: Case[] = (["bitnet", "llama"] as const).flatMap((variant) => {
  const random = (name: string, base: ModelConfig, seed: number, types: readonly ExportType[]) => {
    const config = { ...base, variant };
    const params = () => randomParams(config, BigInt(seed));
    return { weights: `${variant}, ${name} seed ${seed}`, config, params, types };
  };
  const config = { ...SMALL, variant };
  const params = () => trainedParams(config, tokenizer, 12);
  return [
    ...[0, 1, 2, 3, 4, 5].map((seed) => random("small", SMALL, seed, TYPES)),
    random("wide", WIDE, 6, TYPES),
    random("odd", ODD, 7, ["F16"]),
    // Not ternary at all: arch llama, and arch bitnet without scales beside its weights.
    random("plain", { ...SMALL, quant: "none" }, 9, ["F16"]),
    ...EMBEDDINGS.map((embedding, i) => ({
      ...random(`wide, ${embedding} embedding`, WIDE, 8 + i, i === 0 ? TERNARY : ["TQ2_0"]),
      embedding,
    })),
    { weights: `${variant}, small, briefly trained`, config, params, types: TYPES },
  ];
});
const runs = cases.flatMap((c) => c.types.map((type) => ({ ...c, type, name: c.weights })));

let tokenizer: Tokenizer;
let answers: Answers;
const ours: Float32Array[] = [];
/** The same files in the default rounding. */
const defaults: Float32Array[] = [];
const jobs: Job[] = [];

beforeAll(async () => {
  tokenizer = await bookTokenizer(SMALL.vocab_size);
  const ids = tokenizer.encode(`${TEXT} a little and see the watery part of the world.`);
  const tokens = Int32Array.of(tokenizer.bos_id!, ...ids);
  expect(tokens.length).toBeGreaterThan(32); // beyond one group of lanes
  for (const { weights, config, params, types, embedding } of cases) {
    const latent = await params();
    for (const type of types) {
      const file = path.join(folder, `${jobs.length}.gguf`);
      await exportGguf({ config, params: latent, tokenizer, type, name: weights, path: file });
      if (embedding) await replaceEmbedding(file, embedding, 9);
      const gguf = await GgufFile.open(file);
      const model = await InferenceModel.fromGguf(gguf, 1);
      gguf.close();
      ours.push(await evalLogits(model, tokens, "llamacpp"));
      defaults.push(await evalLogits(model, tokens));
      model.close();
      jobs.push({ model: file, tokens: [...tokens], texts: TEXTS, out: `${file}.f32` });
    }
  }
  answers = await llamaCpp(jobs);
}, 120_000);

test("llama.cpp ran with its library for AVX2 CPUs alone", () => {
  expect(answers.library).toBe("libggml-cpu-haswell.so");
});

test.each(runs.map((run, i) => [run.type, run.name, i] as const))(
  "%s logits are llama.cpp's: %s",
  (_type, _name, i) => {
    const bytes = new Uint8Array(fs.readFileSync(jobs[i]!.out));
    const theirs = new Float32Array(bytes.buffer, 0, bytes.length / 4);
    expect(maxDifference(ours[i]!, theirs)).toBeLessThanOrEqual(LIMIT);
    expect(greedyDisagreements(ours[i]!, theirs, SMALL.vocab_size)).toBe(0);
    // Heads in blocks are multiplied in floats here, in integers there: the logits' own last bits.
    const { embedding } = runs[i]!;
    const bits = embedding === undefined || embedding === "F32" ? 0 : 1e-5 * largest(theirs);
    expect(maxDifference(ours[i]!, theirs)).toBeLessThanOrEqual(bits);
  },
);

/** Of the rows of `b` from those of `a`: mean divergence, and how often the best token is the same. */
function agreement(a: Float32Array, b: Float32Array, vocab: number): { kl: number; top1: number } {
  const logSoftmax = (row: Float32Array) => {
    const total = row.reduce((sum, v) => sum + Math.exp(v), 0);
    return row.map((v) => v - Math.log(total));
  };
  let [kl, same] = [0, 0];
  for (let at = 0; at < a.length; at += vocab) {
    const [p, q] = [a, b].map((rows) => logSoftmax(rows.subarray(at, at + vocab)));
    kl += p!.reduce((sum, log_p, i) => sum + Math.exp(log_p) * (log_p - q![i]!), 0);
    same += argmax(p!) === argmax(q!) ? 1 : 0;
  }
  const rows = a.length / vocab;
  return { kl: kl / rows, top1: same / rows };
}

test("the default rounding is near llama.cpp's: divergence and best tokens", () => {
  const rows = runs.map((run, i) => ({
    run,
    ...agreement(ours[i]!, defaults[i]!, SMALL.vocab_size),
  }));
  for (const { run, kl, top1 } of rows)
    if (run.embedding !== undefined || run.name.includes("trained"))
      process.stderr.write(
        `default against llamacpp rounding, ${run.type}, ${run.name}: KL ${kl.toExponential(1)}, ` +
          `top-1 ${(100 * top1).toFixed(1)}%\n`,
      );
  expect(Math.max(...rows.map(({ kl }) => kl))).toBeLessThan(0.01);
});

test("TQ1_0 and TQ2_0 give identical logits", () => {
  const at = (name: string, type: ExportType) =>
    ours[runs.findIndex((run) => run.name === name && run.type === type)]!;
  for (const { weights, types } of cases)
    if (types.includes("TQ1_0"))
      expect(maxDifference(at(weights, "TQ1_0"), at(weights, "TQ2_0"))).toBe(0);
});

test("llama.cpp tokenises as we do: English, Korean, Japanese, emoji, random strings", () => {
  const expected = TEXTS.map((text) => [...tokenizer.encode(text)]);
  expect(answers.jobs.length).toBe(runs.length); // files of both archs
  for (const { tokenized } of answers.jobs) expect(tokenized).toEqual(expected);
});
