/**
 * `--device` of serve, chat, eval and bench infer: a GPU as the emulation of one runs it, and what is
 * said where a GPU cannot be used. MAGNET_EMULATION_DEVICES=0 there is a machine without a driver.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import type { ModelConfig } from "../../src/model/config.ts";
import { exportGguf } from "../../src/model/export-gguf.ts";
import { randomModelFile, syntheticTokenizer } from "../../src/model/random-model.ts";
import { randomParams } from "../model/small-models.ts";
import { BUILD_TIMEOUT_MS, build, emulatedFile } from "../native/emulated.ts";
import { errorDocument, MAIN, magnet, makeHome, oneDocument } from "./magnet.ts";

const home = makeHome();
const GPU = { MAGNET_CUDA_LIBRARY: emulatedFile };
const NO_DRIVER = { ...GPU, MAGNET_EMULATION_DEVICES: "0" };
/** Enough for the file, not for what a pass takes. */
const SMALL_GPU = { ...GPU, MAGNET_EMULATION_MEMORY: "1" };
/** As small as packed ternary weights in a file may be: the emulation takes its time. */
const CONFIG: ModelConfig = {
  variant: "bitnet",
  ...{ vocab_size: 300, d_model: 128, n_layers: 1, n_heads: 2, n_kv_heads: 1 },
  ...{ head_dim: 64, d_ff: 128, context: 64, rope_theta: 10_000, norm_eps: 1e-5 },
};
/** Of the last tokens of the vocabulary, which are the special ones. */
const NO_END = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [280 + i, -100]));
const RUN_TIMEOUT_MS = 300_000;
const run = (env: Record<string, string>, ...args: string[]) => magnet(MAIN, home, args, { env });

beforeAll(async () => {
  build("emulated");
  const types = { matrices: "I2_S", embedding: "F16" } as const;
  const file = await randomModelFile({ config: CONFIG, folder: home, ...types });
  fs.renameSync(file, path.join(home, "model.gguf"));
  const config: ModelConfig = { ...CONFIG, quant: "none" };
  await exportGguf({
    ...{ config, params: await randomParams(config), type: "F16", name: "dense" },
    ...{ tokenizer: syntheticTokenizer(config.vocab_size), path: path.join(home, "dense.gguf") },
  });
  fs.writeFileSync(path.join(home, "config.json"), JSON.stringify(CONFIG));
}, BUILD_TIMEOUT_MS);
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));

let server: Bun.Subprocess<"ignore", "pipe", "pipe"> | undefined;
afterEach(async () => {
  server?.kill("SIGKILL");
  await server?.exited;
});

/** Starts a server; its document. */
async function serve(env: Record<string, string>, ...args: string[]) {
  server = Bun.spawn([...MAIN.command, "serve", "model.gguf", "--port", "0", "--json", ...args], {
    cwd: home,
    env: { PATH: "/usr/bin:/bin", HOME: home, ...env },
    ...({ stdin: "ignore", stdout: "pipe", stderr: "pipe" } as const),
  });
  let shown = "";
  for await (const bytes of server.stdout) {
    shown += new TextDecoder().decode(bytes);
    if (shown.endsWith("}\n")) return JSON.parse(shown) as { url: string; device: string };
  }
  throw new Error(`not ready: ${shown} ${await new Response(server.stderr).text()}`);
}

