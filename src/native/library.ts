/** Library-wide native calls: which CPU path is in force, and aligned memory. */
import { type Address, addressSlot, bind, cString, takeAddress } from "./ffi.ts";

const native = bind({
  mg_cpu_info: ["buffer", "u64"],
  mg_known_answer: ["buffer", "buffer"],
  mg_alloc: ["u64", "buffer"],
  mg_free: ["buffer"],
});

/** SIMD paths, worst first. */
export const CPU_PATHS = ["scalar", "neon", "avx2", "avx512"] as const;
export type CpuPath = (typeof CPU_PATHS)[number];

export interface CpuInfo {
  /** The SIMD path in force. */
  path: CpuPath;
  /** The SIMD paths that this CPU has, best first, scalar last. */
  paths: CpuPath[];
  /** Paths that this CPU has but that computed a wrong known answer. */
  refused: string[];
  features: string[];
  threads_online: number;
}

/** Throws UNSUPPORTED where MAGNET_CPU names a path that this CPU lacks or that is refused. */
export function cpuInfo(): CpuInfo {
  const text = new Uint8Array(1024);
  native.mg_cpu_info(text, text.length);
  return JSON.parse(cString(text)) as CpuInfo;
}

/** Digest of a few training steps on the path in force, and the one that every honest node gets. */
export function knownAnswer(): { digest: string; expected: string } {
  const [digest, expected] = [new BigUint64Array(1), new BigUint64Array(1)];
  native.mg_known_answer(digest, expected);
  const hex = (n: BigUint64Array) => n[0]!.toString(16).padStart(16, "0");
  return { digest: hex(digest), expected: hex(expected) };
}

/** 64-byte aligned, zeroed native memory; free it with `freeNative`. */
export function allocNative(bytes: number): Address {
  const slot = addressSlot();
  native.mg_alloc(bytes, slot);
  return takeAddress(slot);
}

export function freeNative(address: Address): void {
  native.mg_free(address);
}
