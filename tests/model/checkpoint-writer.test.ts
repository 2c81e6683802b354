/** Checkpoints beside the steps: what is written, in which order, and what a failure comes to. */
import { afterAll, beforeEach, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { CheckpointContent } from "../../src/model/checkpoint.ts";
import { CheckpointStore, resolveCheckpoint } from "../../src/model/checkpoint-store.ts";
import { CheckpointWriter } from "../../src/model/checkpoint-writer.ts";
import type { FileSystem } from "../../src/model/file-system.ts";
import type { Snapshot } from "../../src/model/trainer-snapshot.ts";
import { faultyDisk } from "./faulty-disk.ts";

const root = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-writer-"));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));
let folder = "";
let made = 0;
beforeEach(() => {
  folder = path.join(root, `run-${made++}`);
});

const layout = [
  { name: "w", offset: 0, rows: 2, cols: 2, is_ternary: false, is_matrix: true },
] as const;
const contentAt = (step: number) => ({
  layout: [...layout],
  tokenizer_json: "{}",
  state: {
    model: { variant: "bitnet" },
    tokenizer_hash: "a".repeat(64),
    ...{ step, init_seed: "7" },
    data: {
      ...{ train_hash: "b".repeat(64), position: step, order_seed: "1" },
      ...{ slice_index: 0, slice_count: 1, batch: 1, accumulate: 1, context: 8 },
    },
    optimizer: { name: "adamw", beta1: 0.9, beta2: 0.9, eps: 1e-8, weight_decay: 0, clip: 1 },
    schedule: { kind: "wsd", peak_lr: 0.1, total_steps: 10 },
    loss_average: null,
  } as unknown as CheckpointContent["state"],
  losses: { train: 1, heldout: null },
});

/** A device whose copies arrive when the test says so; `held`: snapshots that were not released. */
function fakeTrainer(is_copy: boolean) {
  const arrivals: (() => void)[] = [];
  const trainer = {
    weight: 0,
    held: 0,
    arrive: () => arrivals.shift()?.(),
    async snapshot(): Promise<Snapshot> {
      if (trainer.held > 0) throw new Error("two snapshots at once");
      trainer.held++;
      const [params, m, v] = [0, 1, 2].map((i) => new Float32Array(4).fill(trainer.weight + i));
      return {
        ...{ params: params!, m: m!, v: v!, is_copy },
        arrived: () =>
          is_copy ? new Promise<void>((done) => arrivals.push(done)) : Promise.resolve(),
        release: () => {
          trainer.held--;
        },
      };
    },
  };
  return trainer;
}
function writerOf(trainer: ReturnType<typeof fakeTrainer>, disk?: FileSystem) {
  const saved: number[] = [];
  const store = new CheckpointStore(folder, { keep: 3, ...(disk ? { disk } : {}) });
  const writer = new CheckpointWriter(trainer, store);
  const save = (step: number) =>
    writer.save(contentAt(step), ({ manifest }) => saved.push(manifest.step));
  return { writer, save, saved };
}
const weightOf = async (checkpoint: string) => {
  const params = new Float32Array(4);
  await (await resolveCheckpoint(checkpoint)).loadParams([...layout], params);
  return params[0]!;
};

test("a copy is written while the trainer goes on, as it was", async () => {
  const trainer = fakeTrainer(true);
  const { writer, save, saved } = writerOf(trainer);
  trainer.weight = 5;
  await save(1);
  trainer.weight = 6; // the next step
  expect([saved, trainer.held]).toEqual([[], 1]);
  trainer.arrive();
  await writer.settled();
  expect([saved, trainer.held]).toEqual([[1], 0]);
  expect(await weightOf(folder)).toBe(5);
});

test("the next save waits for the one before, and the newest is the latest", async () => {
  const trainer = fakeTrainer(true);
  const { writer, save, saved } = writerOf(trainer);
  await save(1);
  trainer.weight = 9;
  const second = save(2);
  trainer.arrive();
  await second;
  expect(saved).toEqual([1]);
  trainer.arrive();
  await writer.settled();
  expect(saved).toEqual([1, 2]);
  expect(await weightOf(folder)).toBe(9);
});

test("without a copy a save comes back when all is on the disk", async () => {
  const trainer = fakeTrainer(false);
  const { save, saved } = writerOf(trainer);
  await save(1);
  expect([saved, trainer.held]).toEqual([[1], 0]);
});

test("a disk that is full is told by the next call, once, and leaves the last checkpoint", async () => {
  const trainer = fakeTrainer(true);
  const good = writerOf(trainer);
  await good.save(1);
  trainer.arrive();
  await good.writer.settled();
  trainer.weight = 7;
  const { writer, save } = writerOf(trainer, faultyDisk(4, "ENOSPC").disk);
  await save(2);
  expect(writer.failed).toBe(false);
  trainer.arrive();
  const error = await writer.settled().then(
    () => null,
    (e) => e,
  );
  expect(error).toMatchObject({ code: "DISK_FULL" });
  expect([writer.failed, trainer.held]).toEqual([true, 0]);
  expect((await resolveCheckpoint(folder)).manifest.step).toBe(1);
});
