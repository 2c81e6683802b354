/**
 * The paper's own size on this machine: three steps of genkidama-618m (context 1024, batch 1),
 * memory and time against the estimate; the same three steps stopped after the second and resumed,
 * which must give the same checkpoint hash; export as a Hugging Face folder and GGUF; the GGUF file
 * in llama.cpp. Weights are deleted at the end: a checkpoint is 7.4 GB.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { PRESETS } from "../../../src/model/config.ts";
import {
  addUsage,
  call,
  magnet,
  NO_USAGE,
  type ProofContext,
  readJson,
  recordOf,
  round,
  Stopped,
  type Usage,
} from "./context.ts";
import { trainFile } from "./corpus.ts";
import { llama3Tokenizer } from "./llama3.ts";
import { runFolder, type TrainResult } from "./train-row.ts";

const STEPS = 3;
const STOP_AFTER = 2;
/** AdamW, as the paper's estimate of memory has it; Muon takes one moment less. */
const OPTIMIZER = ["--optimizer", "adamw", "--lr", 0.0015, "--weight-decay-schedule", "constant"];
const CONTEXT = 1024;
/** Two checkpoints, one being written, the exports. */
const FREE_BYTES_MIN = 26e9;
/** Tokens whose logits are compared with llama.cpp. */
const TOKENS_COMPARED = 6;

export interface GenkidamaResult {
  params: number;
  vocab_size: number;
  memory_estimate_bytes: number;
  /** Largest resident set of the training process, and its share of the estimate. */
  memory_bytes: number;
  memory_ratio: number;
  step_s: number[];
  /** At the rate of model FLOPs that the main ternary row reached; null before it was run. */
  step_estimate_s: number | null;
  losses: number[];
  checkpoint_bytes: number;
  checkpoint_hash: string;
  resumed_hash: string;
  resume_exact: boolean;
  hf: { bytes: number; logits_difference_max: number };
  gguf: { type: string; bytes: number; sha256: string };
  llama_cpp: { type: string; library: string; logits_difference_max: number; top1_equal: boolean };
  usage: Usage;
}

const bytesOf = (folder: string): number =>
  [...new Bun.Glob("**/*").scanSync(folder)].reduce(
    (sum, name) => sum + fs.statSync(path.join(folder, name)).size,
    0,
  );

/**
 * FLOPs of training on one token: 6 for every weight of a product (the tied embedding is the head's
 * matrix), and for attention 2 products over half the context on average, forward and twice back.
 */
const flopsOfToken = (params: number, layers: number, context: number, width: number) =>
  6 * params + 6 * layers * context * width;

/** Seconds of a step, from what the main row reached a CPU second. */
function estimateStep(context: ProofContext): number | null {
  const main = readJson<TrainResult>(path.join(context.dir, "results/main-ternary.json"));
  if (main === null) return null;
  const shape = main.model as { n_layers: number; context: number; d_model: number };
  const flops = flopsOfToken(main.params, shape.n_layers, shape.context, shape.d_model);
  const rate = flops * main.tokens_per_cpu_s * (context.threads || os.availableParallelism());
  const { n_layers, d_model } = PRESETS["genkidama-618m"]!;
  return round((CONTEXT * flopsOfToken(618_285_056, n_layers, CONTEXT, d_model)) / rate, 1);
}

interface Trained {
  hash: string;
  step_s: number[];
  losses: number[];
  started: Record<string, unknown>;
  usage: Usage;
}

/** Trains in `folder`; stops (SIGTERM, as a service manager does) when `stop_after` is reached. */
async function train(
  context: ProofContext,
  data: string,
  folder: string,
  { resume = false, stop_after = STEPS }: { resume?: boolean; stop_after?: number },
): Promise<Trained> {
  const step_s: number[] = [];
  const losses: number[] = [];
  let before = performance.now();
  const called = await magnet(
    context,
    [
      ...["train", "--model", "genkidama-618m", "--data", data, "--out", folder],
      ...["--steps", STEPS, "--batch", 1, "--context", CONTEXT, "--seed", 1],
      ...["--threads", context.threads, "--checkpoint-every", 1000, ...OPTIMIZER],
      ...(resume ? ["--resume"] : []),
    ],
    {
      onRecord(record, stop) {
        const now = performance.now();
        if (record.schema === "magnet.train_step/1") {
          step_s.push(round((now - before) / 1000, 1));
          losses.push(round(record.loss as number, 4));
          context.log(`  step ${record.step}: loss ${record.loss}, ${step_s.at(-1)} s`);
          if (record.step === stop_after && stop_after < STEPS) stop();
        }
        before = now;
      },
    },
  );
  if (context.signal.aborted) throw new Stopped("stopped; genkidama-618m starts anew");
  const { checkpoint_hash, step } = recordOf(called, "train");
  if (step !== stop_after) throw new Error(`stopped at step ${step}, not ${stop_after}`);
  const started = recordOf(called, "train_started");
  return { hash: checkpoint_hash as string, step_s, losses, started, usage: called.usage };
}

