/** `magnet bench`: the documents are whole and consistent. Speeds themselves are not judged. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { type BenchResult, benchReportSchema } from "../../src/core/bench-report.ts";
import { errorDocument, MAIN, magnet, makeHome, oneDocument } from "./magnet.ts";

let home: string;
beforeAll(() => {
  home = makeHome();
});
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));
const once = ["--shape", "a", "--steps", "1", "--repeat", "1", "--threads", "2"];
const run = (...args: string[]) => magnet(MAIN, home, ["bench", ...args]);

describe("train", () => {
  test("rates, memory and limits of one run; an earlier run can be held against it", async () => {
    const outcome = await run("train", ...once, "--json");
    expect(outcome.stderr).not.toContain("ERR");
    expect(outcome.code).toBe(0);
    const report = benchReportSchema.parse(oneDocument(outcome));
    const named = new Map(report.results.map((result) => [result.name, result]));
    const speed = named.get("train_tokens_per_s")!;
    const gflops = named.get("train_gflops")!;
    // 6 * (6 * (2 * 256 * 256 + 2 * 64 * 256 + 3 * 704 * 256) + 4096 * 256) + 6 * 6 * 256 * 256.
    expect(report.flops_per_token).toBe(34_013_184);
    expect(gflops.value / speed.value).toBeCloseTo(0.034013184, 9);
    expect(gflops.ratio).toBeCloseTo(speed.ratio!, 9);
    expect(gflops.limit_name).toBe("fma peak");
    expect(gflops.ratio!).toBeGreaterThan(0);
    const memory = named.get("train_peak_mib")!;
    // The memory of a run is what was estimated, within the heap's and the pages' rounding.
    expect(memory.ratio! > 0.7 && memory.ratio! < 1.5).toBe(true);
    expect(report.losses).toHaveLength(2);
    const limits = report.machine.limits as Record<string, number>;
    expect(limits.threads).toBe(2);
    for (const name of ["fma_gflops", "integer_gops", "read_gbps", "memcpy_gbps"])
      expect(limits[name]!).toBeGreaterThan(0.1);

    const fast = structuredClone(report);
    for (const result of fast.results) if (result.unit === "tokens/s") result.value *= 1000;
    const file = path.join(home, "fast.json");
    fs.writeFileSync(file, JSON.stringify(fast));
    const slower = await run("train", ...once, "--compare", file, "--fail-slower", "50", "--json");
    expect(slower.code).toBe(1);
    expect(slower.stderr).toContain("train_tokens_per_s is 9");
    expect(oneDocument(slower).compared).toHaveLength(report.results.length);
  });

  test("mistakes are refused before anything is measured", async () => {
    const alone = await run("train", "--fail-slower", "5", "--json");
    expect(errorDocument(alone).code).toBe("MISSING_FLAG");
    const absent = await run("train", "--compare", path.join(home, "absent.json"), "--json");
    expect(errorDocument(absent).code).toBe("NOT_FOUND");
    expect((await run("train", "--shape", "c")).code).toBe(2);
  });
});

test("kernel: the shares are of one whole step, and each kernel has its limit", async () => {
  const report = benchReportSchema.parse(oneDocument(await run("kernel", ...once, "--json")));
  const results = report.results as (BenchResult & { share: number; ms_per_step: number })[];
  const sum = (f: (r: (typeof results)[number]) => number) =>
    results.reduce((total, result) => total + f(result), 0);
  expect(sum((r) => r.share)).toBeCloseTo(1, 6);
  expect(sum((r) => r.ms_per_step)).toBeCloseTo(report.step_ms as number, 6);
  const unknown = results.filter(({ limit }) => limit === null).map(({ name }) => name);
  expect(unknown).toEqual(["other"]);
  // What is between the kernels is bookkeeping.
  expect(results.find(({ name }) => name === "other")!.share).toBeLessThan(0.05);
  for (const kernel of ["attention_forward", "attention_backward", "optimizer", "gemm_dw/head"])
    expect(results.map(({ name }) => name)).toContain(kernel);
});

describe("infer", () => {
  test("every figure of a small model, with the limits that apply", async () => {
    const shape = ["--preset", "demo", "--prompt", "16", "--decode", "16", "--parallel", "3"];
    const once = ["--threads", "1", "--repeat", "1", "--all-heads", "--json"];
    const outcome = await run("infer", ...shape, ...once);
    expect(outcome.code).toBe(0);
    const report = benchReportSchema.parse(oneDocument(outcome));
    const named = new Map(report.results.map((result) => [result.name, result]));
    const names = ["prefill_tokens_per_s", "first_token_ms", "load_ms", "step_overhead_us"];
    for (const name of [...names, "parallel_tokens_per_s", "ffi_us_per_call"])
      expect(named.get(name)!.value).toBeGreaterThan(0);
    const decode = named.get("decode_tokens_per_s")!;
    const { read_gbps } = report.machine.limits as { read_gbps: number };
    expect(decode.limit).toBeCloseTo((read_gbps * 1e9) / (report.bytes_per_token as number), 6);
    const speedup = named.get("parallel_3_speedup")!;
    expect(speedup.value * decode.value).toBeCloseTo(named.get("parallel_tokens_per_s")!.value, 6);
    expect(named.get("resident_mib")!.limit_name).toBe("file");
    // Coarser weights move the answers more; none of them far.
    const [int8, int4] = [8, 4].map((bits) => named.get(`head_int${bits}_kl`)!.value);
    expect(int8!).toBeLessThan(int4!);
    expect(int4!).toBeLessThan(0.1);
    expect(named.get("rounding_llamacpp_top1")!.value).toBeGreaterThan(0.5);
    expect(named.get("decode_int8_tokens_per_s")!.value).toBeGreaterThan(0);
  });

  test("mistakes are refused", async () => {
    expect(errorDocument(await run("infer", "--json")).code).toBe("BAD_FLAGS");
    const long = await run("infer", "--preset", "demo", "--decode", "200", "--json");
    expect(errorDocument(long)).toMatchObject({ code: "BAD_FLAGS" });
    expect((await run("infer", "--preset", "none")).code).toBe(2);
  });
});

describe("product", () => {
  const shape = ["--preset", "demo", "--threads", "1", "--repeat", "2"];
  test("one token is bound by memory, many by the integer units", async () => {
    const outcome = await run("product", ...shape, "--tokens", "1,64", "--json");
    expect(outcome.code).toBe(0);
    const { results } = benchReportSchema.parse(oneDocument(outcome));
    const named = new Map(results.map((result) => [result.name, result]));
    expect(named.get("ternary_gate/1")!.limit_name).toBe("memory");
    expect(named.get("ternary_gate/64")!.limit_name).toBe("integer peak");
    expect([...named.keys()].filter((name) => name.startsWith("head_int8/"))).toHaveLength(2);
    for (const { value, n } of results) expect(value > 0 && n === 2).toBe(true);
  });

  test("numbers of tokens that make no sense are refused", async () => {
    const outcome = await run("product", ...shape, "--tokens", "1,x", "--json");
    expect(errorDocument(outcome).code).toBe("BAD_VALUE");
  });
});

test("chain: transfers a second, the start and the root, as one document", async () => {
  const outcome = await run("chain", "--batch", "20", "--repeat", "1", "--json");
  const report = benchReportSchema.parse(oneDocument(outcome));
  expect(report.results.map(({ name, unit }) => [name, unit])).toEqual([
    ["tx_per_s", "tx/s"],
    ["start_ms", "ms"],
    ["root_10k_s", "s"],
  ]);
  for (const { value } of report.results) expect(value).toBeGreaterThan(0);
});

test("research: the learners' CPU seconds and the workers' trials on a small table", async () => {
  const size = [
    "--rows",
    "400",
    "--columns",
    "6",
    "--trees",
    "5",
    "--repeat",
    "1",
    "--trials",
    "2",
  ];
  const report = benchReportSchema.parse(oneDocument(await run("research", ...size, "--json")));
  const names = report.results.map(({ name }) => name);
  const rates = ["trials_per_s_1_worker", "trials_per_s"];
  expect(names).toEqual(["boosting_cpu_s", "extra_trees_cpu_s", ...rates]);
  for (const { name, value, unit } of report.results) {
    expect(unit).toBe(rates.includes(name) ? "trials/s" : "s");
    expect(value).toBeGreaterThan(0);
  }
});

test("account: computed from sizes, without a GPU, and says so", async () => {
  const report = oneDocument(await run("account", "--shape", "a", "--batch", "8", "--json"));
  const parts = report.parts as { kernel: string; site: string; ms: number }[];
  const total = report.total as { ms: number; tokens_per_s: number };
  expect(parts.reduce((sum, { ms }) => sum + ms, 0)).toBeCloseTo(total.ms, 9);
  expect(total.tokens_per_s).toBeCloseTo((8 * 256 * 1000) / total.ms, 3);
  const { stdout } = await run("account", "--shape", "a", "--tflops", "100");
  expect(stdout).toContain("computed, not measured: products at 100 TFLOP/s");
});
