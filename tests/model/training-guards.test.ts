import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { BatchOrder } from "../../src/model/batch-order.ts";
import { BatchReader } from "../../src/model/batch-reader.ts";
import { smoothLoss } from "../../src/model/divergence.ts";
import { InnerLoop } from "../../src/model/inner-loop.ts";
import { availableMemoryBytes, requireMemory, WEIGHTS } from "../../src/model/memory.ts";
import { MetricsFile } from "../../src/model/metrics-file.ts";
import { RunLock } from "../../src/model/run-lock.ts";
import { Trainer } from "../../src/model/trainer.ts";
import {
  hyperparametersOf,
  parseTrainingConfig,
  trainerOptions,
} from "../../src/model/training-config.ts";
import { tinyConfig, tinyData } from "./training-fixture.ts";

let root = "";
beforeAll(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-guards-"));
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

describe("the divergence watch", () => {
  const vocab_size = 2048; // guessing costs 7.62 nats
  const codeOf = (average: number | null, loss: number) => {
    try {
      smoothLoss(average, { step: 3, loss, vocab_size });
      return "fine";
    } catch (error) {
      return (error as { code: string }).code;
    }
  };
  test("lets unusual batches pass and stops what never comes back", () => {
    expect(codeOf(null, 7.7)).toBe("fine");
    expect(codeOf(null, 14)).toBe("TRAINING_DIVERGED");
    expect(codeOf(3, 5.5)).toBe("fine");
    expect(codeOf(3, 8.5)).toBe("TRAINING_DIVERGED");
    expect(codeOf(0.1, 2)).toBe("fine");
    expect(codeOf(0.1, 3)).toBe("TRAINING_DIVERGED");
    expect(codeOf(40, 20)).toBe("TRAINING_DIVERGED"); // an average that crept up is no excuse
    for (const loss of [Number.NaN, Number.POSITIVE_INFINITY])
      expect(codeOf(3, loss)).toBe("TRAINING_DIVERGED");
  });
  test("follows a falling loss", () => {
    let average: number | null = null;
    for (let step = 1; step <= 500; step++)
      average = smoothLoss(average, { step, loss: 3 + 4.6 / step, vocab_size });
    expect(average!).toBeGreaterThan(3);
    expect(average!).toBeLessThan(3.1);
  });
});

describe("memory that is left", () => {
  const files = (map: Record<string, string>) => (name: string) => map[name] ?? "";
  const meminfo = { "/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    2048 kB\n" };
  test("is the least of the host's and the control group's", () => {
    expect(availableMemoryBytes(files(meminfo))).toBe(2048 * 1024);
    const group = (max: string) => ({
      ...meminfo,
      "/sys/fs/cgroup/memory.max": max,
      "/sys/fs/cgroup/memory.current": "500000\n",
    });
    expect(availableMemoryBytes(files(group("max\n")))).toBe(2048 * 1024);
    expect(availableMemoryBytes(files(group("600000\n")))).toBe(100_000);
    expect(availableMemoryBytes(files(group("400000\n")))).toBe(0);
    expect(availableMemoryBytes(files({}))).toBeNull();
    expect(availableMemoryBytes()!).toBeGreaterThan(1e6);
  });
  test("an unknown amount refuses nothing", () => {
    requireMemory(1e12, null);
    expect(() => requireMemory(3 * 2 ** 30, 2 ** 30)).toThrow("3.0 GiB, 1.0 GiB are available");
    expect(() => requireMemory(3 * 2 ** 30, 2 ** 30, WEIGHTS)).toThrow(
      "the model's weights need 3.0 GiB, 1.0 GiB are available",
    );
  });
});

describe("metrics.jsonl", () => {
  test("goes on behind the checkpoint, without what was written after it", async () => {
    const file = path.join(root, "metrics.jsonl");
    const first = await MetricsFile.open(file, 0);
    for (let step = 1; step <= 20_000; step++) await first.append({ step, loss: 1 / step });
    await first.close();
    fs.appendFileSync(file, '{"step":20001,"lo'); // a crash cut this line
    const second = await MetricsFile.open(file, 15_000);
    await second.append({ step: 15_001, loss: 9 });
    await second.close();
    const lines = fs.readFileSync(file, "utf8").trim().split("\n");
    expect(lines.length).toBe(15_001);
    expect(lines.slice(-2)).toEqual([
      JSON.stringify({ step: 15_000, loss: 1 / 15_000 }),
      '{"step":15001,"loss":9}',
    ]);
    await (await MetricsFile.open(file, 0)).close();
    expect(fs.readFileSync(file, "utf8")).toBe("");
  });
});

describe("the lock of a run's folder", () => {
  test("one process at a time; a dead one's lock is taken over", async () => {
    const lock = await RunLock.take(root);
    await expect(RunLock.take(root)).rejects.toMatchObject({
      code: "OUT_BUSY",
      message: expect.stringContaining(`process ${process.pid}`),
    });
    await lock.release();
    const child = Bun.spawn([process.execPath, "-e", ""]);
    await child.exited;
    for (const stale of [`${child.pid} 1\n`, `${process.pid} 1\n`, "", "garbage"]) {
      fs.writeFileSync(path.join(root, "run.lock"), stale);
      await (await RunLock.take(root)).release();
    }
    expect(fs.existsSync(path.join(root, "run.lock"))).toBe(false);
  });
});

describe("settings", () => {
  test("unknown and impossible ones are named", () => {
    const { model } = tinyConfig();
    const error = (settings: object) => {
      try {
        parseTrainingConfig({ model, steps: 1, ...settings });
        return null;
      } catch (e) {
        return e as { code: string; message: string };
      }
    };
    expect(error({})).toBeNull();
    expect(error({ context: model.context + 1 })?.message).toContain("context");
    expect(error({ slice_index: 2, slice_count: 2 })?.message).toContain("slice_index");
    expect(error({ beta2: 1 })?.message).toContain("beta2");
    expect(error({ speed: 1 })).toMatchObject({ code: "BAD_TRAINING_CONFIG" });
    expect(error({ steps: 0 })?.message).toContain("steps");
  });
});

test("an inner step that is cancelled leaves the state of the last whole step", async () => {
  const config = tinyConfig({ batch: 8 });
  const { train } = await tinyData();
  const order = new BatchOrder({ ...config, token_count: train.token_count });
  const trainer = Trainer.create(config.model, { ...trainerOptions(config), threads: 1 });
  try {
    await trainer.initialise(1n);
    const loop = new InnerLoop(trainer, new BatchReader(train, order), hyperparametersOf(config));
    await loop.next();
    const [state, params] = [loop.state, trainer.params.slice()];
    expect(state).toMatchObject({ step: 1, position: 8 });
    // Not `.rejects`: it waits without serving the worker that would settle the promise.
    const cancelled = await loop.next(AbortSignal.abort()).catch((error) => error);
    expect(cancelled).toMatchObject({ code: "CANCELLED" });
    expect(loop.state).toEqual(state);
    expect(Buffer.compare(Buffer.from(trainer.params.buffer), Buffer.from(params.buffer))).toBe(0);
    expect((await loop.next()).step).toBe(2);
  } finally {
    trainer.close();
  }
});
