/**
 * `--device`: training on a GPU as the emulation of one runs it, and what is said where a GPU cannot be
 * used. MAGNET_EMULATION_DEVICES=0 there is a machine without a driver.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { paramCount, parseModelConfig } from "../../src/model/config.ts";
import type { TrainingEvent } from "../../src/model/training-types.ts";
import { BUILD_TIMEOUT_MS, build, emulatedFile } from "../native/emulated.ts";
import { errorDocument, MAIN, magnet, makeHome } from "./magnet.ts";

const home = makeHome();
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));

const GPU = { MAGNET_CUDA_LIBRARY: emulatedFile };
const NO_DRIVER = { ...GPU, MAGNET_EMULATION_DEVICES: "0" };
const TWO = { ...GPU, MAGNET_EMULATION_DEVICES: "2" };
/** One layer of 32 channels: a step of the emulation takes a second or two. */
const MODEL = {
  ...{ variant: "bitnet", vocab_size: 260, d_model: 32, n_layers: 1, n_heads: 2, n_kv_heads: 1 },
  ...{ head_dim: 16, d_ff: 64, context: 16, rope_theta: 10_000, norm_eps: 1e-5 },
};
const RUN_TIMEOUT_MS = 300_000;

const run = (env: Record<string, string>, ...args: string[]) => magnet(MAIN, home, args, { env });
const train = (env: Record<string, string>, out: string, ...args: string[]) => {
  const model = ["--model", "model.json", "--data", "text.txt", "--batch", "2", "--out", out];
  return run(env, "train", ...model, "--heldout", "0", "--json", ...args);
};
type Document = Record<string, unknown>;
const documents = (stdout: string): Document[] =>
  stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
type Started = TrainingEvent & { type: "started" };
const COPIES_BYTES = 12 * paramCount(parseModelConfig(MODEL));
const startedIn = (stdout: string) =>
  documents(stdout).find(({ schema }) => schema === "magnet.train_started/1");

beforeAll(() => {
  build("emulated");
  fs.writeFileSync(path.join(home, "model.json"), JSON.stringify(MODEL));
  const text = Array.from({ length: 400 }, (_, i) => `line ${i * 7919} of the text\n`).join("");
  fs.writeFileSync(path.join(home, "text.txt"), text);
}, BUILD_TIMEOUT_MS);

describe("training on a GPU", () => {
  test(
    "auto takes it; stopped and resumed gives the weights of a run without a stop",
    async () => {
      const straight = await train(GPU, "straight", "--steps", "4");
      expect([straight.code, straight.stderr]).toEqual([0, straight.stderr]);
      const { device, memory_bytes, host } = startedIn(straight.stdout) as unknown as Started;
      expect(device).toBe("cuda:0 (emulated device)");
      // At least the arenas there, and copies of three of them here.
      expect(memory_bytes).toBeGreaterThan((4 / 3) * COPIES_BYTES);
      expect(host!.memory_bytes).toBeGreaterThan(COPIES_BYTES);
      expect(host!.memory_available_bytes).toBeGreaterThan(host!.memory_bytes);
      const half = ["--steps", "4", "--checkpoint-every", "2"];
      expect((await train(GPU, "again", ...half)).code).toBe(0);
      // As if the run had ended between the two checkpoints.
      const checkpoints = path.join(home, "again/checkpoints");
      fs.rmSync(path.join(checkpoints, "step-00000004"), { recursive: true });
      fs.rmSync(path.join(checkpoints, "latest"));
      const resumed = await run(GPU, "train", "--resume", "--out", "again", "--json");
      const last = (stdout: string) => documents(stdout).at(-1)!;
      expect(last(resumed.stdout).checkpoint_hash).toBe(last(straight.stdout).checkpoint_hash);
      expect(last(resumed.stdout).step).toBe(4);
    },
    RUN_TIMEOUT_MS,
  );

  test(
    "the loss is the CPU's, but for bfloat16",
    async () => {
      const losses = async (device: string) =>
        documents((await train(TWO, device, "--steps", "3", "--device", device)).stdout)
          .filter(({ schema }) => schema === "magnet.train_step/1")
          .map(({ loss }) => loss as number);
      const [cpu, gpu] = [await losses("cpu"), await losses("cuda:1")];
      expect(cpu.length).toBe(3);
      for (const [i, loss] of gpu.entries())
        expect(Math.abs(loss / cpu[i]! - 1)).toBeLessThan(5e-3);
      const evaluated = async (device: string) => {
        const args = ["cpu", "--data", "text.txt", "--tokens-max", "32", "--device", device];
        return documents((await run(GPU, "eval", ...args, "--json")).stdout)[0]!.loss as number;
      };
      const [there, here] = [await evaluated("cuda"), await evaluated("cpu")];
      expect(there).not.toBe(here);
      expect(Math.abs(there / here - 1)).toBeLessThan(5e-3);
    },
    RUN_TIMEOUT_MS,
  );
});

