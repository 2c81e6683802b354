/**
 * config.json of a Hugging Face model: which architectures are read, and the refusal by name of
 * everything that would make the same weights compute something else.
 */
import path from "node:path";
import { z } from "zod";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import { readSmallText } from "../core/read-file.ts";
import { type ModelConfig, parseModelConfig, QUANTIZATIONS } from "./config.ts";

/** A config.json of a model is a few kilobytes. */
const CONFIG_BYTES_MAX = 256 * 1024;

/** "default" is plain RoPE, as newer transformers write it. */
const plainRope = z.object({
  rope_type: z.literal("default").optional(),
  type: z.literal("default").optional(),
  rope_theta: z.number().optional(),
});

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
  rope_theta: z.number().optional(),
  rope_scaling: plainRope.nullish(),
  rope_parameters: plainRope.nullish(),
  attention_bias: z.literal(false).optional(),
  mlp_bias: z.literal(false).optional(),
  /** A head of its own may still be the embedding (see hf-weights.ts). */
  tie_word_embeddings: z.boolean().default(false),
  quantization_config: z.object({ quant_method: z.literal("bitnet") }).nullish(),
  magnet: z
    .object({
      tokenizer_hash: z.string(),
      model: z.object({ quant: z.enum(QUANTIZATIONS).optional() }).optional(),
    })
    .optional(),
});

export interface HfConfig {
  config: ModelConfig;
  /** False: the weights must hold a head that equals the embedding. */
  tied: boolean;
  /** As the folder states it; null in folders of others. */
  tokenizer_hash: string | null;
}

function parseFile(file: string): z.infer<typeof hfConfigSchema> {
  try {
    const text = readSmallText(file, CONFIG_BYTES_MAX);
    const parsed = hfConfigSchema.safeParse(JSON.parse(text));
    if (parsed.success) return parsed.data;
    const problems = parsed.error.issues.map((i) => `${i.path.join(".")}: ${i.message}`);
    throw new MagnetError("BAD_MODEL_CONFIG", `${file}: ${problems.slice(0, 5).join("; ")}`, {
      hint: "magnet runs BitNet and Llama models with SiLU, plain RoPE, no biases and tied embeddings",
      exit: "config",
    });
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw toMagnetError(error);
    throw new MagnetError("BAD_MODEL_CONFIG", `${file}: not JSON (${error.message})`, {
      exit: "config",
    });
  }
}

/** Reads config.json of a folder. Throws BAD_MODEL_CONFIG naming the fields that do not fit. */
export function readHfConfig(folder: string): HfConfig {
  const file = path.join(folder, "config.json");
  const hf = parseFile(file);
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
      rope_theta: hf.rope_parameters?.rope_theta ?? hf.rope_theta ?? 10_000,
      norm_eps: hf.rms_norm_eps,
      quant: hf.magnet?.model?.quant,
    },
    file,
  );
  return {
    config,
    tied: hf.tie_word_embeddings,
    tokenizer_hash: hf.magnet?.tokenizer_hash ?? null,
  };
}
