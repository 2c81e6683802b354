/**
 * Trails of a GPU node (the emulation of one): recorded beside its steps, exact in their links, gone on from
 * after a restart, and judged by tolerance from a CPU, as a GPU judges a CPU's.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { PreparedJob } from "../../src/agent/prepare-job.ts";
import type { PointArrays } from "../../src/agent/trail/audit-stretch.ts";
import { checkLinks } from "../../src/agent/trail/check-links.ts";
import type { Trail } from "../../src/agent/trail/trail.ts";
import { keepingState } from "../../src/model/keep-state.ts";
import { Trainer } from "../../src/model/trainer.ts";
import { chooseDevice, type Device } from "../../src/native/device.ts";
import { BUILD_TIMEOUT_MS, useEmulation } from "../native/emulated.ts";
import { makeJob } from "./real-nodes.ts";
import { Worker } from "./trail-bench.ts";

const GPU: Device = { kind: "cuda", index: 0 };
/** One layer of 32 channels: a step of the emulation takes a second or two. */
const MODEL = {
  ...{ variant: "bitnet" as const, vocab_size: 260, d_model: 32, n_layers: 1, n_heads: 2 },
  ...{ n_kv_heads: 1, head_dim: 16, d_ff: 64, context: 16, rope_theta: 10_000, norm_eps: 1e-5 },
};
const STEPS = 21;
const TIMEOUT_MS = 600_000;

let prepared: PreparedJob;
let gpu: Worker;
let cpu: Worker;
/** Of the GPU's first round, which begins at zeros, and of the one behind it. */
let first: Trail;
let second: Trail;

beforeAll(async () => {
  useEmulation();
  prepared = await makeJob({ inner_steps: STEPS, rounds: 4, compression: "int4" }, MODEL);
  gpu = await Worker.start(prepared, 1, { device: chooseDevice(GPU) });
  cpu = await Worker.start(prepared, 2);
  const one = await gpu.train(0, null);
  gpu.close();
  await gpu.open(); // the second round reads what it goes on from
  const two = await gpu.train(1, one.trail_hash);
  for (const { delta_hash } of [one, two]) gpu.trails.openFor(delta_hash);
  [first, second] = [gpu.trailOf(one), gpu.trailOf(two)];
}, BUILD_TIMEOUT_MS);
afterAll(() => {
  gpu?.close();
  cpu?.close();
});

test("its trail says where it was made, and goes on after a restart", () => {
  expect(first).toMatchObject({ device: "cuda", stride: 20, previous: null });
  expect(first.points.map(({ step }) => step)).toEqual([0, 20, 21]);
  expect(second.points[0]!.moments).toBe(first.points[2]!.moments);
  expect(second.residual_before).toBe(first.residual_after);
  expect(second.optimizer_steps).toBe(STEPS);
});

test("its links hold on a CPU, bit for bit", async () => {
  for (const [trail, previous] of [
    [first, null],
    [second, first],
  ] as const) {
    const { residual_before: before } = trail;
    const files = {
      params: await gpu.fetch(trail.points[2]!.params),
      residual: before && (await gpu.fetch(before)),
    };
    const base = await gpu.fetch(trail.points[0]!.params);
    expect(await checkLinks({ job: prepared.job, trail, base, previous, files })).toBeNull();
  }
});

describe("by tolerance", () => {
  const work = async (trail: Trail, stretch: number, round: number) => ({
    ...{ trail, stretch, task: gpu.taskOf(round, null) },
    start: await gpu.point(trail, stretch),
    end: await gpu.point(trail, stretch + 1),
  });
  const honest = { by: "tolerance" as const, wrong: null };

  test(
    "a CPU passes what the GPU did",
    async () => {
      for (const [round, trail] of [first, second].entries())
        for (const stretch of [0, 1])
          expect(await cpu.runner.audit(await work(trail, stretch, round))).toEqual(honest);
    },
    TIMEOUT_MS,
  );

  test(
    "a CPU finds what it did not do",
    async () => {
      const changed = async (change: (end: PointArrays, start: PointArrays) => PointArrays) => {
        const given = await work(second, 0, 1);
        const end = change(given.end, given.start);
        return (await cpu.runner.audit({ ...given, end })).wrong;
      };
      const scaled = (end: Float32Array, start: Float32Array, by: number) =>
        end.map((x, i) => start[i]! + by * (x - start[i]!));
      const params = (by: number) =>
        changed((end, start) => ({ ...end, params: scaled(end.params, start.params, by) }));
      expect(await params(0.9)).toMatch(/update is 0\.\d+ times as long/);
      expect(await params(1.5)).toMatch(/update is 1\.\d+ times as long/);
      expect(await params(-1)).toMatch(/update points elsewhere/);
      expect(await params(0)).toMatch(/update is 0\.000 times as long/);
      expect(await changed((end, start) => ({ ...start, params: end.params }))).toMatch(/moment/);
      expect(await changed((end) => ({ ...end, m: end.m.map((x) => 1.2 * x) }))).toMatch(/moment/);
      expect(await changed((end) => ({ ...end, v: end.v.map((x) => 1.2 * x) }))).toMatch(/moment/);
      const broken = end(Number.NaN);
      expect(await changed(broken)).toMatch(/end in numbers/);
      const given = await work(second, 0, 1);
      const elsewhere = { ...given, task: { ...given.task, slice_index: 3 } };
      expect((await cpu.runner.audit(elsewhere)).wrong).not.toBeNull();
      const none = cpu.runner.audit({ ...given, end: null });
      await expect(none).rejects.toThrow(/cannot be compared/);
    },
    TIMEOUT_MS,
  );

  test(
    "a GPU passes what a CPU did, and finds what it did not do",
    async () => {
      const { trail_hash, delta_hash } = await cpu.train(0, null);
      cpu.trails.openFor(delta_hash);
      const trail = cpu.trails.trail(trail_hash!)!;
      const given = async () => ({
        ...{ trail, stretch: 1, task: cpu.taskOf(0, null) },
        start: await cpu.point(trail, 1),
        end: await cpu.point(trail, 2),
      });
      expect(await gpu.runner.audit(await given())).toEqual(honest);
      const other = await given();
      const task = { ...other.task, slice_index: 0 };
      expect((await gpu.runner.audit({ ...other, task })).wrong).not.toBeNull();
    },
    TIMEOUT_MS,
  );

  test("a GPU that is lent to an audit holds the same bits afterwards", async () => {
    const { model, batch } = prepared.job;
    const options = { batch, context: model.context, threads: 1, device: GPU };
    const trainer = Trainer.create(model, options);
    await trainer.initialise(3n);
    trainer.m.fill(0.25);
    trainer.v[5] = 3;
    await trainer.push("m", "v");
    const held = async () => {
      await trainer.pull("params", "m", "v");
      return [trainer.params.slice(), trainer.m.slice(), trainer.v.slice()];
    };
    const before = await held();
    await keepingState(trainer, async () => {
      for (const which of ["params", "m", "v"] as const) trainer[which].fill(7);
      await trainer.push("params", "m", "v");
    });
    expect(await held()).toEqual(before);
    trainer.close();
  });
});

/** The end with one value replaced. */
const end = (value: number) => (given: PointArrays) => ({
  ...given,
  params: given.params.map((x, i) => (i === 3 ? value : x)),
});
