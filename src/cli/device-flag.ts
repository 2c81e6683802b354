/** `--device` of the commands that run a model. */
import { type ChosenDevice, chooseInferenceDevice, parseDevice } from "../native/device.ts";
import type { Output } from "./frame/output.ts";

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
export function deviceOf(
  out: Output,
  flags: { device: string; engine?: string; rounding?: string },
): ChosenDevice {
  const { device, engine, rounding } = flags;
  const cpu_only =
    engine === "bitnet.cpp"
      ? "--engine bitnet.cpp"
      : rounding === "llamacpp"
        ? "--rounding llamacpp"
        : null;
  return chooseInferenceDevice(parseDevice(device), cpu_only, (line) => out.note(line));
}