interface Completion {
  choices: { text: string; finish_reason: string }[];
  system_fingerprint: string;
}
async function complete(url: string, prompt: string, seed: number): Promise<Completion> {
  const body = { model: "model", prompt, max_tokens: 6, temperature: 1, seed };
  const response = await fetch(`${url}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  expect(response.status).toBe(200);
  return (await response.json()) as Completion;
}

describe("on a GPU", () => {
  test(
    "a server: requests at once get what each gets by itself; listings say where the model is",
    async () => {
      const { url, device } = await serve(GPU, "--device", "cuda");
      expect(device).toBe("cuda:0 (emulated device)");
      const prompts = ["ab", "the second of them", "c"];
      const ask = (prompt: string, i: number) => complete(url, prompt, i);
      const textsOf = (all: Completion[]) => all.map(({ choices }) => choices[0]!.text);
      const crowd = await Promise.all(prompts.map(ask));
      const alone: Completion[] = [];
      for (const [i, prompt] of prompts.entries()) alone.push(await ask(prompt, i));
      expect(textsOf(crowd)).toEqual(textsOf(alone));
      const { models } = (await (await fetch(`${url}/api/ps`)).json()) as {
        models: { size: number; size_vram: number }[];
      };
      expect(models[0]!.size_vram).toBe(models[0]!.size);
      const constrained = await fetch(`${url}/v1/chat/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({
          ...{ model: "model", max_tokens: 12, seed: 1 },
          messages: [{ role: "user", content: "?" }],
          response_format: {
            type: "json_schema",
            json_schema: { name: "one", schema: { enum: [true, 12] } },
          },
        }),
      });
      const { choices } = (await constrained.json()) as {
        choices: { message: { content: string } }[];
      };
      expect([true, 12]).toContain(JSON.parse(choices[0]!.message.content));
    },
    RUN_TIMEOUT_MS,
  );

  test(
    "a pool that holds one context, callers that hang up, prompts that are too long: others get their bits",
    async () => {
      const { url } = await serve(GPU, "--device", "cuda", "--kv-memory", "20KiB");
      const ask = (body: object, signal?: AbortSignal) =>
        fetch(`${url}/v1/completions`, {
          ...{ method: "POST", headers: { "content-type": "application/json" } },
          body: JSON.stringify({ model: "model", ...body }),
          ...(signal === undefined ? {} : { signal }),
        });
      const samplings = [
        { temperature: 1, logprobs: 3 },
        { temperature: 0.7, top_p: 0.8 },
        { temperature: 0 },
        { temperature: 1.5, frequency_penalty: 1, presence_penalty: 0.5 },
        { temperature: 1, logit_bias: { 7: 4, 9: -100 }, logprobs: 2 },
      ];
      const bodies = samplings.map((sampling, i) => ({
        ...{ ...sampling, prompt: "word ".repeat(1 + 3 * i), max_tokens: 12, seed: i },
      }));
      const answer = async (body: object) => {
        const response = await ask(body);
        expect(response.status).toBe(200);
        return ((await response.json()) as { choices: unknown[] }).choices;
      };
      const hangUp = async (prompt: string) => {
        const control = new AbortController();
        const response = await ask({ prompt, max_tokens: 40, stream: true }, control.signal);
        await response.body!.getReader().read();
        control.abort();
      };
      const gone = ["x", "yy yy", "z".repeat(20)].map(hangUp);
      const crowd = await Promise.all(bodies.map(answer));
      await Promise.all(gone);
      const alone: unknown[][] = [];
      for (const body of bodies) alone.push(await answer(body));
      expect(crowd).toEqual(alone);
      expect((await ask({ prompt: "a b ".repeat(200), max_tokens: 1 })).status).toBe(400);
      // To the last position of the context.
      const full = await ask({ prompt: Array(60).fill(65), seed: 1, logit_bias: NO_END });
      expect(((await full.json()) as Completion).choices[0]!.finish_reason).toBe("length");
      expect(crowd).toEqual(await Promise.all(bodies.map(answer)));
    },
    RUN_TIMEOUT_MS,
  );

  test(
    "chat takes it by itself; eval logits are the CPU's but for rounding",
    async () => {
      const prompt = ["--complete", "--prompt", "ab", "--max-tokens", "3", "--json"];
      const chat = await run(GPU, "chat", "model.gguf", ...prompt);
      expect([chat.code, chat.stderr]).toEqual([0, chat.stderr]);
      const logits = async (device: string) => {
        const args = ["model.gguf", "--tokens", "5,6,7,200", "--device", device, "--json"];
        const outcome = await run(GPU, "eval", "logits", ...args);
        return (oneDocument(outcome).logits as number[][]).flat();
      };
      const [a, b] = [await logits("cpu"), await logits("cuda")];
      const off = Math.hypot(...a.map((x, i) => x - b[i]!)) / Math.hypot(...a);
      expect(off).toBeGreaterThan(0);
      expect(off).toBeLessThan(5e-2);
    },
    RUN_TIMEOUT_MS,
  );

  test(
    "bench infer: batches of several sizes beside what the GPU reads",
    async () => {
      const size = ["--prompt", "4", "--decode", "3", "--parallel", "2", "--repeat", "1"];
      const args = ["--preset", "config.json", ...size, "--device", "cuda", "--json"];
      const report = oneDocument(await run(GPU, "bench", "infer", ...args));
      const results = report.results as { name: string; limit: number | null; value: number }[];
      const named = new Map(results.map((result) => [result.name, result]));
      expect(report.device).toBe("cuda:0 (emulated device)");
      const { read_gbps } = (report.machine as { gpu: { read_gbps: number } }).gpu;
      const limit = (read_gbps * 1e9) / (report.bytes_per_token as number);
      expect(named.get("decode_tokens_per_s")!.limit).toBeCloseTo(limit, 6);
      for (const name of ["prefill_tokens_per_s", "parallel_tokens_per_s", "gpu_mib"])
        expect(named.has(name)).toBe(true);
    },
    RUN_TIMEOUT_MS,
  );
});

