/**
 * Trails of training: what is recorded of a round, what the next one goes on from after whatever happened,
 * and what the disk keeps and shows.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { doInnerSteps } from "../../src/agent/inner-steps.ts";
import type { PreparedJob } from "../../src/agent/prepare-job.ts";
import {
  readTrail,
  refuseTrail,
  stepOfPoint,
  stretchesOf,
  strideOf,
  type Trail,
  trailHash,
  trailText,
} from "../../src/agent/trail/trail.ts";
import { filesOf } from "../../src/agent/trail/trail-store.ts";
import { sha256Hex } from "../../src/core/bytes.ts";
import type { Hash, PublicKey } from "../../src/core/types.ts";
import type { TrainedResult } from "../../src/diloco/round-types.ts";
import { paramCount } from "../../src/model/config.ts";
import { TokenFile } from "../../src/model/token-file.ts";
import { Trainer } from "../../src/model/trainer.ts";
import { makeJob } from "./real-nodes.ts";
import { STRANGER, Worker, type WorkerOptions } from "./trail-bench.ts";

const STEPS = 45;
const MEMBER = `02${"9".repeat(64)}` as PublicKey;
const ZEROS = "0".repeat(64) as Hash;

let prepared: PreparedJob;
const workers: Worker[] = [];
beforeAll(async () => {
  prepared = await makeJob({ inner_steps: STEPS, rounds: 8, compression: "int4" });
});
afterAll(() => {
  for (const worker of workers) worker.close();
});

async function start(options: WorkerOptions = {}): Promise<Worker> {
  const worker = await Worker.start(prepared, 1, options);
  workers.push(worker);
  return worker;
}

/** Three rounds that nothing disturbs. */
let calm: { worker: Worker; results: TrainedResult[]; trails: Trail[] };
beforeAll(async () => {
  const worker = await start();
  const results = [];
  const trails = [];
  let previous: Hash | null = null;
  for (const round of [0, 1, 2]) {
    const result = await worker.train(round, previous);
    previous = result.trail_hash;
    results.push(result);
    trails.push(worker.trailOf(result));
  }
  calm = { worker, results, trails };
});

const hashOf = (...arrays: Float32Array[]) =>
  sha256Hex(...arrays.map((a) => new Uint8Array(a.buffer, a.byteOffset, a.byteLength)));

test("strides are a function of the job; stretches cover its steps", () => {
  const of = (inner_steps: number) => {
    const job = { inner_steps };
    return [strideOf(job), stretchesOf(job), stepOfPoint(job, stretchesOf(job))];
  };
  expect(of(1)).toEqual([20, 1, 1]);
  expect(of(20)).toEqual([20, 1, 20]);
  expect(of(45)).toEqual([20, 3, 45]);
  expect(of(640)).toEqual([20, 32, 640]);
  expect(of(641)).toEqual([40, 17, 641]);
  expect(of(100_000)).toEqual([3140, 32, 100_000]);
});

test("a trail holds what the same steps give on another trainer", async () => {
  const { worker, trails, results } = calm;
  const { job, files } = prepared;
  const { model, batch } = job;
  const trainer = Trainer.create(model, { batch, context: model.context, threads: 1 });
  const train_file = await TokenFile.open(files[job.train_hash]!);
  await trainer.initialise(BigInt(job.seed));
  const base = trainer.params.slice();
  let optimizer_steps = 0;
  for (const [round, trail] of trails.entries()) {
    trainer.params.set(base);
    expect(trail.points.map(({ step }) => step)).toEqual([0, 20, 40, 45]);
    const now = () => ({
      params: hashOf(trainer.params),
      moments: hashOf(trainer.m, trainer.v),
    });
    expect(trail.points[0]).toEqual({ step: 0, ...now() } as Trail["points"][0]);
    await doInnerSteps({
      ...{ job, train_file, trainer, optimizer_steps },
      task: worker.taskOf(round, null),
      onStep: ({ step }) => {
        const point = trail.points.find((one) => one.step === step);
        if (point) expect(point).toEqual({ step, ...now() } as typeof point);
      },
    });
    optimizer_steps += STEPS;
    expect(trail).toMatchObject({ device: "cpu", stride: 20, public_key: worker.public_key });
    expect(trail.delta_hash).toBe(results[round]!.delta_hash);
    const of = { ...trail, job };
    expect(refuseTrail(trail, of)).toBeNull();
    expect(readTrail(trailText(trail))).toEqual(trail);
  }
  trainer.close();
  train_file.close();
});

