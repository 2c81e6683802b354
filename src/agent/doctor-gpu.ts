/**
 * The doctor's look at GPUs. A machine without one is sound: what is missing is said, and only where a
 * GPU is there and magnet cannot use it something is to be done.
 */
import fs from "node:fs";
import { formatBytes } from "../core/bytes.ts";
import { type Check, fail, ok, warn } from "./doctor-check.ts";

/** What the kernel knows of NVIDIA's GPUs, with or without their driver. */
function hasNvidiaCard(): boolean {
  const folder = "/sys/bus/pci/devices";
  if (!fs.existsSync(folder)) return false;
  const read = (device: string, name: string) =>
    fs.readFileSync(`${folder}/${device}/${name}`, "utf8").trim();
  try {
    return fs
      .readdirSync(folder)
      .some((d) => read(d, "vendor") === "0x10de" && /^0x03/.test(read(d, "class")));
  } catch {
    return false; // a device that went away meanwhile, or a system that does not show them
  }
}

/** Imported here and not above: where the library does not load, the doctor still runs. */
export async function checkGpu(): Promise<Check> {
  const { gpuInfo } = await import("../native/cuda.ts");
  const { gpus, unusable, why_none, hint, driver, runtime } = gpuInfo();
  if (gpus.length === 0) {
    const value = `none is used: ${why_none}`;
    const lost = driver !== null || unusable.length > 0 || hasNvidiaCard();
    return lost ? warn("gpu", value, hint ?? "training stays on the CPU") : ok("gpu", value);
  }
  const shown = gpus.map(({ index, name, capability, memory_bytes, free_bytes }) => {
    const memory = `${formatBytes(free_bytes)} of ${formatBytes(memory_bytes)} free`;
    return `cuda:${index} ${name}, capability ${capability}, ${memory}`;
  });
  // As at `magnet join`, and of the GPU that --device auto takes.
  const { describeMeasurement, measureDevice } = await import("../model/device-measurement.ts");
  const measured = await measureDevice({ kind: "cuda", index: gpus[0]!.index });
  const versions = `driver for CUDA ${driver ?? "unknown"}, built with ${runtime ?? "unknown"}`;
  const found = `cuda:${gpus[0]!.index} ${describeMeasurement(measured)}`;
  const value = `${shown.join("; ")} (${versions}); ${found}`;
  if (measured.wrong !== null)
    return fail("gpu", value, "update the driver; until then train with --device cpu");
  const [first] = unusable;
  if (!first) return ok("gpu", value);
  return warn("gpu", `${value}; not used: ${first.name || `GPU ${first.index}`}`, first.why);
}
