import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { sha256Hex } from "../../src/core/bytes.ts";
import {
  Checkpoint,
  type CheckpointContent,
  type CheckpointState,
  saveCheckpoint,
} from "../../src/model/checkpoint.ts";
import { CheckpointStore, resolveCheckpoint } from "../../src/model/checkpoint-store.ts";
import { Crash, faultyDisk } from "./faulty-disk.ts";

let root = "";
let folder = "";
beforeAll(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-checkpoint-"));
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));
let made = 0;
beforeEach(() => {
  folder = path.join(root, `case-${made++}`, "checkpoint");
  fs.mkdirSync(path.dirname(folder));
});

const layout = [
  {
    name: "model.embed_tokens.weight",
    offset: 0,
    rows: 4,
    cols: 3,
    is_ternary: false,
    is_matrix: true,
  },
  { name: "model.norm.weight", offset: 12, rows: 1, cols: 3, is_ternary: false, is_matrix: false },
];
const state: CheckpointState = {
  model: { variant: "bitnet", vocab_size: 4, d_model: 3 },
  tokenizer_hash: "a".repeat(64),
  step: 100,
  init_seed: "7",
  data: {
    train_hash: "b".repeat(64),
    position: 1600,
    order_seed: "18446744073709551615",
    slice_index: 0,
    slice_count: 1,
    batch: 16,
    accumulate: 1,
    context: 128,
  },
  optimizer: { name: "adamw", beta1: 0.9, beta2: 0.98, eps: 1e-8, weight_decay: 0.1, clip: 1 },
  schedule: { kind: "wsd", peak_lr: 0.0015, total_steps: 1000 },
  loss_average: 3.25,
};
function content(fill: number, change: Partial<CheckpointState> = {}): CheckpointContent {
  const arena = (k: number) => Float32Array.from({ length: 15 }, (_, i) => fill + k + i / 16);
  return {
    layout,
    params: arena(0),
    m: arena(100),
    v: arena(200),
    tokenizer_json: `{"version":"1.0","fill":${fill}}`,
    state: { ...state, ...change },
    losses: { train: 3.2, heldout: null },
  };
}
async function loaded(from: string) {
  const checkpoint = await Checkpoint.open(from);
  const arenas = {
    params: new Float32Array(15),
    m: new Float32Array(15),
    v: new Float32Array(15),
  };
  await checkpoint.load(layout, arenas);
  return { ...arenas, tokenizer_json: await checkpoint.tokenizerJson() };
}
function expectSame(found: Awaited<ReturnType<typeof loaded>>, saved: CheckpointContent) {
  const { params, m, v, tokenizer_json } = saved;
  expect<unknown>(found).toEqual({ params, m, v, tokenizer_json });
}

describe("saving and loading", () => {
  test("restores every float, the tokenizer and the state", async () => {
    const saved = content(1);
    const manifest = await saveCheckpoint(folder, saved);
    expectSame(await loaded(folder), saved);
    const checkpoint = await Checkpoint.open(folder);
    await checkpoint.verify();
    expect(checkpoint.manifest).toEqual(manifest);
    expect(checkpoint.manifest).toMatchObject({ schema: "magnet.checkpoint/1", ...state });
    const written = JSON.parse(fs.readFileSync(path.join(folder, "manifest.json"), "utf8"));
    expect(Object.keys(written)[0]).toBe("schema");
    for (const [name, { sha256 }] of Object.entries(manifest.files))
      expect(sha256Hex(fs.readFileSync(path.join(folder, name)))).toBe(sha256);
    const tensors = path.join(folder, "model.safetensors");
    expect(fs.readFileSync(tensors, "latin1")).toContain(
      '"model.norm.weight":{"dtype":"F32","shape":[3]',
    );
  });

  test("the hash covers what determines the continuation, and nothing else", async () => {
    const hashOf = async (c: CheckpointContent) =>
      (await saveCheckpoint(path.join(root, `h${made++}`), c)).checkpoint_hash;
    const base = await hashOf(content(1));
    expect(await hashOf(content(1))).toBe(base);
    expect(await hashOf({ ...content(1), losses: { train: 1, heldout: 2 } })).toBe(base);
    expect(await hashOf(content(2))).not.toBe(base);
    const { m, v } = content(5);
    expect(await hashOf({ ...content(1), m })).not.toBe(base);
    expect(await hashOf({ ...content(1), v })).not.toBe(base);
    expect(await hashOf(content(1, { step: 101 }))).not.toBe(base);
    expect(await hashOf(content(1, { loss_average: 3.5 }))).not.toBe(base);
    const data = { ...state.data, position: 1601 };
    expect(await hashOf(content(1, { data }))).not.toBe(base);
    expect(await hashOf({ ...content(1), tokenizer_json: "{}" })).not.toBe(base);
  });
});

