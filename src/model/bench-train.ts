/**
 * `magnet bench train`: tokens per second of whole training steps (forward, backward, clip, AdamW)
 * on one shape; on the CPU as a share of the machine's float32 peak measured just before.
 */
import { type BenchResult, benchResult, machineOf } from "../core/bench-report.ts";
import { peakResidentBytes, resetPeakResident, residentBytes } from "../core/process-memory.ts";
import { type ChosenDevice, CPU } from "../native/device.ts";
import { cpuInfo } from "../native/library.ts";
import { type MachineLimits, machineLimits } from "../native/machine.ts";
import {
  BENCH_ADAMW,
  BENCH_SEED,
  type BenchShape,
  benchTokens,
  FLOPS_FORMULA,
  flopsPerToken,
} from "./bench-shapes.ts";
import { paramCount } from "./config.ts";
import { requireTrainingFits } from "./gpu-memory.ts";
import { Trainer } from "./trainer.ts";
import { type HostParts, type MemoryParts, totalBytes } from "./trainer-memory.ts";

export interface BenchOptions {
  shape: BenchShape;
  threads: number;
  /** The CPU unless given. */
  device?: ChosenDevice;
  /** Steps of a repeat; one more (two on a GPU) is run before the first and not counted. */
  steps: number;
  repeat: number;
  /** Monotonic, in milliseconds. */
  now_ms: () => number;
  onStep?: (done: number, total: number) => void;
  /** The profile is by part, which costs a GPU time. */
  by_part?: boolean;
  /** After each repeat; the profile is that of its steps. */
  onRepeat?: (trainer: Trainer) => void;
}

/** Wall and processor time of one repeat. */
export interface Repeat {
  wall_ms: number;
  cpu_ms: number;
  /** The fastest step. */
  step_ms: number;
}

export interface TimedSteps {
  repeats: Repeat[];
  /** Loss of every step, the uncounted first included, before its update. */
  losses: number[];
  /** Growth of resident memory; null where the system does not say. */
  peak_bytes: number | null;
  /** Of the device's memory. */
  estimate_bytes: number;
  parts: { device: MemoryParts; host: HostParts };
}

/** Limits at 1 and at `threads` threads, and the machine itself. */
export async function benchMachine(threads: number) {
  const one = await machineLimits(1);
  const limits: MachineLimits = threads === 1 ? one : await machineLimits(threads);
  const { path, features } = cpuInfo();
  return { machine: { ...machineOf(), path, features, threads, limits_1: one, limits }, limits };
}

/** Runs the steps. Throws NOT_ENOUGH_MEMORY before anything is allocated. */
export async function timeSteps(options: BenchOptions): Promise<TimedSteps> {
  const { shape, threads, steps, repeat, now_ms, onStep, onRepeat } = options;
  const { model, batch, context } = shape;
  const trainer_options = { batch, context, threads, device: options.device?.device ?? CPU };
  const parts = Trainer.memoryParts(model, trainer_options);
  const gpu = options.device?.gpu ?? null;
  const { memory_bytes: estimate_bytes } = requireTrainingFits(model, trainer_options, { gpu });
  resetPeakResident();
  const before_bytes = residentBytes();
  const trainer = Trainer.create(model, trainer_options);
  try {
    await trainer.initialise(BENCH_SEED);
    const tokens = benchTokens(shape);
    const losses: number[] = [];
    const uncounted = gpu ? 2 : 1;
    const step = async () => {
      const adamw = { ...BENCH_ADAMW, step: losses.length + 1 };
      losses.push((await trainer.step(tokens, 1, adamw)).loss);
      onStep?.(losses.length, repeat * steps + uncounted);
    };
    // The first touches all memory and lets products be measured, the second captures graphs.
    for (let i = 0; i < uncounted; i++) await step();
    const repeats: Repeat[] = [];
    for (let r = 0; r < repeat; r++) {
      trainer.resetProfile({ by_part: options.by_part });
      repeats.push(await timeRepeat(step, steps, now_ms));
      onRepeat?.(trainer);
    }
    const peak = peakResidentBytes();
    const peak_bytes = peak === null || before_bytes === null ? null : peak - before_bytes;
    return { repeats, losses, peak_bytes, estimate_bytes, parts };
  } finally {
    trainer.close();
  }
}

async function timeRepeat(step: () => Promise<void>, steps: number, now_ms: () => number) {
  const cpu = process.cpuUsage();
  const start_ms = now_ms();
  let step_ms = Number.POSITIVE_INFINITY;
  for (let i = 0, last_ms = start_ms; i < steps; i++) {
    await step();
    const now = now_ms();
    step_ms = Math.min(step_ms, now - last_ms);
    last_ms = now;
  }
  const { user, system } = process.cpuUsage(cpu);
  return { wall_ms: now_ms() - start_ms, cpu_ms: (user + system) / 1000, step_ms };
}

/** The suite "train": its results, the machine and what the figures rest on. */
export async function benchTrain(options: BenchOptions) {
  const { shape, threads, steps, device } = options;
  const gpu = device?.gpu ?? null;
  const { machine, limits } = gpu
    ? { machine: { ...machineOf(), gpu }, limits: null }
    : await benchMachine(threads);
  const timed = await timeSteps(options);
  const tokens = shape.batch * shape.context;
  const flops = flopsPerToken(shape);
  const per_s = (ms: number) => (tokens * steps * 1000) / ms;
  const rates = timed.repeats.map(({ wall_ms }) => per_s(wall_ms));
  const peak = limits && { value: limits.fma_gflops, name: "fma peak" };
  const peak_tokens = peak && { ...peak, value: (peak.value * 1e9) / flops };
  const results: BenchResult[] = [
    benchResult("train_tokens_per_s", "tokens/s", rates, peak_tokens),
    benchResult(
      "train_gflops",
      "GFLOP/s",
      rates.map((rate) => (rate * flops) / 1e9),
      peak,
    ),
    benchResult(
      "train_tokens_per_cpu_s",
      "tokens/cpu-s",
      timed.repeats.map(({ cpu_ms }) => per_s(cpu_ms)),
    ),
    benchResult(
      "train_step_ms",
      "ms",
      timed.repeats.map(({ step_ms }) => step_ms),
    ),
  ];
  const estimate = { value: timed.estimate_bytes / 2 ** 20, name: "estimate" };
  if (gpu) {
    const whole = { value: gpu.memory_bytes / 2 ** 20, name: "the GPU's" };
    results.push(benchResult("train_gpu_mib", "MiB", [estimate.value], whole));
    for (const [part, bytes] of Object.entries(timed.parts.device))
      results.push(benchResult(`train_gpu_${part}_mib`, "MiB", [bytes / 2 ** 20], estimate));
    results.push(benchResult("train_host_mib", "MiB", [totalBytes(timed.parts.host) / 2 ** 20]));
  } else if (timed.peak_bytes !== null) {
    results.push(benchResult("train_peak_mib", "MiB", [timed.peak_bytes / 2 ** 20], estimate));
  }
  const { model, batch, context } = shape;
  return {
    suite: "train",
    machine,
    shape: { ...model, batch, context, params: paramCount(model) },
    flops_per_token: flops,
    flops_formula: FLOPS_FORMULA,
    losses: timed.losses,
    results,
  };
}
export type TrainReport = Awaited<ReturnType<typeof benchTrain>>;