const TIMES = ["first_token_ms", "tokens_per_s"];
describe("a GPU that cannot", () => {
  const commands: [string, string[]][] = [
    ["chat", ["chat", "MODEL", "--complete", "--prompt", "ab", "--max-tokens", "2"]],
    ["eval logits", ["eval", "logits", "MODEL", "--tokens", "5,6"]],
  ];
  const on = (model: string, args: string[]) => [
    ...args.map((arg) => (arg === "MODEL" ? model : arg)),
    "--json",
  ];
  const expectBoth = async (
    env: Record<string, string>,
    { args, code, why }: { args: string[]; code: string; why: RegExp },
  ) => {
    const outcome = await run(env, ...args);
    expect([outcome.code, outcome.stderr]).toEqual([0, expect.stringMatching(why)]);
    expect(outcome.stderr).toMatch(/^on the CPU, not on cuda:0 \(emulated device\): /m);
    const on_cpu = await run(GPU, ...args, "--device", "cpu");
    const answers = [outcome, on_cpu].map(({ stdout }) => JSON.parse(stdout));
    for (const answer of answers) for (const time of TIMES) delete answer[time];
    expect(answers[0]).toEqual(answers[1]);
    const refused = await run(env, ...args, "--device", "cuda");
    const error = errorDocument(refused);
    expect([refused.code, error.code]).toEqual([7, code]);
    expect(error.message).toMatch(why);
    expect(error.hint).toContain("--device cpu");
  };

  test.each(commands)(
    "%s: auto goes on on the CPU and says why, cuda is an error",
    async (_name, args) => {
      const why = /no room for \d+ bytes of device memory/;
      await expectBoth(SMALL_GPU, { args: on("model.gguf", args), code: "OUT_OF_MEMORY", why });
      const not_ternary = { args: on("dense.gguf", args), code: "UNSUPPORTED", why: /ternary/ };
      await expectBoth(GPU, not_ternary);
    },
    RUN_TIMEOUT_MS,
  );

  test(
    "a server starts on the CPU, says so, and answers",
    async () => {
      const { url, device } = await serve(SMALL_GPU);
      expect(device).toMatch(/^CPU \(no room for \d+ bytes of device memory\)$/);
      expect((await complete(url, "ab", 1)).choices).toHaveLength(1);
      server!.kill("SIGTERM");
      expect(await server!.exited).toBe(0);
      const said = await new Response(server!.stderr).text();
      expect(said).toMatch(/^model: on the CPU, not on cuda:0 \(emulated device\): no room/m);
      const refused = await run(
        SMALL_GPU,
        "serve",
        "model.gguf",
        "--port",
        "0",
        "--device",
        "cuda",
      );
      expect(refused.code).toBe(7);
    },
    RUN_TIMEOUT_MS,
  );
});

describe("refused", () => {
  const refusal = async (env: Record<string, string>, ...args: string[]) => {
    const outcome = await run(env, ...args, "--json");
    const { code, message, hint } = errorDocument(outcome);
    return { exit: outcome.code, code, message, hint };
  };

  test.each([
    ["serve", ["serve", "model.gguf", "--port", "0"]],
    ["chat", ["chat", "model.gguf", "--prompt", "a"]],
    ["eval logits", ["eval", "logits", "model.gguf", "--tokens", "1"]],
    ["bench infer", ["bench", "infer", "--model", "model.gguf"]],
  ])("%s without a driver", async (_name, args) => {
    const { exit, code, hint } = await refusal(NO_DRIVER, ...args, "--device", "cuda");
    expect([exit, code]).toEqual([7, "NO_CUDA"]);
    expect(hint).toContain("--device cpu");
  });

  test.each([
    [["--rounding", "llamacpp"], "--rounding llamacpp"],
    [["--engine", "bitnet.cpp"], "--engine bitnet.cpp"],
  ])("what only the CPU computes: %p", async (flags, what) => {
    const on = ["chat", "model.gguf", "--prompt", "a", "--device", "cuda:0"];
    const { exit, code, message, hint } = await refusal(GPU, ...on, ...flags);
    expect([exit, code]).toEqual([7, "CPU_ONLY"]);
    expect(message).toBe(`${what} runs on the CPU alone, not on a GPU`);
    expect(hint).toContain("--device cpu");
  });

  test("auto is the CPU where there is no driver, or where only the CPU can", async () => {
    const { device } = await serve(NO_DRIVER);
    expect(device).toBe("CPU (no NVIDIA driver is installed)");
    const args = ["dense.gguf", "--tokens", "1", "--rounding", "llamacpp", "--json"];
    const outcome = await run(GPU, "eval", "logits", ...args);
    expect(outcome.code).toBe(0);
    expect(outcome.stderr).toContain(
      "on the CPU, not on cuda:0 (emulated device): --rounding llamacpp runs on the CPU alone",
    );
  });
});
