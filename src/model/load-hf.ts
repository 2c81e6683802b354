/**
 * Reading a Hugging Face folder with latent float32 weights (what `export-hf.ts` writes, or
 * transformers saves again): its configuration and its parameters as one arena.
 */
import path from "node:path";
import { z } from "zod";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import { readSmallText } from "../core/read-file.ts";
import {
  type ModelConfig,
  paramCount,
  parseModelConfig,
  QUANTIZATIONS,
  tensorInfos,
} from "./config.ts";
import { bytesOf, SafetensorsFile } from "./safetensors.ts";

/** A config.json of a model is a few kilobytes. */
const CONFIG_BYTES_MAX = 256 * 1024;

const hfConfigSchema = z.object({
  model_type: z.enum(["bitnet", "llama"]),
  vocab_size: z.int(),
  hidden_size: z.int(),
  intermediate_size: z.int(),
  num_hidden_layers: z.int(),
  num_attention_heads: z.int(),
  num_key_value_heads: z.int().optional(),
  head_dim: z.int().nullish(),
  hidden_act: z.literal("silu"),
  max_position_embeddings: z.int(),
  rms_norm_eps: z.number(),
  rope_theta: z.number().default(10_000),
  rope_scaling: z.null().optional(),
  tie_word_embeddings: z.literal(true),
  magnet: z
    .object({
      tokenizer_hash: z.string(),
      model: z.object({ quant: z.enum(QUANTIZATIONS).optional() }).optional(),
    })
    .optional(),
});

export interface HfFolder {
  config: ModelConfig;
  params: Float32Array;
  /** As the folder states it; null in folders of others. */
  tokenizer_hash: string | null;
}

/** Throws BAD_MODEL_CONFIG naming the fields that this library cannot run as they are. */
async function readConfig(folder: string) {
  const file = path.join(folder, "config.json");
  try {
    const text = readSmallText(file, CONFIG_BYTES_MAX);
    const parsed = hfConfigSchema.safeParse(JSON.parse(text));
    if (!parsed.success) {
      const problems = parsed.error.issues.map((i) => `${i.path.join(".")}: ${i.message}`);
      throw new MagnetError("BAD_MODEL_CONFIG", `${file}: ${problems.slice(0, 5).join("; ")}`, {
        hint: "magnet runs BitNet and Llama models with SiLU, plain RoPE and tied embeddings",
        exit: "config",
      });
    }
    return parsed.data;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw toMagnetError(error);
    throw new MagnetError("BAD_MODEL_CONFIG", `${file}: not JSON (${error.message})`, {
      exit: "config",
    });
  }
}

/**
 * Reads configuration and weights. Throws BAD_MODEL_CONFIG, SAFETENSORS_CORRUPT, SHAPE_MISMATCH.
 */
export async function loadHfFolder(folder: string): Promise<HfFolder> {
  const hf = await readConfig(folder);
  const config = parseModelConfig(
    {
      variant: hf.model_type,
      vocab_size: hf.vocab_size,
      d_model: hf.hidden_size,
      n_layers: hf.num_hidden_layers,
      n_heads: hf.num_attention_heads,
      n_kv_heads: hf.num_key_value_heads ?? hf.num_attention_heads,
      head_dim: hf.head_dim ?? hf.hidden_size / hf.num_attention_heads,
      d_ff: hf.intermediate_size,
      context: hf.max_position_embeddings,
      rope_theta: hf.rope_theta,
      norm_eps: hf.rms_norm_eps,
      quant: hf.magnet?.model?.quant,
    },
    path.join(folder, "config.json"),
  );
  const file = await SafetensorsFile.open(path.join(folder, "model.safetensors"));
  try {
    // Shapes first: a configuration that lies about its size must not cost an arena.
    const infos = tensorInfos(config);
    for (const { name, rows, cols, is_matrix } of infos) {
      const { dtype, shape } = file.entry(name);
      const expected = is_matrix ? [rows, cols] : [cols];
      if (dtype !== "F32" || shape.join() !== expected.join())
        throw new MagnetError(
          "SHAPE_MISMATCH",
          `${file.path}: "${name}" is ${dtype} [${shape}], not F32 [${expected}]`,
          { hint: "latent float32 weights are expected", exit: "verification" },
        );
    }
    const params = new Float32Array(paramCount(config));
    for (const { name, offset, rows, cols } of infos)
      await file.readInto(name, bytesOf(params.subarray(offset, offset + rows * cols)));
    return { config, params, tokenizer_hash: hf.magnet?.tokenizer_hash ?? null };
  } finally {
    await file.close();
  }
}
