/** The profile of a step on a GPU, by part and as a whole, in the emulation of one. */
import { beforeAll, expect, test } from "bun:test";
import { Trainer } from "../../src/model/trainer.ts";
import { BUILD_TIMEOUT_MS, useEmulation } from "../native/emulated.ts";

beforeAll(() => {
  useEmulation();
}, BUILD_TIMEOUT_MS);

const MODEL = {
  ...{ variant: "bitnet" as const, vocab_size: 40, d_model: 32 },
  ...{ n_layers: 2, n_heads: 2, n_kv_heads: 1, head_dim: 8, d_ff: 24, context: 8 },
  ...{ rope_theta: 10_000, norm_eps: 1e-5 },
};
const ADAMW = { lr: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, clip: 1 };
const tokens = Int32Array.from({ length: 2 * 9 }, (_, i) => (i * 7) % 40);

async function losses(by_part: boolean) {
  const options = { batch: 2, context: 8, threads: 1, device: { kind: "cuda", index: 0 } as const };
  const trainer = Trainer.create(MODEL, options);
  try {
    await trainer.initialise(5n);
    const found: number[] = [];
    // The second step would be captured, and is not by part.
    for (let step = 1; step <= 3; step++) {
      if (step === 2) trainer.resetProfile({ by_part });
      found.push((await trainer.step(tokens, 1, { ...ADAMW, step })).loss);
    }
    return { found, profile: trainer.profile() };
  } finally {
    trainer.close();
  }
}

test("parts are of every kernel, and looking at them changes nothing", async () => {
  const whole = await losses(false);
  const parts = await losses(true);
  expect(parts.found).toEqual(whole.found);
  expect([whole.profile.steps, parts.profile.steps]).toEqual([2, 2]);
  const names = (p: typeof whole.profile) =>
    p.entries.map(({ kernel, site }) => (site === "" ? kernel : `${kernel}/${site}`)).sort();
  expect(names(whole.profile)).toEqual(["optimizer", "other"]);
  const products = (kernel: string) =>
    ["qkv", "o", "gate_up", "down"].map((site) => `${kernel}/${site}`);
  const norms = ["attention_input", "attention_output", "ffn_input"];
  expect(names(parts.profile)).toEqual(
    [
      ...["zero_gradient", "ternarise", "embed", "attention_forward", "norm_forward", "rope/qkv"],
      ...["cross_entropy", "gemm_forward/head", "gemm_dx/head", "gemm_dw/head", "norm_backward"],
      ...["attention_backward", "embed_backward", "gradient_norm", "optimizer"],
      ...["swiglu_norm_quantise/ffn_hidden", "swiglu_backward/ffn_hidden"],
      ...["ternary_product", "gemm_dx", "gemm_dw"].flatMap(products),
      ...norms.flatMap((site) => [`norm_quantise/${site}`, `norm_backward/${site}`]),
    ].sort(),
  );
  const qkv = parts.profile.entries.find((e) => e.kernel === "gemm_dw" && e.site === "qkv")!;
  expect(qkv.calls).toBe(2 * MODEL.n_layers);
  expect(qkv.ns).toBeGreaterThan(0);
  // The emulation's times choose nothing.
  expect(parts.profile.products).toEqual([]);
}, 300_000);
