import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { MagnetError } from "../../src/core/errors.ts";
import type { Hash } from "../../src/core/types.ts";
import { resolveCheckpoint } from "../../src/model/checkpoint-store.ts";
import { hostFileSystem } from "../../src/model/file-system.ts";
import type { TrainingEvent } from "../../src/model/training-types.ts";
import { faultyDisk } from "./faulty-disk.ts";
import { tinyConfig, tinyData, tokenizer, train } from "./training-fixture.ts";

let root = "";
let out = "";
let made = 0;
beforeAll(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-run-"));
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));
beforeEach(() => {
  out = path.join(root, `run-${made++}`);
});
const another = () => path.join(root, `run-${made++}`);
const metrics = (folder: string) =>
  fs
    .readFileSync(path.join(folder, "metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
const failure = (run: Promise<unknown>): Promise<MagnetError> =>
  run.then(
    () => expect.unreachable(),
    (error) => error,
  );
/** Aborts once this many steps are done. */
function abortAfter(step: number) {
  const abort = new AbortController();
  const onEvent = (event: TrainingEvent) => {
    if (event.type === "step" && event.step === step) abort.abort();
  };
  return { signal: abort.signal, onEvent };
}

describe("a run", () => {
  test("learns, reports every step, and leaves metrics and checkpoints", async () => {
    const events: TrainingEvent[] = [];
    const config = tinyConfig({ steps: 60, eval_interval: 25, checkpoint_interval: 20, keep: 2 });
    const result = await train(out, config, { onEvent: (e) => events.push(e) });
    const steps = events.filter((e) => e.type === "step");
    expect(steps.map((e) => e.step)).toEqual(Array.from({ length: 60 }, (_, i) => i + 1));
    expect(steps[0]!.loss).toBeGreaterThan(5.2); // ln 258 = 5.55
    expect(steps[0]!.loss).toBeLessThan(5.9);
    expect(result.heldout!.loss).toBeLessThan(result.heldout_before!.loss - 1.5);
    expect(result.heldout!.tokens).toBeGreaterThanOrEqual(2048);
    // Tokens are bytes here, so bits per byte are the loss, but for the few special tokens.
    const bits = result.heldout!.loss / Math.LN2;
    expect(result.heldout!.bits_per_byte / bits).toBeCloseTo(1, 2);
    expect(steps.every((e) => e.tokens === 4 * 32 && e.grad_norm > 0)).toBe(true);
    expect(steps[0]!.tokens_per_s).toBe(12_800); // 128 tokens in the 10 ms of the clock
    expect(steps[0]!.eta_ms).toBe(590);
    expect(result).toMatchObject({ ended: "completed", step: 60, tokens: 60 * 128 });
    expect(result.loss).toBe(steps.at(-1)!.loss);
    expect(events.filter((e) => e.type === "evaluated").map((e) => e.step)).toEqual([
      0, 25, 50, 60,
    ]);
    expect(events.filter((e) => e.type === "checkpoint").map((e) => e.step)).toEqual([20, 40, 60]);
    expect(fs.readdirSync(path.join(out, "checkpoints")).sort()).toEqual([
      "latest",
      "step-00000040",
      "step-00000060",
    ]);
    const lines = metrics(out);
    expect(lines.filter((l) => l.loss !== undefined).map((l) => l.step)).toEqual(
      steps.map((e) => e.step),
    );
    expect(lines.find((l) => l.step === 7)).toMatchObject({ loss: steps[6]!.loss, tokens: 128 });
    const checkpoint = await resolveCheckpoint(out);
    expect(checkpoint.manifest.checkpoint_hash).toBe(result.checkpoint_hash);
    await checkpoint.verify();
  });

  test("gives the same hash for every thread count, and another for another seed", async () => {
    const hash = async (change: Parameters<typeof tinyConfig>[0]) =>
      (await train(another(), tinyConfig({ steps: 5, ...change }))).checkpoint_hash;
    const base = await hash({ threads: 1 });
    expect(await hash({ threads: 2 })).toBe(base);
    expect(await hash({ threads: 3, checkpoint_interval: 2, eval_interval: 1 })).toBe(base);
    expect(await hash({ seed: 12 })).not.toBe(base);
    expect(await hash({ lr: 2e-3 })).not.toBe(base);
    expect(await hash({ slice_index: 1, slice_count: 2 })).not.toBe(base);
  });

  test("slices train on different sequences of the same file", async () => {
    const first = await train(another(), tinyConfig({ steps: 1, slice_index: 0, slice_count: 2 }));
    const second = await train(another(), tinyConfig({ steps: 1, slice_index: 1, slice_count: 2 }));
    expect(first.loss).not.toBe(second.loss);
  });
});

describe("resuming", () => {
  test("6 steps, stop, 6 more: the hash of 12 straight, for accumulation and slices too", async () => {
    const { model } = tinyConfig();
    const recipe = {
      optimizer: "muon",
      schedule: "two-stage",
      weight_decay_schedule: "two-stage",
      recompute: true,
      clip: 0.5,
      momentum: 0.9,
    } as const;
    for (const change of [
      {},
      { accumulate: 2, batch: 2, slice_index: 1, slice_count: 3 },
      recipe,
      { ...recipe, schedule: "cosine", model: { ...model, quant: "none" } },
    ] as const) {
      const config = tinyConfig(change);
      const straight = await train(another(), config);
      const halves = another();
      const half = await train(halves, config, abortAfter(6));
      expect(half).toMatchObject({ ended: "aborted", step: 6 });
      const rest = await train(halves, config, { resume: await resolveCheckpoint(halves) });
      expect(rest.step).toBe(12);
      expect(rest.checkpoint_hash).toBe(straight.checkpoint_hash);
      expect(rest.tokens).toBe(half.tokens);
      const steps = metrics(halves).filter((l) => l.loss !== undefined);
      expect(steps.map((l) => l.step)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
    }
  });

  test("after SIGKILL: the same hash, and each step once in the metrics", async () => {
    const straight = await train(another(), tinyConfig({ steps: 40 }));
    const spawn = (...more: string[]) =>
      Bun.spawn(
        [process.execPath, path.join(import.meta.dir, "train-child.ts"), out, "40", ...more],
        {
          stdout: "pipe",
          stderr: "inherit",
        },
      );
    const child = spawn();
    let text = "";
    for await (const piece of child.stdout.pipeThrough(new TextDecoderStream())) {
      text += piece;
      if (text.includes("step 10\n")) child.kill("SIGKILL");
    }
    expect(await child.exited).not.toBe(0);
    expect(text).not.toContain("checkpoint 40");
    expect((await resolveCheckpoint(out)).manifest.step).toBeGreaterThanOrEqual(8);
    const resumed = spawn("resume");
    const lines = (await new Response(resumed.stdout).text()).trim().split("\n");
    expect(await resumed.exited).toBe(0);
    expect(lines.at(-1)).toBe(straight.checkpoint_hash);
    const steps = metrics(out).filter((l) => l.loss !== undefined);
    expect(steps.map((l) => l.step)).toEqual(Array.from({ length: 40 }, (_, i) => i + 1));
  });

  test("a finished run resumes to the same hash; more steps may be asked for", async () => {
    // Schedules that do not depend on the number of steps.
    const constant = { schedule: "constant", weight_decay_schedule: "constant" } as const;
    const done = await train(out, tinyConfig({ steps: 4, ...constant }));
    const same = await train(out, tinyConfig({ steps: 4, ...constant }), {
      resume: await resolveCheckpoint(out),
    });
    expect(same).toMatchObject({ step: 4, loss: null, checkpoint_hash: done.checkpoint_hash });
    const more = await train(out, tinyConfig({ steps: 8, ...constant }), {
      resume: await resolveCheckpoint(out),
    });
    const straight = await train(another(), tinyConfig({ steps: 8, ...constant }));
    expect(more.checkpoint_hash).toBe(straight.checkpoint_hash);
  });

  test("other settings or data are refused by name", async () => {
    await train(out, tinyConfig({ steps: 2 }));
    const resume = await resolveCheckpoint(out);
    const error = await failure(
      train(out, tinyConfig({ steps: 4, lr: 1e-3, batch: 8 }), { resume }),
    );
    expect(error.code).toBe("RESUME_MISMATCH");
    expect(error.message).toContain("schedule.peak_lr");
    expect(error.message).toContain("data.batch");
    const { model } = tinyConfig();
    for (const [change, named] of [
      [{ model: { ...model, quant: "none" } }, "model.quant is not set there, none here"],
      [{ optimizer: "adamw" }, "optimizer.name is muon there, adamw here"],
      [{ weight_decay_schedule: "constant" }, "optimizer.weight_decay_schedule is two-stage there"],
      [{ weight_decay: 0.2 }, "optimizer.weight_decay is 0.1 there, 0.2 here"],
    ] as const) {
      const config = tinyConfig({ steps: 4, ...change });
      expect((await failure(train(out, config, { resume }))).message).toContain(named);
    }
    const { heldout } = await tinyData();
    const sources = [{ name: "other", weight: 1, train: heldout, heldout: null }];
    const other = await failure(train(out, tinyConfig({ steps: 4 }), { resume, sources }));
    expect(other.message).toContain("data.train_hash");
  });
});

describe("a run that cannot go on says why", () => {
  test("divergence: an error, and the checkpoint before it stays the newest", async () => {
    const config = tinyConfig({
      steps: 400,
      lr: 10,
      clip: 0,
      schedule: "constant",
      checkpoint_interval: 1,
    });
    const error = await failure(train(out, config));
    expect(error.code).toBe("TRAINING_DIVERGED");
    expect(error.message).toMatch(/at step \d+/);
    const checkpoint = await resolveCheckpoint(out);
    await checkpoint.verify();
    expect(error.message).toContain(`step ${checkpoint.manifest.step + 1}:`);
  });

  test("weights that give no number: found by the evaluation before the first step", async () => {
    const init = {
      path: "broken",
      config: null,
      tokenizer: async () => null,
      load: async (_config: unknown, params: Float32Array) => {
        params.fill(Number.NaN);
      },
    };
    const error = await failure(train(out, tinyConfig(), { init }));
    expect(error).toMatchObject({ code: "TRAINING_DIVERGED" });
    expect(error.message).toContain("at step 0");
    expect(fs.existsSync(path.join(out, "checkpoints"))).toBe(false);
  });

  test("memory: both numbers before anything is allocated or written", async () => {
    const error = await failure(train(out, tinyConfig(), { memory_available_bytes: 1000 }));
    expect(error).toMatchObject({ code: "NOT_ENOUGH_MEMORY", exit: "hardware" });
    expect(error.message).toMatch(/needs [\d.]+ MiB, 1000 B are available/);
    expect(error.hint).toContain("--recompute");
    expect(fs.existsSync(out)).toBe(false);
  });

  test("a full disk: the last checkpoint is whole and the run resumes from it", async () => {
    await train(out, tinyConfig(), abortAfter(6));
    const { disk } = faultyDisk(8, "ENOSPC");
    const resume = await resolveCheckpoint(out);
    const error = await failure(train(out, tinyConfig(), { disk, resume }));
    expect(error.code).toBe("DISK_FULL");
    const left = await resolveCheckpoint(out);
    expect(left.manifest.step).toBe(6);
    const rest = await train(out, tinyConfig(), { resume: left });
    const straight = await train(another(), tinyConfig());
    expect(rest.checkpoint_hash).toBe(straight.checkpoint_hash);
  });

  test("a folder in use, too little data, another tokenizer, a corrupt checkpoint", async () => {
    await train(out, tinyConfig({ steps: 1 }));
    expect(await failure(train(out, tinyConfig()))).toMatchObject({
      code: "OUT_IN_USE",
      exit: "usage",
    });
    // A run that comes to its end between the first look at the folder and the lock.
    const late = another();
    const makeFolder = async (folder: string) => {
      await hostFileSystem.makeFolder(folder);
      if (folder === late) fs.cpSync(out, late, { recursive: true });
    };
    const disk = { ...hostFileSystem, makeFolder };
    expect((await failure(train(late, tinyConfig(), { disk }))).code).toBe("OUT_IN_USE");
    expect(metrics(late)).toEqual(metrics(out));
    const many = tinyConfig({ slice_index: 60_000, slice_count: 65_536 });
    expect((await failure(train(another(), many))).code).toBe("DATA_TOO_SMALL");
    const other = { ...tokenizer, hash: "0".repeat(64) as Hash };
    const mismatch = await failure(train(another(), tinyConfig(), { tokenizer: other }));
    expect(mismatch.code).toBe("TOKENIZER_MISMATCH");
    const small = tinyConfig();
    const config = { ...small, model: { ...small.model, vocab_size: 200 } };
    expect((await failure(train(another(), config))).code).toBe("VOCABULARY_MISMATCH");
    const resume = await resolveCheckpoint(out);
    const weights = path.join(resume.folder, "optimizer.safetensors");
    const bytes = fs.readFileSync(weights);
    bytes[bytes.length - 5]! ^= 1;
    fs.writeFileSync(weights, bytes);
    expect(await failure(train(out, tinyConfig(), { resume }))).toMatchObject({
      code: "CHECKPOINT_CORRUPT",
      exit: "verification",
      message: expect.stringContaining("optimizer.safetensors"),
    });
  });
});