test("each round's trail goes on from the one before", () => {
  const [one, two, three] = calm.trails as [Trail, Trail, Trail];
  expect([one.previous, one.residual_before, one.optimizer_steps]).toEqual([null, null, 0]);
  for (const [before, after] of [
    [one, two],
    [two, three],
  ] as const) {
    expect(after.previous).toBe(trailHash(before));
    expect(after.points[0]!.moments).toBe(before.points.at(-1)!.moments);
    expect(after.residual_before).toBe(before.residual_after);
    expect(after.optimizer_steps).toBe(before.optimizer_steps + STEPS);
  }
});

test("a text that is no trail, or of another contribution, is refused", () => {
  const [trail] = calm.trails as [Trail];
  const text = trailText(trail);
  for (const bad of [
    "",
    "{}",
    `${text} `,
    text.replace("magnet.trail/1", "magnet.trail/2"),
    "9".repeat(9000),
  ])
    expect(readTrail(bad)).toBeNull();
  const of = { ...trail, job: prepared.job };
  const other: [Partial<Trail>, RegExp][] = [
    [{ announce_hash: "a".repeat(64) as Hash }, /another round/],
    [{ public_key: MEMBER }, /another node/],
    [{ delta_hash: ZEROS }, /another pseudo-gradient/],
    [{ stride: 40 }, /another stride/],
    [{ points: trail.points.slice(1) }, /number of points/],
    [{ points: trail.points.map((point) => ({ ...point, step: point.step + 1 })) }, /other steps/],
    [{ previous: ZEROS }, /where its residual comes from/],
    [{ residual_before: ZEROS }, /where its residual comes from/],
    [{ optimizer_steps: 1 }, /moments that start at zero/],
  ];
  for (const [change, reason] of other)
    expect(refuseTrail({ ...trail, ...change }, of)).toMatch(reason);
});

describe("the next round goes on from the last merged one", () => {
  /** Trains rounds 0 and 1 with something between, and compares round 1 with the calm one's. */
  const twoRounds = async (between: (worker: Worker, first: Hash) => Promise<void>) => {
    const worker = await start();
    const { trail_hash } = await worker.train(0, null);
    await between(worker, trail_hash!);
    const second = await worker.train(1, trail_hash);
    expect(worker.trailOf(second)).toEqual(calm.trails[1]!);
    expect(second.delta_hash).toBe(calm.results[1]!.delta_hash);
  };

  test("after a round that was cancelled half-way", () =>
    twoRounds(async (worker, first) => {
      const abort = new AbortController();
      worker.onStep = (step) => {
        if (step === 25) abort.abort(new Error("the round went on without it"));
      };
      const used = worker.trails.used_bytes;
      await expect(worker.train(2, first, abort.signal)).rejects.toThrow(/cancel|went on/i);
      worker.onStep = () => undefined;
      expect(worker.trails.used_bytes).toBe(used);
    }));

  test("after one that came too late to be merged", () =>
    twoRounds(async (worker, first) => {
      await worker.train(2, first);
    }));

  test("after a restart", () =>
    twoRounds(async (worker) => {
      worker.close();
      await worker.open();
    }));

  test("after an audit of another node", () =>
    twoRounds(async (worker) => {
      const other = await Worker.start(prepared, 2);
      workers.push(other);
      const result = await other.train(0, null);
      const trail = other.trailOf(result);
      other.trails.openFor(result.delta_hash);
      const task = other.taskOf(0, null);
      const work = { trail, stretch: 1, start: await other.point(trail, 1), end: null, task };
      expect(await worker.runner.audit(work)).toEqual({ by: "bits", wrong: null });
    }));

  test("at zeros where its files are gone or damaged", async () => {
    for (const damage of ["gone", "changed", "cut"]) {
      const worker = await start();
      const first = await worker.train(0, null);
      const { moments } = worker.trailOf(first).points.at(-1)!;
      const file = path.join(worker.folder, "trails/points/blobs", moments.slice(0, 2), moments);
      worker.close();
      if (damage === "gone") fs.rmSync(file);
      else if (damage === "cut") fs.truncateSync(file, 100);
      else {
        const bytes = fs.readFileSync(file);
        bytes[17]! ^= 1;
        fs.writeFileSync(file, bytes);
      }
      await worker.open();
      const second = worker.trailOf(await worker.train(1, first.trail_hash));
      expect([damage, second.previous, second.optimizer_steps]).toEqual([damage, null, 0]);
      expect(second.points[0]!.moments).toBe(calm.trails[0]!.points[0]!.moments);
    }
  });

  test("at zeros where the job has not merged one", async () => {
    const worker = await start();
    await worker.train(2, null);
    const second = worker.trailOf(await worker.train(0, null));
    expect(second).toEqual(calm.trails[0]!);
  });
});

