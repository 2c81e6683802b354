/** `--device` of the commands that run a model. */
import { type ChosenDevice, chooseInferenceDevice, parseDevice } from "../native/device.ts";

export const DEVICE_FLAG = {
  type: "string",
  value: "auto|cpu|cuda[:N]",
  default: "auto",
  summary: "auto: a GPU where one answers",
} as const;

/** Of benchmarks, which measure what they are told to. */
export const MEASURED_DEVICE_FLAG = {
  ...DEVICE_FLAG,
  default: "cpu",
  summary: "what is measured",
} as const;

/** The device of a model that is opened with these flags. Throws CPU_ONLY, NO_CUDA, NO_SUCH_GPU. */
export function deviceOf(flags: {
  device: string;
  engine?: string;
  rounding?: string;
  head?: string;
}): ChosenDevice {
  const { device, engine, rounding, head } = flags;
  const wish = parseDevice(device);
  if (engine === "bitnet.cpp") return chooseInferenceDevice(wish, "--engine bitnet.cpp");
  if (rounding === "llamacpp") return chooseInferenceDevice(wish, "--rounding llamacpp");
  if (head === "int4") return chooseInferenceDevice(wish, "--head int4");
  return chooseInferenceDevice(wish, null);
}
