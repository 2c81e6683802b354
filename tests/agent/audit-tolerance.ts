/**
 * What honest differences between hardware are, and what cheats look like beside them: a stretch of inner
 * steps on a GPU (or its emulation) and on the CPU, compared as an audit compares them. Prints the table of
 * docs/gpu-nodes.md, "Audits".
 *
 *   bun tests/agent/audit-tolerance.ts [small|wide|deep] [all|STEPS,...] [seed]
 *
 * With numbers of steps before the stretch: honest ones only, from there.
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { JobSpec } from "../../src/agent/job.ts";
import { prepareJob } from "../../src/agent/prepare-job.ts";
import type { PointArrays } from "../../src/agent/trail/audit-stretch.ts";
import { embeddedCorpus } from "../../src/cli/demo/corpus.ts";
import { seededRandom } from "../../src/core/random.ts";
import { BatchOrder } from "../../src/model/batch-order.ts";
import { BatchReader } from "../../src/model/batch-reader.ts";
import { judgeStretch } from "../../src/model/stretch-limits.ts";
import { TokenFile } from "../../src/model/token-file.ts";
import { Trainer } from "../../src/model/trainer.ts";
import type { Device } from "../../src/native/device.ts";
import { useEmulation } from "../native/emulated.ts";

const SHAPES = {
  small: {
    d_model: 32,
    n_layers: 1,
    n_heads: 2,
    n_kv_heads: 1,
    head_dim: 16,
    d_ff: 64,
    context: 16,
  },
  wide: {
    d_model: 64,
    n_layers: 2,
    n_heads: 2,
    n_kv_heads: 2,
    head_dim: 32,
    d_ff: 128,
    context: 32,
  },
  deep: {
    d_model: 64,
    n_layers: 6,
    n_heads: 2,
    n_kv_heads: 2,
    head_dim: 32,
    d_ff: 128,
    context: 32,
  },
};
const say = (line: string) => process.stdout.write(`${line}\n`);
const STEPS = 20;
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

interface How {
  /** Which of the stretch's steps; all unless given. */
  steps?: number[];
  slice?: number;
  /** Of the learning rate. */
  rate?: number;
  /** Sequences of each batch that it trains on, over and over. */
  sequences?: number;
}

interface Bench {
  job: JobSpec;
  file: TokenFile;
}

/** The steps from a start, and what the trainer holds at the end. */
async function run(
  { job, file }: Bench,
  trainer: Trainer,
  from: PointArrays,
  first: number,
  how: How,
) {
  const { beta1, beta2, eps, weight_decay, clip, lr } = job.inner;
  const { slice = 0, rate = 1, sequences = job.batch } = how;
  const order = new BatchOrder({
    ...{ token_count: file.token_count, context: job.model.context, seed: 77 },
    ...{ slice_index: slice, slice_count: 3 },
  });
  const batches = new BatchReader(file, order);
  trainer.params.set(from.params);
  trainer.m.set(from.m);
  trainer.v.set(from.v);
  await trainer.push("params", "m", "v");
  let done = 0;
  for (const i of how.steps ?? upTo(STEPS)) {
    const step = first + ++done;
    const tokens = batches.read((first + i) * job.batch, job.batch);
    const kept = (tokens.length / job.batch) * sequences;
    for (let at = kept; at < tokens.length; at++) tokens[at] = tokens[at % kept]!;
    const adamw = { lr: rate * lr, beta1, beta2, eps, weight_decay, clip, step };
    await trainer.step(tokens, 1, adamw);
  }
  await trainer.pull("params", "m", "v");
  return { params: trainer.params.slice(), m: trainer.m.slice(), v: trainer.v.slice() };
}

const norm = (a: Float32Array) => Math.sqrt(a.reduce((sum, x) => sum + x * x, 0));
/** What was added to the start, times a factor. */
const scaled = (start: Float32Array, end: Float32Array, factor: number) =>
  end.map((x, i) => start[i]! + factor * (x - start[i]!));
const lengthOf = (start: Float32Array, end: Float32Array) => norm(end.map((x, i) => x - start[i]!));
const copyOf = ({ params, m, v }: PointArrays): PointArrays => ({
  params: params.slice(),
  m: m.slice(),
  v: v.slice(),
});

/** Noise of a share of what was added to the start. */
function noisy(start: Float32Array, end: Float32Array, share: number, seed: number) {
  const random = seededRandom(seed);
  const noise = end.map(() => random.next() + random.next() + random.next() - 1.5);
  const factor = (share * lengthOf(start, end)) / norm(noise);
  return end.map((x, i) => x + factor * noise[i]!);
}

