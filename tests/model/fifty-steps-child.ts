/**
 * Fifty steps with every feature of training on, from a configuration to a checkpoint on disk: Muon
 * beside AdamW, accumulation, recomputation, two-stage learning rate and weight decay, ignored
 * targets, clipping; the sub-norm variant, the plain one, and one without quantisation. Prints the
 * checkpoint hashes. Run as a child process, because the CPU path is fixed once per process. argv:
 * threads, folder, and the step after which a run saves, ends and is resumed (0 = never). Not a
 * test file.
 */
import path from "node:path";
import type { Hash } from "../../src/core/types.ts";
import { Checkpoint, saveCheckpoint } from "../../src/model/checkpoint.ts";
import { type ModelConfig, PRESETS, tensorInfos } from "../../src/model/config.ts";
import { INITIAL_STATE, InnerLoop } from "../../src/model/inner-loop.ts";
import { Trainer } from "../../src/model/trainer.ts";
import { IGNORED_TARGET } from "../../src/model/trainer-types.ts";
import {
  checkpointState,
  hyperparametersOf,
  innerStateOf,
  parseTrainingConfig,
  trainerOptions,
} from "../../src/model/training-config.ts";

const [threads, folder, stop] = process.argv.slice(2) as [string, string, string];

/** Small, so that the scalar path takes seconds; widths that fill no vector and no tile. */
const SHAPE: ModelConfig = {
  ...PRESETS.tiny!,
  vocab_size: 131,
  d_model: 44,
  n_heads: 3,
  n_kv_heads: 1,
  head_dim: 14,
  d_ff: 75,
  context: 37,
};

const settings = (model: ModelConfig) =>
  parseTrainingConfig({
    model,
    steps: 50,
    batch: 2,
    accumulate: 2,
    lr: 8e-3,
    schedule: "two-stage",
    optimizer: "muon",
    weight_decay: 0.1,
    weight_decay_schedule: "two-stage",
    clip: 0.5,
    recompute: true,
    threads: Number(threads),
    seed: 5,
  });

/** Text with a pattern to learn; some targets do not count. */
const batches = {
  read(position: number, count: number): Int32Array {
    const width = SHAPE.context + 1;
    return Int32Array.from({ length: count * width }, (_, i) => {
      const at = (position + Math.floor(i / width)) * 7 + (i % width);
      return at % 11 === 3 ? IGNORED_TARGET : (at * at + 13 * at) % SHAPE.vocab_size;
    });
  },
};

async function run(name: string, model: ModelConfig): Promise<string> {
  const config = settings(model);
  const place = path.join(folder, name);
  let state = { ...INITIAL_STATE };
  for (const until of [Number(stop), config.steps]) {
    if (until === 0) continue;
    const trainer = Trainer.create(model, trainerOptions(config));
    if (state.step === 0) await trainer.initialise(config.seed);
    else {
      const checkpoint = await Checkpoint.open(place);
      await checkpoint.load(tensorInfos(model), trainer);
      state = innerStateOf(checkpoint.manifest);
    }
    const loop = new InnerLoop(trainer, batches, hyperparametersOf(config), state);
    while (loop.state.step < until) await loop.next();
    state = loop.state;
    const hash = "0".repeat(64) as Hash;
    await saveCheckpoint(place, {
      layout: tensorInfos(model),
      ...{ params: trainer.params, m: trainer.m, v: trainer.v },
      tokenizer_json: "{}",
      state: checkpointState(config, state, {
        train_hash: hash,
        tokenizer_hash: hash,
      }),
      losses: { train: null, heldout: null },
    });
    trainer.close();
  }
  return (await Checkpoint.open(place)).manifest.checkpoint_hash;
}

const hashes = [
  await run("bitnet", SHAPE),
  await run("llama", { ...SHAPE, variant: "llama" }),
  await run("plain", { ...SHAPE, quant: "none", n_layers: 1 }),
];
process.stdout.write(JSON.stringify(hashes));