describe("the disk", () => {
  test("keeps the last round and the one that it goes on from", () => {
    const { worker, trails } = calm;
    const [one, two, three] = trails as [Trail, Trail, Trail];
    for (const { delta_hash } of trails) worker.trails.openFor(delta_hash);
    const here = (trail: Trail) => filesOf(trail).map((hash) => worker.trails.size(hash) !== null);
    expect(new Set([...here(two), ...here(three)])).toEqual(new Set([true]));
    // Of the first its end is the second's start.
    expect(here(one).filter(Boolean).length).toBe(3);
    expect(worker.trails.textFor(trailHash(one), MEMBER)).toBe(trailText(one));
  });

  test("shows nothing before it is opened, and nothing to strangers", async () => {
    const worker = await start();
    const result = await worker.train(0, null);
    const trail = worker.trailOf(result);
    const seen = (to: PublicKey) => [
      worker.trails.textFor(result.trail_hash!, to),
      ...filesOf(trail).map((hash) => worker.trails.size(hash, to)),
    ];
    expect(new Set([...seen(MEMBER), ...seen(STRANGER)])).toEqual(new Set([null]));
    expect(worker.trails.read(trail.points[0]!.params, 0, 4)).rejects.toThrow(/is not here/);
    worker.trails.openFor(result.delta_hash);
    expect(seen(MEMBER)).not.toContain(null);
    expect(new Set(seen(STRANGER))).toEqual(new Set([null]));
    worker.close();
    await worker.open();
    expect(seen(MEMBER)).not.toContain(null);
  });

  test("without room a round has no trail, and trains all the same", async () => {
    const worker = await start({ quota_bytes: 1 << 20 });
    const { trail_hash, delta_hash } = await worker.train(0, null);
    expect(trail_hash).toBeNull();
    expect(delta_hash).toBe(calm.results[0]!.delta_hash);
    expect(worker.trails.used_bytes).toBe(0);
    // Its moments go on, as without trails.
    const second = await worker.train(1, null);
    expect(second.delta_hash).toBe(calm.results[1]!.delta_hash);
  });

  test("with room for little more than one round every other one has a trail", async () => {
    const n = paramCount(prepared.job.model);
    const quota_bytes = 65 * n;
    const worker = await start({ quota_bytes });
    let previous: Hash | null = null;
    const hashes = [];
    for (const round of [0, 1, 2, 3]) {
      const { trail_hash } = await worker.train(round, previous);
      previous = trail_hash ?? previous;
      hashes.push(trail_hash);
      expect(worker.trails.used_bytes).toBeLessThanOrEqual(quota_bytes);
    }
    expect(hashes.map((hash) => hash !== null)).toEqual([true, false, true, false]);
    expect(hashes[0]).toBe(calm.results[0]!.trail_hash);
    expect(worker.trails.trail(hashes[2]!)!.previous).toBe(hashes[0]!);
  });

  test("a disk that fails in the middle costs the trail and not the round", async () => {
    const worker = await start();
    const folder = path.join(worker.folder, "trails/points/tmp");
    fs.rmSync(folder, { recursive: true });
    const { trail_hash, delta_hash } = await worker.train(0, null);
    expect(trail_hash).toBeNull();
    expect(delta_hash).toBe(calm.results[0]!.delta_hash);
    expect(worker.trails.used_bytes).toBe(0);
  });
});
