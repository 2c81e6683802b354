/**
 * Opening checkpoints for inference: a checkpoint folder, and a run folder with several of them.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { MagnetError } from "../../src/core/errors.ts";
import type { CheckpointContent } from "../../src/model/checkpoint.ts";
import { CheckpointStore } from "../../src/model/checkpoint-store.ts";
import { tensorInfos } from "../../src/model/config.ts";
import { evalLogits, InferenceModel } from "../../src/model/inference.ts";
import { loadLatentModel, loadModel } from "../../src/model/load-model.ts";
import type { Tokenizer } from "../../src/model/tokenizer.ts";
import { bookTokenizer, maxDifference, randomParams, SMALL } from "./small-models.ts";

const config = { ...SMALL, vocab_size: 400, n_layers: 1 };
const tokens = Int32Array.of(3, 141, 59, 26, 5, 35);
const run = fs.mkdtempSync(path.join(os.tmpdir(), "magnet-load-"));
const folders: string[] = [];
const weights: Float32Array[] = [];
let tokenizer: Tokenizer;

function content(params: Float32Array, step: number): CheckpointContent {
  return {
    layout: tensorInfos(config),
    params,
    m: new Float32Array(params.length),
    v: new Float32Array(params.length),
    tokenizer_json: tokenizer.toJson(),
    state: {
      model: config,
      tokenizer_hash: tokenizer.hash,
      step,
      init_seed: "7",
      data: {
        train_hash: "b".repeat(64),
        position: step,
        order_seed: "7",
        slice_index: 0,
        slice_count: 1,
        batch: 1,
        accumulate: 1,
        context: 128,
      },
      optimizer: { name: "adamw", beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, clip: 1 },
      schedule: { kind: "wsd", peak_lr: 0.001, total_steps: 10 },
      loss_average: 3,
    },
    losses: { train: 3, heldout: null },
  };
}

beforeAll(async () => {
  tokenizer = await bookTokenizer(config.vocab_size);
  const store = new CheckpointStore(path.join(run, "checkpoints"));
  for (const step of [1, 2]) {
    const params = await randomParams(config, BigInt(step));
    weights.push(params);
    folders.push((await store.save(content(params, step))).folder);
  }
});
afterAll(() => fs.rmSync(run, { recursive: true, force: true }));

async function expectModelOf(given: string, params: Float32Array): Promise<void> {
  const loaded = await loadModel(given, { threads: 1 });
  const model = await InferenceModel.fromParams(config, params, 1);
  try {
    expect(loaded.kind).toBe("checkpoint");
    expect(loaded.config).toEqual(config);
    expect(loaded.tokenizer.hash).toBe(tokenizer.hash);
    const found = await evalLogits(loaded.model, tokens);
    expect(maxDifference(found, await evalLogits(model, tokens))).toBe(0);
  } finally {
    loaded.close();
    model.close();
  }
}

test("a checkpoint folder gives the logits of its weights, and its tokenizer", async () => {
  await expectModelOf(folders[0]!, weights[0]!);
});

test("a run folder gives its newest checkpoint", async () => {
  await expectModelOf(run, weights[1]!);
  await expectModelOf(path.join(run, "checkpoints"), weights[1]!);
});

test("latent weights come back as they were saved", async () => {
  const latent = await loadLatentModel(folders[0]!);
  expect(latent.params).toEqual(weights[0]!);
});

test("a changed byte of the weights is noticed", async () => {
  const damaged = path.join(run, "damaged");
  fs.cpSync(folders[0]!, damaged, { recursive: true });
  const file = path.join(damaged, "model.safetensors");
  const bytes = fs.readFileSync(file);
  bytes[bytes.length - 3]! ^= 1;
  fs.writeFileSync(file, bytes);
  const error = await loadModel(damaged).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(MagnetError);
  expect((error as MagnetError).code).toBe("CHECKPOINT_CORRUPT");
});

test("a tokenizer other than the checkpoint's is refused", async () => {
  const other = path.join(run, "other.json");
  fs.writeFileSync(other, tokenizer.toJson().replaceAll("<|user|>", "<|human|>"));
  const error = await loadModel(folders[0]!, { tokenizer_path: other }).catch((e: unknown) => e);
  expect((error as MagnetError).code).toBe("TOKENIZER_MISMATCH");
});
