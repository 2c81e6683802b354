/**
 * The golden files of training and ORPO against the GPU's library, in the emulation of a device: at
 * float32 with the CPU's tolerances, at bfloat16 within 2% of the whole gradient. On a GPU:
 * tests/gpu/run.sh.
 */
import { beforeAll, describe } from "bun:test";
import { BUILD_TIMEOUT_MS, useEmulation } from "../native/emulated.ts";
import { GoldenFile } from "./golden-file.ts";
import { describeOrpo, OrpoGolden } from "./orpo-golden.ts";
import { describeGolden } from "./train-golden.ts";

const RUN_TIMEOUT_MS = 300_000;
const device = { kind: "cuda", index: 0 } as const;
const tiny = await GoldenFile.open("train_tiny_subln");
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
  describeGolden("train_small_llama", small, { ...common, tolerances });
  describeOrpo(orpo, { ...common, tolerances: { value: 1e-5, gradient: 1e-5, tensor: 1e-5 } });
});

// Of k_proj the gradient is a difference of large sums: it has several times the rounding of the whole.
// An update of AdamW is about the sign of a small gradient: no measure of rounding. The tiny model's
// logits, 1.8e-2 off, are what int8 codes make of roundings before them: see Activation in matrix.hpp.
describe("bfloat16", () => {
  const common = { on: { device }, timeout_ms: RUN_TIMEOUT_MS };
  const tolerances = { loss: 5e-3, gradient: 2e-2, tensor: 4e-2, update: null, logits: 2e-2 };
  describeGolden("train_tiny_subln", tiny, { ...common, tolerances });
  describeGolden("train_small_llama", small, { ...common, tolerances });
  describeOrpo(orpo, { ...common, tolerances: { value: 5e-3, gradient: 2e-2, tensor: 6e-2 } });
});
