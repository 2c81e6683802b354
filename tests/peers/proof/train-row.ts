/**
 * A row that trains one model and evaluates it on each language's held-out pages. It goes on from
 * its last checkpoint where it was stopped; time and memory of all attempts are added up.
 */
import fs from "node:fs";
import path from "node:path";
import {
  addUsage,
  magnet,
  NO_USAGE,
  type ProofContext,
  readJson,
  recordOf,
  round,
  Stopped,
  type Usage,
  writeWhole,
} from "./context.ts";
import { heldoutFile, LANGUAGES, type Language, trainFile } from "./corpus.ts";
import type { TrainRow } from "./rows.ts";

/** Shares of the mixture: Korean has half of Japanese's text and is seen more often. */
export const MIXTURE: Record<Language, number> = { en: 2, ko: 1, ja: 1 };
/** Of the trained pages, held out for the curve during training. */
const CURVE_HELDOUT = 0.01;
/** Points of a curve. */
const CURVE_POINTS = 90;

export interface Heldout {
  loss: number;
  bits_per_byte: number;
  tokens: number;
  text_bytes: number;
}
export interface CurvePoint {
  tokens: number;
  /** Mean training loss since the point before, nats per token. */
  loss: number;
}
export interface TrainResult {
  settings: Record<string, string | number>;
  model: object;
  params: number;
  tokens: number;
  steps: number;
  checkpoint_hash: string;
  heldout: Record<Language | "all", Heldout>;
  curve: { train: CurvePoint[]; heldout: CurvePoint[] };
  usage: Usage;
  tokens_per_cpu_s: number;
}

export const runFolder = (context: ProofContext, name: string) =>
  path.join(context.dir, "runs", name);

/** The tokenizer of a vocabulary size, trained on the trained pages of all languages. */
export async function tokenizerFile(context: ProofContext, vocab_size: number): Promise<string> {
  const file = path.join(context.dir, `tokenizer-${vocab_size}.json`);
  if (!fs.existsSync(file))
    await magnet(context, [
      ...["tokenizer", "train", path.join(context.dir, "text")],
      ...["--vocab-size", vocab_size, "--out", file],
    ]);
  return file;
}

/** The mixture, tokenised once for all rows of a vocabulary. */
export const mixture = (context: ProofContext): string[] =>
  LANGUAGES.flatMap((l) => ["--data", `${path.dirname(trainFile(context.dir, l))}=${MIXTURE[l]}`]);

/** Figures of a checkpoint on the held-out pages; "all" adds up the bits and bytes of the three. */
export async function heldoutOf(
  context: ProofContext,
  model: string,
): Promise<TrainResult["heldout"]> {
  const out: Partial<TrainResult["heldout"]> = {};
  for (const language of LANGUAGES) {
    const data = heldoutFile(context.dir, language);
    const args = ["eval", model, "--data", data, "--threads", context.threads];
    const figures = recordOf(await magnet(context, args), "eval") as unknown as Heldout;
    const { loss, bits_per_byte, tokens, text_bytes } = figures;
    out[language] = { loss, bits_per_byte, tokens, text_bytes };
  }
  const parts = LANGUAGES.map((language) => out[language]!);
  const sum = (f: (part: Heldout) => number) => parts.reduce((total, part) => total + f(part), 0);
  const tokens = sum((part) => part.tokens);
  const text_bytes = sum((part) => part.text_bytes);
  out.all = {
    loss: sum((part) => part.loss * part.tokens) / tokens,
    bits_per_byte: sum((part) => part.bits_per_byte * part.text_bytes) / text_bytes,
    ...{ tokens, text_bytes },
  };
  return out as TrainResult["heldout"];
}

interface Metric {
  step: number;
  loss?: number;
  tokens?: number;
  heldout_loss?: number;
}

/** Means of the training loss between points, and the evaluations during the run. */
function curveOf(folder: string, tokens_per_step: number): TrainResult["curve"] {
  const lines = fs.readFileSync(path.join(folder, "metrics.jsonl"), "utf8").trim().split("\n");
  const metrics = lines.map((line) => JSON.parse(line) as Metric);
  const steps = metrics.filter((m) => m.loss !== undefined);
  const width = Math.max(1, Math.ceil(steps.length / CURVE_POINTS));
  const train: CurvePoint[] = [];
  for (let from = 0; from < steps.length; from += width) {
    const bucket = steps.slice(from, from + width);
    const mean = bucket.reduce((sum, m) => sum + m.loss!, 0) / bucket.length;
    train.push({ tokens: bucket.at(-1)!.step * tokens_per_step, loss: round(mean, 4) });
  }
  const heldout = metrics
    .filter((m) => m.heldout_loss !== undefined)
    .map((m) => ({ tokens: m.step * tokens_per_step, loss: round(m.heldout_loss!, 4) }));
  return { train, heldout };
}

/** Trains to the end, from the last checkpoint where there is one. */
async function train(context: ProofContext, row: TrainRow, folder: string) {
  const model = path.join(context.dir, "models", `${row.name}.json`);
  writeWhole(model, JSON.stringify(row.model, null, 1));
  const attempts = path.join(context.dir, "runs", `${row.name}.usage.json`);
  const before = readJson<Usage>(attempts) ?? NO_USAGE;
  const checkpoints = path.join(folder, "checkpoints");
  const resumes = fs.existsSync(checkpoints) && fs.readdirSync(checkpoints).length > 0;
  if (!resumes) fs.rmSync(folder, { recursive: true, force: true });
  const tokenizer = await tokenizerFile(context, row.vocab_size);
  const settings = Object.entries(row.flags).flatMap(([name, value]) => [`--${name}`, value]);
  const done = await magnet(context, [
    ...["train", "--model", model, ...mixture(context), "--tokenizer", tokenizer],
    ...["--heldout", CURVE_HELDOUT, "--out", folder, "--threads", context.threads, ...settings],
    ...(resumes ? ["--resume"] : []),
  ]);
  const usage = addUsage(before, done.usage);
  writeWhole(attempts, JSON.stringify(usage));
  if (context.signal.aborted) throw new Stopped("stopped; the row goes on from its checkpoint");
  return { result: recordOf(done, "train"), usage };
}

export async function runTrainRow(context: ProofContext, row: TrainRow): Promise<TrainResult> {
  const folder = runFolder(context, row.name);
  const { result, usage } = await train(context, row, folder);
  const heldout = await heldoutOf(context, folder);
  const steps = result.step as number;
  const tokens = steps * Number(row.flags.batch) * (row.model as { context: number }).context;
  return {
    settings: row.flags,
    model: row.model,
    params: result.params as number,
    ...{ tokens, steps },
    checkpoint_hash: result.checkpoint_hash as string,
    heldout,
    curve: curveOf(folder, tokens / steps),
    usage,
    tokens_per_cpu_s: Math.round(tokens / usage.cpu_s),
  };
}