test(
  "alignment on a GPU: the loss is the CPU's, but for bfloat16",
  async () => {
    expect((await train(GPU, "base", "--steps", "1", "--device", "cpu")).code).toBe(0);
    const pairs = [1, 2, 3, 4].map((i) => {
      return JSON.stringify({ prompt: `line ${i}`, chosen: " of the text", rejected: " of 7919" });
    });
    fs.writeFileSync(path.join(home, "pairs.jsonl"), pairs.join("\n"));
    const aligned = async (device: string) => {
      const files = ["--model", "base", "--pairs", "pairs.jsonl", "--out", `aligned-${device}`];
      const sizes = ["--steps", "1", "--batch", "1", "--heldout", "0", "--device", device];
      const { stdout } = await run(GPU, "align", ...files, ...sizes, "--json");
      const of = (name: string) => documents(stdout).find(({ schema }) => schema === name)!;
      const { loss } = of("magnet.align_step/1");
      return { device: of("magnet.align_started/1").device, loss: loss as number };
    };
    const [cpu, gpu] = [await aligned("cpu"), await aligned("cuda")];
    expect([cpu.device, gpu.device]).toEqual(["CPU", "cuda:0 (emulated device)"]);
    expect(Math.abs(gpu.loss / cpu.loss - 1)).toBeLessThan(5e-3);
  },
  RUN_TIMEOUT_MS,
);

describe("where a GPU cannot be used", () => {
  test("without a driver cuda is refused, and auto trains on the CPU and says why", async () => {
    const refused = await train(NO_DRIVER, "no", "--steps", "1", "--device", "cuda");
    expect(refused.code).toBe(7);
    const { code, message, hint } = errorDocument(refused);
    expect([code, message]).toEqual([
      "NO_CUDA",
      "no GPU can be used: no NVIDIA driver is installed",
    ]);
    expect(hint).toContain("--device cpu");
    const { stdout } = await train(NO_DRIVER, "cpu-only", "--steps", "1");
    expect(startedIn(stdout)!.device).toBe("CPU (no NVIDIA driver is installed)");
  });

  test("a GPU that is not there, with those that are", async () => {
    const { code, message } = errorDocument(
      await train(TWO, "no", "--steps", "1", "--device", "cuda:2"),
    );
    expect(code).toBe("NO_SUCH_GPU");
    expect(message).toContain("cuda:0 emulated device, cuda:1 emulated device");
  });

  test("a model that its memory does not hold", async () => {
    const args = ["--shape", "618m", "--batch", "8", "--device", "cuda", "--json"];
    const { code, message, hint } = errorDocument(await run(GPU, "bench", "train", ...args));
    expect(code).toBe("NOT_ENOUGH_MEMORY");
    expect(hint).toContain("not even --batch 1 fits"); // its arenas alone are 9.9 GB
    expect(message).toMatch(
      /training needs .* on the GPU, 4\.0 GiB of 4\.0 GiB are free on cuda:0/,
    );
  });

  test("a library that does not load is named", async () => {
    const env = { MAGNET_CUDA_LIBRARY: "/nowhere/libmagnet_cuda.so" };
    const { code, message } = errorDocument(
      await train(env, "no", "--steps", "1", "--device", "cuda"),
    );
    expect(code).toBe("NO_CUDA");
    expect(message).toContain("MAGNET_CUDA_LIBRARY is /nowhere/libmagnet_cuda.so");
  });
});

test(
  "doctor shows the GPUs and whether the first computes what it should, or why there is none",
  async () => {
    const gpuLine = async (env: Record<string, string>) => {
      const { checks } = documents((await run(env, "doctor", "--json")).stdout)[0]!;
      return (checks as Document[]).find(({ name }) => name === "gpu")!;
    };
    const there = await gpuLine(TWO);
    expect(there.status).toBe("ok");
    expect(there.value).toContain(
      "cuda:1 emulated device, capability 9.0, 4.0 GiB of 4.0 GiB free",
    );
    expect(there.value).toMatch(/; cuda:0 gradient within .*% of the CPU's, \d+ tokens\/s/);
    expect((await gpuLine(NO_DRIVER)).value).toBe("none is used: no NVIDIA driver is installed");
  },
  RUN_TIMEOUT_MS,
);