describe("a failure at every single disk operation of a replacement", () => {
  const operationsOf = async () => {
    const { disk, operations } = faultyDisk(Number.POSITIVE_INFINITY, "crash");
    const target = path.join(root, `count-${made++}`);
    await saveCheckpoint(target, content(1));
    await saveCheckpoint(target, content(2), disk);
    return operations();
  };

  test("a crash leaves the old checkpoint or the new one, whole", async () => {
    const total = await operationsOf();
    expect(total).toBeGreaterThan(20);
    let olds = 0;
    for (let at = 0; at < total; at++) {
      const target = path.join(root, `crash-${made++}`);
      await saveCheckpoint(target, content(1));
      const { disk } = faultyDisk(at, "crash");
      const failed = await saveCheckpoint(target, content(2), disk).catch((error) => error);
      expect(failed.cause).toBeInstanceOf(Crash);
      const found = await loaded(target);
      const isOld = found.params[0] === 1;
      if (isOld) olds++;
      expectSame(found, content(isOld ? 1 : 2));
      await saveCheckpoint(target, content(3)); // what the crash left behind is no obstacle
      expectSame(await loaded(target), content(3));
      const left = fs.readdirSync(root).filter((n) => n.startsWith(`.${path.basename(target)}`));
      expect(left).toEqual([]);
    }
    expect(olds).toBeGreaterThan(total - 4); // the new one appears only at the end
  });

  test("a full disk is DISK_FULL, the old checkpoint stays, nothing is left behind", async () => {
    const total = await operationsOf();
    for (let at = 0; at < total - 2; at++) {
      const target = path.join(root, `full-${made++}`);
      await saveCheckpoint(target, content(1));
      const { disk } = faultyDisk(at, "ENOSPC");
      await expect(saveCheckpoint(target, content(2), disk)).rejects.toMatchObject({
        code: "DISK_FULL",
        message: expect.stringContaining(target),
        hint: expect.stringContaining("free some space"),
      });
      expectSame(await loaded(target), content(1));
      const left = fs.readdirSync(root).filter((n) => n.startsWith(`.${path.basename(target)}`));
      expect(left).toEqual([]);
    }
  });

  test("a disk that is really full (a 1 MiB tmpfs), where this user may mount one", async () => {
    const mount = path.join(root, "small");
    fs.mkdirSync(mount);
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", mount]);
    if (mounted.status !== 0) {
      process.stderr.write("no right to mount a tmpfs: a full disk is tested by injection only\n");
      return;
    }
    try {
      const target = path.join(mount, "checkpoint");
      await saveCheckpoint(target, content(1));
      const large = { ...content(2), tokenizer_json: "x".repeat(2_000_000) };
      await expect(saveCheckpoint(target, large)).rejects.toMatchObject({ code: "DISK_FULL" });
      expectSame(await loaded(target), content(1));
      expect(fs.readdirSync(mount)).toEqual(["checkpoint"]);
    } finally {
      expect(spawnSync("umount", [mount]).status).toBe(0);
    }
  });
});

