/** A tiny base model and preference pairs that it can learn: what the tests of alignment share. */
import fs from "node:fs";
import path from "node:path";
import type { Hash } from "../../src/core/types.ts";
import { type AlignConfig, type AlignSettings, alignConfig } from "../../src/model/align-config.ts";
import { runAlignment } from "../../src/model/align-run.ts";
import type { AlignOptions } from "../../src/model/align-types.ts";
import { type ModelConfig, PRESETS } from "../../src/model/config.ts";
import { tokenByteLengths } from "../../src/model/evaluate.ts";
import { loadPairs } from "../../src/model/pair-data.ts";
import { Tokenizer } from "../../src/model/tokenizer.ts";
import { Trainer } from "../../src/model/trainer.ts";
import { tickingClock } from "./training-fixture.ts";

/** Its tokens are the bytes and the special tokens. */
export const bytesTokenizer = await Tokenizer.train([new TextEncoder().encode("text")], {
  vocab_size: 256 + 4,
});
export const tinyModel: ModelConfig = { ...PRESETS.tiny!, vocab_size: bytesTokenizer.vocab_size };

export const tokenizer = {
  json: bytesTokenizer.toJson(),
  hash: bytesTokenizer.hash,
  byte_lengths: tokenByteLengths(bytesTokenizer),
};

/** Untrained weights: what an alignment in a test begins with. */
export async function baseParams(): Promise<Float32Array> {
  const trainer = Trainer.create(tinyModel, { batch: 1, context: 8, threads: 1 });
  await trainer.initialise(3n);
  const params = trainer.params.slice();
  trainer.close();
  return params;
}

export const writeLines = (file: string, lines: readonly unknown[]): string => {
  fs.writeFileSync(file, `${lines.map((line) => JSON.stringify(line)).join("\n")}\n`);
  return file;
};

/** Prompts with a calm answer that is preferred to a loud one of another length. */
export const politePairs = (count: number) =>
  Array.from({ length: count }, (_, i) => ({
    prompt: `say ${(i * 7919) % 1009}:`,
    chosen: " please and thanks".slice(0, 8 + (i % 7)),
    rejected: " NO! NO! NO! NO!".slice(0, 6 + (i % 9)),
  }));

export async function politeData(folder: string) {
  const file = writeLines(path.join(folder, "polite.jsonl"), politePairs(80));
  return loadPairs({
    files: [file],
    tokenizer: bytesTokenizer,
    context: 48,
    heldout_fraction: 0.25,
  });
}

export const tinyAlign = (given: AlignSettings = {}): AlignConfig =>
  alignConfig({
    given: {
      ...{ steps: 12, batch: 4, context: 48, lr: 3e-3, schedule: "constant", seed: 5 },
      ...{ checkpoint_interval: 4, threads: 1, ...given },
    },
    model: tinyModel,
    resume: null,
    base_hash: "0".repeat(64) as Hash,
    pairs: 60,
  });

/** Aligns on `politeData`. */
export async function alignTiny(
  out_dir: string,
  config: AlignConfig,
  more: Partial<AlignOptions> & Pick<AlignOptions, "pairs">,
) {
  const base = await baseParams();
  return runAlignment({
    ...{ config, base, tokenizer, language: null, out_dir, clock: tickingClock() },
    ...more,
  });
}