/** Logits of every position by magnet. */
async function ownLogits(
  context: ProofContext,
  model: string,
  tokens: number[],
  rounding: "bitnet" | "llamacpp",
): Promise<number[][]> {
  const args = ["eval", "logits", model, "--tokens", tokens.join(","), "--rounding", rounding];
  return recordOf(await magnet(context, args), "eval_logits").logits as number[][];
}

const differenceMax = (a: number[][], b: number[][]) =>
  Math.max(...a.map((row, i) => row.reduce((m, x, j) => Math.max(m, Math.abs(x - b[i]![j]!)), 0)));
const top1 = (row: number[]) => row.reduce((best, x, i) => (x > row[best]! ? i : best), 0);

/** The GGUF file in llama.cpp, its logits against ours with its roundings. */
async function inLlamaCpp(context: ProofContext, gguf: string, tokens: number[], folder: string) {
  const request = path.join(folder, "request.json");
  const out = path.join(folder, "logits.bin");
  fs.writeFileSync(request, JSON.stringify({ jobs: [{ model: gguf, tokens, out, texts: [] }] }));
  const script = path.join(import.meta.dir, "../llama-cpp-logits.mjs");
  const cwd = path.dirname(script);
  const answer = (await call(context, [process.execPath, script, request], { cwd })).records[0] as {
    library: string;
    jobs: { type: string }[];
  };
  const flat = [...new Float32Array(await Bun.file(out).arrayBuffer())];
  const width = flat.length / tokens.length;
  const theirs = tokens.map((_, i) => flat.slice(i * width, (i + 1) * width));
  const ours = await ownLogits(context, gguf, tokens, "llamacpp");
  return {
    type: answer.jobs[0]!.type,
    library: answer.library,
    logits_difference_max: differenceMax(ours, theirs),
    top1_equal: ours.every((row, i) => top1(row) === top1(theirs[i]!)),
  };
}

/** Exports a checkpoint both ways and reads the files back. */
async function exported(context: ProofContext, run: string, folder: string, tokens: number[]) {
  const hf = path.join(folder, "hf");
  const gguf = path.join(folder, "model.gguf");
  await magnet(context, ["export", "hf", run, "--out", hf]);
  const written = recordOf(
    await magnet(context, ["export", "gguf", run, "--type", "tq2_0", "--out", gguf]),
    "export",
  );
  const from_checkpoint = await ownLogits(context, run, tokens, "bitnet");
  const from_hf = await ownLogits(context, hf, tokens, "bitnet");
  return {
    hf: { bytes: bytesOf(hf), logits_difference_max: differenceMax(from_checkpoint, from_hf) },
    gguf: {
      type: String(written.type),
      bytes: fs.statSync(gguf).size,
      sha256: String(written.sha256),
    },
    llama_cpp: await inLlamaCpp(context, gguf, tokens, folder),
  };
}

function requireSpace(folder: string): void {
  const { bavail, bsize } = fs.statfsSync(folder);
  if (bavail * bsize >= FREE_BYTES_MIN) return;
  const free = Math.round((bavail * bsize) / 1e9);
  throw new Error(`${folder}: ${free} GB free, genkidama-618m needs ${FREE_BYTES_MIN / 1e9} GB`);
}

export async function runGenkidamaRow(context: ProofContext): Promise<GenkidamaResult> {
  const folder = runFolder(context, "genkidama-618m");
  fs.rmSync(folder, { recursive: true, force: true });
  fs.mkdirSync(folder, { recursive: true });
  requireSpace(folder);
  try {
    const tokenizer = await llama3Tokenizer(context);
    const data = path.join(folder, "data");
    const text = path.dirname(trainFile(context.dir, "en"));
    await magnet(context, [
      ...["data", "prepare", text, "--tokenizer", tokenizer, "--heldout", 0, "--out", data],
    ]);
    const whole = await train(context, data, path.join(folder, "whole"), {});
    const checkpoint_bytes = bytesOf(path.join(folder, "whole/checkpoints"));
    const tokens = Array.from({ length: TOKENS_COMPARED }, (_, i) => 1000 + 1717 * i);
    const files = await exported(context, path.join(folder, "whole"), folder, tokens);
    fs.rmSync(path.join(folder, "whole"), { recursive: true });
    const parts = path.join(folder, "parts");
    const first = await train(context, data, parts, { stop_after: STOP_AFTER });
    const second = await train(context, data, parts, { resume: true });
    const memory_estimate_bytes = whole.started.memory_bytes as number;
    const memory_bytes = whole.usage.rss_bytes_max;
    return {
      params: whole.started.params as number,
      vocab_size: 128_256,
      ...{ memory_estimate_bytes, memory_bytes },
      memory_ratio: round(memory_bytes / memory_estimate_bytes, 3),
      step_s: whole.step_s,
      step_estimate_s: estimateStep(context),
      losses: whole.losses,
      checkpoint_bytes,
      checkpoint_hash: whole.hash,
      resumed_hash: second.hash,
      resume_exact: whole.hash === second.hash,
      ...files,
      usage: [first.usage, second.usage].reduce(addUsage, addUsage(NO_USAGE, whole.usage)),
    };
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}