describe("damage is one clear error that names the file", () => {
  const files = ["model.safetensors", "optimizer.safetensors", "tokenizer.json", "manifest.json"];
  for (const name of files)
    test(name, async () => {
      await saveCheckpoint(folder, content(1));
      const file = path.join(folder, name);
      const good = fs.readFileSync(file);
      const damages: (() => void)[] = [
        () => fs.writeFileSync(file, good.subarray(0, good.length - 3)),
        () => fs.writeFileSync(file, new Uint8Array(0)),
        () => fs.writeFileSync(file, Buffer.concat([good, Buffer.from("x")])),
        () => fs.writeFileSync(file, new Uint8Array(good.length).fill(0xff)),
        ...Array.from({ length: 40 }, (_, i) => () => {
          const bad = Buffer.from(good);
          const at = Math.floor((i / 40) * good.length);
          bad[at] = bad[at]! ^ 0x11;
          fs.writeFileSync(file, bad);
        }),
      ];
      if (name !== "manifest.json") damages.push(() => fs.rmSync(file));
      for (const damage of damages) {
        damage();
        const error = await loaded(folder).catch((e) => e);
        expect(error).toMatchObject({
          code: expect.stringMatching(/^(CHECKPOINT_CORRUPT|UNSUPPORTED)$/),
          message: expect.stringContaining(name),
        });
        if (error.code === "CHECKPOINT_CORRUPT") expect(error.exit).toBe("verification");
        const verify = async () => (await Checkpoint.open(folder)).verify();
        await expect(verify()).rejects.toMatchObject({ code: error.code });
      }
    });

  test("a missing path, a file and a folder of something else", async () => {
    await expect(Checkpoint.open(folder)).rejects.toMatchObject({ code: "NOT_FOUND" });
    await expect(resolveCheckpoint(folder)).rejects.toMatchObject({ code: "NOT_FOUND" });
    fs.mkdirSync(folder);
    await expect(resolveCheckpoint(folder)).rejects.toMatchObject({ code: "NOT_A_CHECKPOINT" });
    const file = path.join(folder, "x.txt");
    fs.writeFileSync(file, "x");
    await expect(resolveCheckpoint(file)).rejects.toMatchObject({ code: "NOT_A_CHECKPOINT" });
  });

  test("another model's layout is a mismatch, not damage", async () => {
    await saveCheckpoint(folder, content(1));
    const other = [
      { ...layout[0]!, cols: 4 },
      { ...layout[1]!, offset: 16 },
    ];
    const checkpoint = await Checkpoint.open(folder);
    await expect(checkpoint.loadParams(other, new Float32Array(19))).rejects.toMatchObject({
      code: "CHECKPOINT_MISMATCH",
    });
  });
});

describe("the store of a run", () => {
  const saveSteps = async (store: CheckpointStore, steps: number[]) => {
    for (const step of steps) await store.save(content(step, { step }));
  };
  const names = (at: string) => fs.readdirSync(at).sort();

  test("keeps the last ones and points at the newest", async () => {
    const store = new CheckpointStore(folder, { keep: 2 });
    expect(await store.latest()).toBeNull();
    await saveSteps(store, [10, 20, 30, 40]);
    expect(names(folder)).toEqual(["latest", "step-00000030", "step-00000040"]);
    expect(await store.latest()).toBe(path.join(folder, "step-00000040"));
    expect((await resolveCheckpoint(folder)).manifest.step).toBe(40);
    fs.renameSync(folder, path.join(path.dirname(folder), "checkpoints"));
    expect((await resolveCheckpoint(path.dirname(folder))).manifest.step).toBe(40);
  });

  test("a crash at any operation of a save and its rotation leaves a whole checkpoint", async () => {
    const prepared = async (at: number) => {
      const run = path.join(root, `store-${made++}`);
      await saveSteps(new CheckpointStore(run, { keep: 2 }), [10, 20]);
      const faulty = faultyDisk(at, "crash");
      const store = new CheckpointStore(run, { keep: 2, disk: faulty.disk });
      const outcome = store.save(content(30, { step: 30 }));
      return { run, outcome, operations: faulty.operations };
    };
    const clean = await prepared(Number.POSITIVE_INFINITY);
    await clean.outcome;
    for (let at = 0; at < clean.operations(); at++) {
      const { run, outcome } = await prepared(at);
      await outcome.catch(() => undefined);
      const newest = (await new CheckpointStore(run, { keep: 2 }).latest())!;
      expect([20, 30]).toContain((await loaded(newest)).params[0]!);
      await saveSteps(new CheckpointStore(run, { keep: 2 }), [40]);
      const left = names(run);
      expect(left).toContain("step-00000040");
      expect(left.filter((n) => !/^\.step-00000030\.new$/.test(n)).length).toBe(3);
    }
  });

  test("a pointer that leads nowhere gives the highest step", async () => {
    const store = new CheckpointStore(folder, { keep: 3 });
    await saveSteps(store, [10, 20]);
    fs.writeFileSync(path.join(folder, "latest"), "../../etc");
    expect(await store.latest()).toBe(path.join(folder, "step-00000020"));
    fs.rmSync(path.join(folder, "latest"));
    expect(await store.latest()).toBe(path.join(folder, "step-00000020"));
  });
});
