/**
 * One round of a job on a GPU (the emulation of one) and on CPUs: each trains its slice on its own device,
 * every one merges all contributions, and all hold the same bits.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import path from "node:path";
import { jobId } from "../../src/agent/job.ts";
import { JobRunner } from "../../src/agent/job-runner.ts";
import { jobBytes, openJobTrainer } from "../../src/agent/job-trainer.ts";
import type { PreparedJob } from "../../src/agent/prepare-job.ts";
import type { Hash, PublicKey } from "../../src/core/types.ts";
import type { TrainedResult, TrainTask } from "../../src/diloco/round-types.ts";
import { PRESETS, paramCount } from "../../src/model/config.ts";
import { measureDevice } from "../../src/model/device-measurement.ts";
import { Trainer } from "../../src/model/trainer.ts";
import { type ChosenDevice, chooseDevice, type Device, ON_CPU } from "../../src/native/device.ts";
import { BlobStore } from "../../src/storage/blobs.ts";
import { hostDisk } from "../../src/storage/disk.ts";
import { BUILD_TIMEOUT_MS, useEmulation } from "../native/emulated.ts";
import { makeFolder, makeJob } from "./real-nodes.ts";

const GPU: Device = { kind: "cuda", index: 0 };
/** One layer of 32 channels: a step of the emulation takes a second or two. */
const MODEL = {
  ...{ variant: "bitnet" as const, vocab_size: 260, d_model: 32, n_layers: 1, n_heads: 2 },
  ...{ n_kv_heads: 1, head_dim: 16, d_ff: 64, context: 16, rope_theta: 10_000, norm_eps: 1e-5 },
};
const STEPS = 3;
const TIMEOUT_MS = 300_000;

interface Worker {
  runner: JobRunner;
  blobs: BlobStore;
  public_key: PublicKey;
  kind: Device["kind"];
}

let prepared: PreparedJob;
let workers: Worker[];
let base_hash: Hash;
let results: TrainedResult[];
const key = (i: number) => String(i).padStart(66, "0") as PublicKey;

/** The task of worker i in round 0. */
const taskOf = (i: number): TrainTask => ({
  announce_hash: "a".repeat(64) as Hash,
  ...{ round: 0, job_id: jobId(prepared.job), job_round: 0, base_hash, inner_steps: STEPS },
  ...{ data_seed: 77, slice_index: i, slice_count: workers.length, deadline_ms: 60_000 },
  previous_trail: null,
});

async function openWorker(device: ChosenDevice, i: number): Promise<Worker> {
  const folder = path.join(makeFolder(), "store");
  const blobs = await BlobStore.open({ folder, disk: hostDisk });
  for (const [hash, file] of Object.entries(prepared.files))
    await blobs.put(Bun.file(file).stream(), hash as Hash);
  const { job } = prepared;
  const runner = await JobRunner.open({ job_id: jobId(job), job, blobs, threads: 1, device });
  return { runner, blobs, public_key: key(i), kind: device.device.kind };
}

beforeAll(async () => {
  useEmulation();
  const settings = { rounds: 2, inner_steps: STEPS, heldout_sequences: 2 };
  prepared = await makeJob({ ...settings, compression: "int4" }, MODEL);
  workers = [];
  for (const [i, device] of [chooseDevice(GPU), ON_CPU, ON_CPU].entries())
    workers.push(await openWorker(device, i));
  const bases = [];
  for (const { runner } of workers) bases.push(await runner.initialState());
  expect(new Set(bases).size).toBe(1);
  base_hash = bases[0]!;
  results = [];
  for (const [i, { runner }] of workers.entries())
    results.push(await runner.train(taskOf(i), new AbortController().signal));
}, BUILD_TIMEOUT_MS);
afterAll(() => {
  for (const { runner } of workers ?? []) runner.close();
});

