/**
 * Which tier a machine is given: by hardware that is handed in, so that every answer of a GPU can be tried,
 * wrong ones too.
 */
import { describe, expect, test } from "bun:test";
import { chooseTier, type Hardware } from "../../src/agent/tier.ts";
import { MagnetError } from "../../src/core/errors.ts";
import type { DeviceMeasurement } from "../../src/model/device-measurement.ts";
import { type ChosenDevice, ON_CPU, parseDevice } from "../../src/native/device.ts";

const gpu = (index: number): ChosenDevice => ({
  device: { kind: "cuda", index },
  text: `cuda:${index} (a card)`,
  gpu: {
    ...{ index, name: "a card", capability: "9.0", multiprocessors: 132 },
    ...{ memory_bytes: 2 ** 36, free_bytes: 2 ** 36 },
  },
});
const MEASURED: DeviceMeasurement = {
  ...{ wrong: null, gradient_error: 0.004, loss_error: 1e-4, update_error: 0.01 },
  ...{ params: 2e6, tokens_per_s: 5e5, cpu_tokens_per_s: 5e3 },
};

/** A machine with so many GPUs, whose measurement finds `wrong`. */
function machine(gpus: number, wrong: string | null = null) {
  const measured: number[] = [];
  const hardware: Hardware = {
    choose(wish) {
      if (wish === "auto")
        return gpus > 0 ? gpu(0) : { ...ON_CPU, text: "CPU (no NVIDIA driver is installed)" };
      if (wish.kind === "cpu") return ON_CPU;
      if (wish.index < gpus) return gpu(wish.index);
      throw new MagnetError("NO_CUDA", "no GPU can be used: no NVIDIA driver is installed", {
        hint: "install it",
        exit: "hardware",
      });
    },
    async measure(device) {
      measured.push(device.kind === "cuda" ? device.index : -1);
      return { ...MEASURED, wrong };
    },
  };
  return { hardware, measured };
}

const refusal = async (choice: Promise<unknown>): Promise<MagnetError> => {
  const error = await choice.then(
    () => undefined,
    (e: unknown) => e,
  );
  if (!(error instanceof MagnetError)) throw new Error("it was not refused");
  return error;
};

describe("a machine with a GPU", () => {
  test("auto and gpu are gpu_compute on it, with what was measured", async () => {
    for (const wanted of ["auto", "gpu_compute"] as const) {
      const { hardware, measured } = machine(1);
      const choice = await chooseTier(wanted, "auto", hardware);
      expect([choice.tier, choice.device.text]).toEqual(["gpu_compute", "cuda:0 (a card)"]);
      expect(choice.why).toContain("gradient within 0.40% of the CPU's");
      expect(choice.why).toContain("500000 tokens/s with 2000000 parameters (100 times this CPU)");
      expect(measured).toEqual([0]);
    }
  });

  test("the GPU that was named is the one that is measured", async () => {
    const { hardware, measured } = machine(2);
    const choice = await chooseTier("auto", parseDevice("cuda:1"), hardware);
    expect([choice.tier, choice.device.text, measured]).toEqual([
      "gpu_compute",
      "cuda:1 (a card)",
      [1],
    ]);
  });

  test("other tiers stay on the CPU, and nothing is measured", async () => {
    const { hardware, measured } = machine(1);
    for (const wanted of ["cpu_only", "storage_node", "mobile_light"] as const) {
      const { tier, device } = await chooseTier(wanted, "auto", hardware);
      expect([tier, device]).toEqual([wanted, ON_CPU]);
    }
    const { tier, device } = await chooseTier("auto", parseDevice("cpu"), hardware);
    expect([tier, device, measured]).toEqual(["cpu_only", ON_CPU, []]);
  });

  test("wrong results: gpu is refused with them, auto takes the CPU and says why", async () => {
    const { hardware } = machine(1, "the loss is 3.0% off the CPU's, 0.50% is allowed");
    for (const refused of [
      chooseTier("gpu_compute", "auto", hardware),
      chooseTier("auto", parseDevice("cuda"), hardware),
    ]) {
      const { code, exit, message } = await refusal(refused);
      expect([code, exit]).toEqual(["TIER_NOT_MET", "hardware"]);
      expect(message).toContain("cuda:0 (a card): the loss is 3.0% off");
    }
    const choice = await chooseTier("auto", "auto", hardware);
    expect([choice.tier, choice.device]).toEqual(["cpu_only", ON_CPU]);
    expect(choice.why).toContain("not on cuda:0 (a card): the loss is 3.0% off");
  });

  test("a GPU and a tier that does not train on one, or a CPU and one that does", async () => {
    const { hardware } = machine(1);
    const cuda = parseDevice("cuda");
    expect((await refusal(chooseTier("storage_node", cuda, hardware))).code).toBe("BAD_DEVICE");
    const { code } = await refusal(chooseTier("gpu_compute", parseDevice("cpu"), hardware));
    expect(code).toBe("TIER_NOT_MET");
  });
});

test("without a GPU gpu is refused with the reason, auto is cpu_only and names it", async () => {
  const { hardware } = machine(0);
  const { code, exit, message, hint } = await refusal(chooseTier("gpu_compute", "auto", hardware));
  expect([code, exit, hint]).toEqual(["TIER_NOT_MET", "hardware", "install it"]);
  expect(message).toContain("does not meet gpu_compute: no GPU can be used: no NVIDIA driver");
  const choice = await chooseTier("auto", "auto", hardware);
  expect(choice.tier).toBe("cpu_only");
  expect(choice.why).toContain("no NVIDIA driver is installed");
});
