/** Library-wide native calls: which CPU path is in force, and aligned memory. */
import { type Address, addressSlot, bind, cString, takeAddress } from "./ffi.ts";

const native = bind({
  mg_cpu_info: ["buffer", "u64"],
  mg_alloc: ["u64", "buffer"],
  mg_free: ["buffer"],
});

export interface CpuInfo {
  /** The SIMD path in force. */
  path: "scalar" | "avx2";
  features: string[];
  threads_online: number;
}

/** Throws UNSUPPORTED where MAGNET_CPU names a path that this CPU lacks. */
export function cpuInfo(): CpuInfo {
  const text = new Uint8Array(1024);
  native.mg_cpu_info(text, text.length);
  return JSON.parse(cString(text)) as CpuInfo;
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
