/**
 * Where a model is trained or runs: on the CPU or on a GPU. `--device auto|cpu|cuda|cuda:N` and what it
 * comes to on this machine.
 */
import { formatBytes } from "../core/bytes.ts";
import { MagnetError } from "../core/errors.ts";
import { type Gpu, gpuInfo, noCuda } from "./cuda.ts";

export type { Gpu };

export type Device = { kind: "cpu" } | { kind: "cuda"; index: number };
/** `auto`: the first GPU where one answers, else the CPU. */
export type DeviceWish = Device | "auto";

export const CPU: Device = { kind: "cpu" };

/** Throws BAD_DEVICE. */
export function parseDevice(text: string): DeviceWish {
  if (text === "auto") return "auto";
  if (text === "cpu") return CPU;
  const [, index] = /^cuda(?::(\d{1,4}))?$/.exec(text) ?? [undefined, null];
  if (index !== null) return { kind: "cuda", index: Number(index ?? 0) };
  throw new MagnetError("BAD_DEVICE", `--device ${text}: it is auto, cpu, cuda or cuda:N`, {
    hint: "cuda is the first GPU, cuda:1 the second; magnet doctor shows them",
    exit: "usage",
  });
}

export interface ChosenDevice {
  device: Device;
  /** For people: "cuda:0 (NVIDIA H200)", "CPU (no NVIDIA driver is installed)". */
  text: string;
  /** Null on the CPU. */
  gpu: Gpu | null;
  /** `auto` chose the GPU. */
  by_itself?: true;
}

export const ON_CPU: ChosenDevice = { device: CPU, text: "CPU", gpu: null };

const chosenGpu = (gpu: Gpu): ChosenDevice => ({
  device: { kind: "cuda", index: gpu.index },
  text: `cuda:${gpu.index} (${gpu.name})`,
  gpu,
});

/** Throws NO_CUDA, NO_SUCH_GPU. */
export function chooseDevice(wish: DeviceWish): ChosenDevice {
  if (wish !== "auto" && wish.kind === "cpu") return ON_CPU;
  const { gpus, why_none, hint, unusable } = gpuInfo();
  if (wish === "auto") {
    const [first] = gpus;
    return first
      ? { ...chosenGpu(first), by_itself: true }
      : { device: CPU, text: `CPU (${why_none})`, gpu: null };
  }
  const gpu = gpus.find(({ index }) => index === wish.index);
  if (gpu) return chosenGpu(gpu);
  const other = unusable.find(({ index }) => index === wish.index);
  if (gpus.length === 0 || other) throw noCuda(other?.why ?? why_none ?? "there is none", hint);
  const names = gpus.map(({ index, name }) => `cuda:${index} ${name}`).join(", ");
  throw new MagnetError("NO_SUCH_GPU", `there is no GPU ${wish.index} here: ${names}`, {
    hint: "name one of these, or take --device auto",
    exit: "hardware",
  });
}

/**
 * The device of a model that runs. `cpu_only`: what was asked for that no GPU does, in words ("--rounding
 * llamacpp"); with it `auto` is the CPU, which `say` hears of where there is a GPU. Throws CPU_ONLY where
 * a GPU was named, and what chooseDevice does.
 */
export function chooseInferenceDevice(
  wish: DeviceWish,
  cpu_only: string | null,
  say: (line: string) => void,
): ChosenDevice {
  if (cpu_only === null) return chooseDevice(wish);
  if (wish === "auto") {
    const { gpu, text } = chooseDevice(wish);
    if (gpu) say(`on the CPU, not on ${text}: ${cpu_only} runs on the CPU alone`);
    return { ...ON_CPU, text: `CPU (${cpu_only})` };
  }
  if (wish.kind === "cpu") return ON_CPU;
  throw new MagnetError("CPU_ONLY", `${cpu_only} runs on the CPU alone, not on a GPU`, {
    hint: `take --device cpu, or leave ${cpu_only} out`,
    exit: "hardware",
  });
}

/**
 * What one GPU does not do or has no room for, and the CPU may. As a class, so that nothing else that went
 * wrong is taken for it.
 */
export class GpuRefusal extends MagnetError {
  constructor(code: string, message: string, options: { hint: string; cause?: unknown }) {
    super(code, message, { ...options, exit: "hardware" });
  }
}

/** For what a GPU's library throws: a GpuRefusal where the CPU would do, else the error. */
export function asRefusal(error: unknown, { kind }: Device): unknown {
  if (kind === "cpu" || !(error instanceof MagnetError)) return error;
  const { code, message } = error;
  if (code !== "UNSUPPORTED" && code !== "OUT_OF_MEMORY") return error;
  return new GpuRefusal(code, message, { hint: "take --device cpu", cause: error });
}

/**
 * `use` on a chosen device; where `auto` chose a GPU that refuses, on the CPU, of which `say` tells why.
 */
export async function onDevice<T>(
  chosen: ChosenDevice,
  say: (line: string) => void,
  use: (device: ChosenDevice) => Promise<T>,
): Promise<T> {
  try {
    return await use(chosen);
  } catch (error) {
    if (!chosen.by_itself || !(error instanceof GpuRefusal)) throw error;
    say(`on the CPU, not on ${chosen.text}: ${error.message}`);
    return use({ ...ON_CPU, text: `CPU (${error.message})` });
  }
}

/** Of a GPU's memory at this moment; null on the CPU. Throws NO_CUDA, NO_SUCH_GPU. */
export const gpuOf = (device: Device): Gpu | null => chooseDevice(device).gpu;

interface GpuNeed {
  /** What needs it: "training needs". */
  what: string;
  hint: string;
}
const TRAINING: GpuNeed = {
  what: "training needs",
  hint: "choose a smaller --batch (--accumulate makes up for it), --context or --model, --recompute, or --device cpu",
};

/** Throws NOT_ENOUGH_MEMORY where a GPU has less than that free. */
export function requireGpuMemory(needed_bytes: number, gpu: Gpu, need: GpuNeed = TRAINING): void {
  if (needed_bytes <= gpu.free_bytes) return;
  const [needed, free, all] = [needed_bytes, gpu.free_bytes, gpu.memory_bytes].map(formatBytes);
  throw new GpuRefusal(
    "NOT_ENOUGH_MEMORY",
    `${need.what} ${needed} on the GPU, ${free} of ${all} are free on cuda:${gpu.index} (${gpu.name})`,
    { hint: need.hint },
  );
}
