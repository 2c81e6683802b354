/**
 * The golden files of training and ORPO against the GPU's library, in the emulation of a device: at
 * float32 with the CPU's tolerances, at bfloat16 within 1% of the whole gradient, of every tensor's and
 * of the logits. On a GPU: tests/gpu/run.sh.
 */
import { beforeAll, describe } from "bun:test";
import { BUILD_TIMEOUT_MS, useEmulation } from "../native/emulated.ts";
import { GoldenFile } from "./golden-file.ts";
import { describeOrpo, OrpoGolden } from "./orpo-golden.ts";
import { describeGolden } from "./train-golden.ts";

const RUN_TIMEOUT_MS = 300_000;
const device = { kind: "cuda", index: 0 } as const;
const tiny = await GoldenFile.open("train_tiny_subln");
const flips = await GoldenFile.open("train_tiny_subln_flips");
const small = await GoldenFile.open("train_small_llama");
const orpo = await OrpoGolden.open();

beforeAll(() => {
  useEmulation();
}, BUILD_TIMEOUT_MS);

describe("float32", () => {
  const on = { device, precision: "float32" } as const;
  const common = { on, timeout_ms: RUN_TIMEOUT_MS };
  const tolerances = { loss: 1e-5, gradient: 1e-5, tensor: 1e-5, update: 1e-3, logits: 1e-5 };
  describeGolden("train_tiny_subln", tiny, { ...common, tolerances });
  describeGolden("train_tiny_subln_flips", flips, {
    ...common,
    tolerances: { ...tolerances, gradient: 5e-3, tensor: 5e-3, update: 2e-2, logits: 5e-3 },
  });
  describeGolden("train_small_llama", small, { ...common, tolerances });
  describeOrpo(orpo, { ...common, tolerances: { value: 1e-5, gradient: 1e-5, tensor: 1e-5 } });
});

// What bfloat16 gives is 5e-3 of the gradient, 8e-3 of the worst tensor's, 3e-3 of the logits: roundings of
// gradients and of the head. None before a quantiser: one fp16 there, whichever, gives 1e-2 to 2.7e-2
// (Activation in matrix.hpp). An update of AdamW is about the sign of a small gradient: no measure.
describe("bfloat16", () => {
  const common = { on: { device }, timeout_ms: RUN_TIMEOUT_MS };
  const tolerances = { loss: 5e-3, gradient: 8e-3, tensor: 1e-2, update: null, logits: 5e-3 };
  describeGolden("train_tiny_subln", tiny, { ...common, tolerances });
  describeGolden("train_tiny_subln_flips", flips, { ...common, tolerances });
  describeGolden("train_small_llama", small, { ...common, tolerances });
  describeOrpo(orpo, { ...common, tolerances: { value: 1e-3, gradient: 8e-3, tensor: 1e-2 } });
});
