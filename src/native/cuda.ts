/**
 * The library of GPUs (cpp/cuda): embedded where the build had nvcc, and loaded only when somebody asks
 * for a GPU and an NVIDIA driver is there. MAGNET_CUDA_LIBRARY names another file in its place, which is
 * then not asked for a driver (tests: the emulation).
 */
import { dlopen, FFIType } from "bun:ffi";
import fs from "node:fs";
import embeddedLibrary from "../../build/libmagnet_cuda.so" with { type: "file" };
import { MagnetError } from "../core/errors.ts";
import { bind, cString } from "./ffi.ts";
import { loadable } from "./loader.ts";

export interface Gpu {
  index: number;
  name: string;
  /** Compute capability: "9.0". */
  capability: string;
  multiprocessors: number;
  memory_bytes: number;
  free_bytes: number;
}

export interface GpuInfo {
  /** Those that magnet can use. */
  gpus: Gpu[];
  /** Why there is none, or null. */
  why_none: string | null;
  /** What would help. */
  hint: string | null;
  /** Of CUDA: the latest that the driver takes, and what the library was built with; null = unknown. */
  driver: string | null;
  runtime: string | null;
  /** GPUs that are there and cannot be used, with the reason. */
  unusable: { index: number; name: string; why: string }[];
}

interface Absence {
  why: string;
  hint: string;
}
/** Tensor cores with bfloat16, and cp.async. */
const CAPABILITY_MIN = 8;
const DRIVER_HINT =
  "install the NVIDIA driver (Debian and Ubuntu: apt-get install nvidia-driver; containers: --gpus all)";
const NEW_DRIVER_HINT = "update the NVIDIA driver: CUDA 13 needs version 580 or newer";

/** Whether the driver's library is on this machine; asking does not start it. */
function hasDriver(): boolean {
  try {
    dlopen("libcuda.so.1", { cuDriverGetVersion: { args: [FFIType.ptr], returns: FFIType.i32 } });
    return true;
  } catch {
    return false; // it is not there, or another architecture's
  }
}

/** The file of MAGNET_CUDA_LIBRARY. */
function named(file: string): { file: string } | Absence {
  try {
    dlopen(file, { mg_gpu_info: { args: [FFIType.ptr, FFIType.u64], returns: FFIType.i32 } });
    return { file };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { why: `MAGNET_CUDA_LIBRARY is ${file}, which does not load: ${why}`, hint: "unset it" };
  }
}

function open(): { file: string } | Absence {
  const given = process.env.MAGNET_CUDA_LIBRARY;
  if (given) return named(given);
  if (!hasDriver()) return { why: "no NVIDIA driver is installed", hint: DRIVER_HINT };
  const bytes = fs.readFileSync(embeddedLibrary);
  if (bytes.length === 0)
    return {
      why: "this build of magnet has no CUDA",
      hint: "install the CUDA toolkit (nvcc 12.8 or newer) and build again: npm run build",
    };
  return { file: loadable(bytes, "mg_abi_version") };
}

let opened: ReturnType<typeof open> | undefined;
/** Once a process. */
const theLibrary = () => {
  opened ??= open();
  return opened;
};

export const noCuda = (why: string, hint: string | null) =>
  new MagnetError("NO_CUDA", `no GPU can be used: ${why}`, {
    hint: `${hint ?? "see magnet doctor"}; or take --device cpu`,
    exit: "hardware",
  });

/** The library's file, for `bind`. Throws NO_CUDA. */
export function cudaLibrary(): string {
  const library = theLibrary();
  if ("file" in library) return library.file;
  throw noCuda(library.why, library.hint);
}

const declarations = { mg_gpu_info: ["buffer", "u64"] } as const;
const INFO_BYTES = 65_536;
let asked: ReturnType<typeof bind<typeof declarations>> | undefined;

/** 13000 as "13.0". */
const versionOf = (n: number) =>
  n === 0 ? null : `${Math.floor(n / 1000)}.${Math.floor((n % 1000) / 10)}`;

/** What GPUs there are. Starts each of them, which takes a moment. */
export function gpuInfo(): GpuInfo {
  const none = { gpus: [], unusable: [], driver: null, runtime: null };
  const library = theLibrary();
  if (!("file" in library)) return { ...none, why_none: library.why, hint: library.hint };
  asked ??= bind(declarations, library.file);
  const text = new Uint8Array(INFO_BYTES);
  asked.mg_gpu_info(text, text.length);
  const info = JSON.parse(cString(text)) as {
    driver_version: number;
    runtime_version: number;
    why_none: string;
    devices: (Omit<Gpu, "index"> & { error: string })[];
  };
  const all = info.devices.map(({ error, ...device }, index) => {
    const old = Number.parseInt(device.capability, 10) < CAPABILITY_MIN;
    const too_old = `compute capability ${device.capability}, ${CAPABILITY_MIN}.0 is needed`;
    return { gpu: { index, ...device }, why: error || (old ? too_old : "") };
  });
  const gpus = all.filter(({ why }) => why === "").map(({ gpu }) => gpu);
  const unusable = all
    .filter(({ why }) => why !== "")
    .map(({ gpu: { index, name }, why }) => ({ index, name, why }));
  const first = unusable[0];
  const why = info.why_none || (first ? `GPU ${first.index}: ${first.why}` : "");
  return {
    gpus,
    unusable,
    driver: versionOf(info.driver_version),
    runtime: versionOf(info.runtime_version),
    why_none: gpus.length > 0 ? null : why,
    hint: gpus.length > 0 ? null : /older/.test(why) ? NEW_DRIVER_HINT : DRIVER_HINT,
  };
}
