/**
 * Reading a Hugging Face folder (what `export-hf.ts` writes, or transformers saves): its
 * configuration and its parameters as one float32 arena.
 */
import { type ModelConfig, paramCount } from "./config.ts";
import { readHfConfig } from "./hf-config.ts";
import { HfWeights } from "./hf-weights.ts";
import { availableMemoryBytes, requireMemory, WEIGHTS } from "./memory.ts";

export interface HfFolder {
  config: ModelConfig;
  params: Float32Array;
  /** As the folder states it; null in folders of others. */
  tokenizer_hash: string | null;
}

/** Reads configuration and weights. Throws as `readHfConfig` and `HfWeights`. */
export async function loadHfFolder(folder: string): Promise<HfFolder> {
  const { config, tied, tokenizer_hash } = readHfConfig(folder);
  // Shapes first: a configuration that lies about its size must not cost an arena.
  const weights = await HfWeights.open(folder, config, tied);
  try {
    requireMemory(4 * paramCount(config), availableMemoryBytes(), WEIGHTS);
    const params = new Float32Array(paramCount(config));
    await weights.loadInto(params);
    return { config, params, tokenizer_hash };
  } finally {
    await weights.close();
  }
}