test(
  "a GPU and two CPUs end the round with the same bits",
  async () => {
    for (const [i, { delta_hash }] of results.entries())
      for (const { blobs } of workers)
        await blobs.put(await workers[i]!.blobs.get(delta_hash), delta_hash);
    const contributors = results.map(({ delta_hash, size_bytes, tokens }, i) => ({
      ...{ public_key: key(i), delta_hash, size_bytes, weight: tokens },
      salt: "0".repeat(64) as Hash,
    }));
    const { announce_hash: _, ...task } = taskOf(0);
    const merge = { ...task, merge_hash: "b".repeat(64) as Hash, contributors };
    const states: Hash[] = [];
    for (const { runner } of workers) states.push(await runner.merge(merge));
    expect(new Set(states).size).toBe(1);
    expect(states[0]).not.toBe(base_hash);
    const tokens = STEPS * prepared.job.batch * MODEL.context;
    expect(contributors.map(({ weight }) => weight)).toEqual([tokens, tokens, tokens]);
    // Evaluated by everybody: the same figure but for bfloat16.
    const losses: number[] = [];
    for (const { runner } of workers) losses.push((await runner.evaluateState(states[0]!)).loss);
    expect(losses[2]).toBe(losses[1]!);
    expect(Math.abs(losses[0]! / losses[1]! - 1)).toBeLessThan(5e-3);
  },
  TIMEOUT_MS,
);

test("a job that the GPU's memory does not hold is refused with both numbers, and one that its host's does not", async () => {
  const job = { ...prepared.job, model: PRESETS["genkidama-618m"]!, batch: 8 };
  const open = () => openJobTrainer(job, 1, chooseDevice(GPU));
  expect(open).toThrow(/the job needs .* GiB on the GPU, 4\.0 GiB of 4\.0 GiB are free on cuda:0/);
  // Where it does not fit as it is, it is tried with less.
  const options = { batch: 8, context: job.model.context, threads: 1, device: GPU };
  expect(jobBytes(job, { ...options, recompute: true })).toBeLessThan(jobBytes(job, options));
  // The host's too: copies of five arenas.
  const few_bytes = 20 * paramCount(prepared.job.model) - 1;
  const short = () => openJobTrainer(prepared.job, 1, chooseDevice(GPU), few_bytes);
  expect(short).toThrow(/the job needs of the host's memory .* MiB, .* are available/);
});

describe("the measurement of a GPU", () => {
  test(
    "the emulation computes what the CPU does; one that does not is found",
    async () => {
      const measured = await measureDevice(GPU);
      expect(measured.wrong).toBeNull();
      expect(measured.gradient_error).toBeGreaterThan(0);
      expect(measured.gradient_error).toBeLessThan(2e-2);
      expect(measured.tokens_per_s).toBeGreaterThan(0);
      // A card whose weights lose a thousandth at each look, one whose steps do nothing, one that fails.
      const broken = (change: (trainer: Trainer) => Partial<Trainer>) =>
        measureDevice(ON_CPU.device, {
          open(model, options) {
            const trainer = Trainer.create(model, options);
            const faults = change(trainer);
            return new Proxy(trainer, {
              get(target, name) {
                if (name in faults) return faults[name as keyof Trainer];
                const value = Reflect.get(target, name, target);
                return typeof value === "function" ? value.bind(target) : value;
              },
            });
          },
        });
      const right = await broken(() => ({}));
      expect([right.wrong, right.gradient_error, right.update_error]).toEqual([null, 0, 0]);
      const gradient = await broken((t) => ({ grad: new Float32Array(t.param_count).fill(1) }));
      expect(gradient.wrong).toMatch(/^the gradient is .* off the CPU's, 8\.0% is allowed$/);
      const loss = await broken((t) => ({
        step: async (...args: Parameters<Trainer["step"]>) => {
          const result = await t.step(...args);
          return { ...result, loss: 1.01 * result.loss };
        },
      }));
      expect(loss.wrong).toMatch(/^the loss is 1\.0% off the CPU's/);
      const idle = await broken((t) => {
        const still = { loss: 0, grad_norm: 0, tokens: 0 };
        return { step: async () => still, gradient: (...a: [Int32Array]) => t.gradient(...a) };
      });
      expect(idle.wrong).not.toBeNull();
      const failing = await broken(() => ({
        gradient: () => Promise.reject(new Error("an illegal memory access")),
      }));
      expect(failing.wrong).toContain("an illegal memory access");
    },
    TIMEOUT_MS,
  );
});