/** What cheats hand in, all made on the CPU; `honest` is what they know of the right lengths. */
async function cheatsOf(
  bench: Bench,
  cpu: Trainer,
  start: PointArrays,
  first: number,
  honest: PointArrays,
) {
  const { job } = bench;
  const go = (how: How) => run(bench, cpu, start, first, how);
  const some = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
  const right = (end: PointArrays): PointArrays => {
    const factor = (which: "params" | "v") =>
      lengthOf(start[which], honest[which]) / lengthOf(start[which], end[which]);
    const params = scaled(start.params, end.params, factor("params"));
    return { params, m: end.m, v: end.v };
  };
  const grown = (end: PointArrays, done: number): PointArrays => {
    const right_v = job.inner.beta2;
    const had = right_v ** done;
    const has = right_v ** STEPS;
    const factor = (1 - has) / (1 - had);
    const v = end.v.map((x, i) => factor * (x - had * start.v[i]!) + has * start.v[i]!);
    return { ...right(end), v };
  };
  const first19 = await go({ steps: some(0, 19) });
  const last19 = await go({ steps: some(1, 20) });
  const last18 = await go({ steps: some(2, 20) });
  const first15 = await go({ steps: some(0, 15) });
  const last15 = await go({ steps: some(5, 20) });
  const last10 = await go({ steps: some(10, 20) });
  const half = await go({ rate: 0.5 });
  const other = await go({ slice: 1 });
  const cheats: [string, PointArrays][] = [
    ["19 of 20 steps, the last left out", first19],
    ["the same, scaled", right(first19)],
    ["19 of 20 steps, the first left out", last19],
    ["the same, update and v scaled", grown(last19, 19)],
    ["18 of 20 steps, the first left out, update and v scaled", grown(last18, 18)],
    ["15 of 20 steps", first15],
    ["the same, scaled", right(first15)],
    ["the last 15 of 20 steps, scaled", right(last15)],
    ["the same, v scaled too", grown(last15, 15)],
    ["the last 10 of 20 steps, update and v scaled", grown(last10, 10)],
    ["half of each batch", await go({ sequences: job.batch / 2 })],
    ["three quarters of each batch", await go({ sequences: (3 * job.batch) / 4 })],
    ["half of the learning rate", half],
    ["the same, scaled", right(half)],
    ["0.95 of the learning rate, scaled", right(await go({ rate: 0.95 }))],
    ["other data", other],
    ["other data's weights, right moments", { ...copyOf(honest), params: other.params }],
    ["right weights, moments of the start", { ...copyOf(start), params: honest.params }],
    ["right weights, m scaled by 1.1", { ...copyOf(honest), m: honest.m.map((x) => 1.1 * x) }],
  ];
  for (const share of [0.1, 0.25])
    for (const which of ["params", "m", "v"] as const) {
      const end = noisy(start[which], honest[which], share, 5);
      cheats.push([`noise of ${share} in ${which}`, { ...copyOf(honest), [which]: end }]);
    }
  return cheats;
}

async function openBench(shape: keyof typeof SHAPES, folder: string): Promise<Bench> {
  const decoder = new TextDecoder();
  const text = path.join(folder, "text.jsonl");
  const lines = (await embeddedCorpus()).map(({ bytes }) =>
    JSON.stringify({ text: decoder.decode(bytes) }),
  );
  fs.writeFileSync(text, `${lines.join("\n")}\n`);
  const { job, files } = await prepareJob({
    inputs: [text],
    model: {
      ...{ variant: "bitnet", vocab_size: 320, rope_theta: 10_000, norm_eps: 1e-5 },
      ...SHAPES[shape],
    },
    settings: {
      ...{ name: "tolerance", rounds: 10, inner_steps: STEPS, batch: 4, compression: "int4" },
      inner: {
        ...{ lr: 2e-3, schedule: "constant", beta1: 0.9, beta2: 0.98, eps: 1e-8 },
        ...{ weight_decay: 0.1, clip: 1 },
      },
      ...{ outer: { lr: 0.7, momentum: 0.5 }, round_deadline_ms: 60_000, heldout_sequences: 2 },
      seed: 1,
    },
    folder: path.join(folder, "job"),
  });
  return { job, file: await TokenFile.open(files[job.train_hash]!) };
}

const cell = ({ length, cosine }: { length: number; cosine: number }) =>
  `${length.toFixed(4)} / ${cosine.toFixed(4)}`;

/** The rows of one start: `first` steps after zeros. */
async function rows(bench: Bench, cpu: Trainer, gpu: Trainer, first: number, cheats: boolean) {
  const { job } = bench;
  await cpu.initialise(BigInt(process.argv[4] ?? 1));
  const steps = upTo(first);
  const start = await run(bench, cpu, copyOf(cpu), 0, { steps });
  const row = async (name: string, theirs: PointArrays, ours: PointArrays, count = STEPS) => {
    const { beta1, beta2 } = job.inner;
    const ends = { theirs: copyOf(theirs), ours: copyOf(ours) };
    const how = { beta1, beta2, steps: count, seen: first };
    const { compared, wrong } = await judgeStretch({ start, ...ends, ...how });
    const { params, m, v } = compared;
    const figures = [cell(params), cell(m), cell(v), wrong ? "yes" : "-"];
    say(`| ${first} | ${name} | ${figures.join(" | ")} |`);
  };
  for (const count of cheats ? [3, 10] : []) {
    const how = { steps: upTo(count) };
    const theirs = await run(bench, gpu, start, first, how);
    await row(`honest, ${count} steps`, theirs, await run(bench, cpu, start, first, how), count);
  }
  const ours = await run(bench, gpu, start, first, {});
  const honest = await run(bench, cpu, start, first, {});
  await row("honest, 20 steps", ours, honest);
  if (cheats)
    for (const [name, end] of await cheatsOf(bench, cpu, start, first, honest))
      await row(name, end, ours);
}

async function main(shape: keyof typeof SHAPES, what: string): Promise<void> {
  if (process.env.MAGNET_CUDA_LIBRARY === undefined) useEmulation();
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-tolerance-"));
  const bench = await openBench(shape, folder);
  const { batch, model } = bench.job;
  const open = (device: Device) =>
    Trainer.create(model, { batch, context: model.context, threads: 1, device });
  const [cpu, gpu] = [open({ kind: "cpu" }), open({ kind: "cuda", index: 0 })];
  say("| steps before | stretch | update | m | v | caught |\n|---|---|---|---|---|---|");
  const starts = what === "all" ? [100, 0] : what.split(",").map(Number);
  for (const first of starts) await rows(bench, cpu, gpu, first, what === "all");
  cpu.close();
  gpu.close();
  bench.file.close();
  fs.rmSync(folder, { recursive: true });
}

await main((process.argv[2] ?? "small") as keyof typeof SHAPES, process.argv[3] ?? "all");
