/**
 * Which tier a node joins as, and on which device it trains: what was asked for if this machine meets it,
 * else the reason. gpu_compute is given for a measurement: a GPU that computes a known training task as the
 * CPU does, never for a name or a claim.
 */
import { MagnetError, toMagnetError } from "../core/errors.ts";
import type { Tier } from "../core/tiers.ts";
import {
  type DeviceMeasurement,
  describeMeasurement,
  measureDevice,
} from "../model/device-measurement.ts";
import {
  type ChosenDevice,
  chooseDevice,
  type Device,
  type DeviceWish,
  ON_CPU,
} from "../native/device.ts";

export interface TierChoice {
  tier: Tier;
  why: string;
  /** Where it trains. */
  device: ChosenDevice;
  /** Null on the CPU. */
  measured: DeviceMeasurement | null;
}

/** What is asked of the machine. */
export interface Hardware {
  /** Throws NO_CUDA, NO_SUCH_GPU. */
  choose(wish: DeviceWish): ChosenDevice;
  measure(gpu: Device): Promise<DeviceMeasurement>;
}
export const HOST_HARDWARE: Hardware = { choose: chooseDevice, measure: measureDevice };

const FIRST_GPU: Device = { kind: "cuda", index: 0 };

const notMet = (tier: Tier, reason: string, hint: string) =>
  new MagnetError("TIER_NOT_MET", `this machine does not meet ${tier}: ${reason}`, {
    hint,
    exit: "hardware",
  });

const onCpu = (tier: Tier, why: string): TierChoice => ({
  ...{ tier, why },
  ...{ device: ON_CPU, measured: null },
});

/** The GPU of a wish with what was measured on it. Throws TIER_NOT_MET. */
async function measuredGpu(wish: DeviceWish, hardware: Hardware): Promise<TierChoice> {
  const tier = "gpu_compute";
  let device: ChosenDevice;
  try {
    const chosen = hardware.choose(wish);
    device = chosen.gpu ? chosen : hardware.choose(FIRST_GPU); // which says why there is none
  } catch (error) {
    const { message, hint } = toMagnetError(error);
    throw notMet(tier, message, hint ?? "magnet doctor shows what is missing");
  }
  const measured = await hardware.measure(device.device);
  const found = `${device.text}: ${describeMeasurement(measured)}`;
  if (measured.wrong !== null)
    throw notMet(
      tier,
      found,
      "update the driver, or join with --tier cpu; magnet doctor measures again",
    );
  return { tier, why: found, device, measured };
}

/** The GPU where it passes, else the CPU and why. */
async function bestTier(hardware: Hardware): Promise<TierChoice> {
  const works = "trains, serves and stores on this CPU";
  const { gpu, device, text } = hardware.choose("auto");
  if (!gpu) return onCpu("cpu_only", `${works}; ${text}`);
  const measured = await hardware.measure(device);
  const found = `${text}: ${describeMeasurement(measured)}`;
  if (measured.wrong !== null) return onCpu("cpu_only", `${works}; not on ${found}`);
  return { tier: "gpu_compute", why: found, device: { gpu, device, text }, measured };
}

/**
 * Throws TIER_NOT_MET (exit 7) for a tier or a GPU that was named and does not pass, BAD_DEVICE for a GPU
 * and a tier that do not go together.
 */
export async function chooseTier(
  wanted: Tier | "auto",
  wish: DeviceWish = "auto",
  hardware: Hardware = HOST_HARDWARE,
): Promise<TierChoice> {
  const named = wish === "auto" ? null : wish.kind;
  if (wanted === "claude_session")
    throw notMet(
      wanted,
      "nodes do not lend a teacher to the network",
      "join with --tier cpu, or auto; a research run has its own: teacher in its task file",
    );
  if (wanted === "gpu_compute") {
    if (named === "cpu")
      throw notMet(wanted, "--device cpu keeps it off the GPU", "leave --device out, or --tier");
    return measuredGpu(wish, hardware);
  }
  if (wanted === "auto") {
    if (named === "cuda") return measuredGpu(wish, hardware);
    return named === "cpu"
      ? onCpu("cpu_only", "trains on the CPU as asked for")
      : bestTier(hardware);
  }
  if (named === "cuda")
    throw new MagnetError("BAD_DEVICE", `a node of the tier ${wanted} does not train on a GPU`, {
      hint: "join with --tier gpu, or auto",
      exit: "usage",
    });
  return onCpu(wanted, "as asked for");
}
