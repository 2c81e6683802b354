/**
 * Export as a Hugging Face folder that transformers loads: config.json, model.safetensors (latent
 * float32 weights under their names), tokenizer.json, tokenizer_config.json,
 * generation_config.json. The `bitnet` variant is transformers' BitNet with online quantisation
 * (the same formulas as here); the `llama` variant has plain Llama tensors, whose ternarisation
 * transformers does not do by itself. Of a model with `quant` "none" both are plain float models.
 */
import path from "node:path";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import { CHAT_TEMPLATE } from "./chat-template.ts";
import { type ModelConfig, tensorInfos } from "./config.ts";
import { type FileSystem, hostFileSystem, writeDurably } from "./file-system.ts";
import { bytesOf, writeSafetensors } from "./safetensors.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface ExportHfOptions {
  config: ModelConfig;
  /** Latent weights, in the order of `tensorInfos`; they must not change meanwhile. */
  params: Float32Array;
  tokenizer: Tokenizer;
  /** A folder that does not exist yet. */
  folder: string;
  disk?: FileSystem;
}

/** The value of config.json. `magnet` keeps what transformers has no field for. */
export function hfConfig(config: ModelConfig, tokenizer: Tokenizer): Record<string, unknown> {
  const bitnet = config.variant === "bitnet";
  return {
    architectures: [bitnet ? "BitNetForCausalLM" : "LlamaForCausalLM"],
    model_type: bitnet ? "bitnet" : "llama",
    vocab_size: config.vocab_size,
    hidden_size: config.d_model,
    intermediate_size: config.d_ff,
    num_hidden_layers: config.n_layers,
    num_attention_heads: config.n_heads,
    num_key_value_heads: config.n_kv_heads,
    head_dim: config.head_dim,
    hidden_act: "silu",
    max_position_embeddings: config.context,
    rms_norm_eps: config.norm_eps,
    rope_theta: config.rope_theta,
    attention_bias: false,
    attention_dropout: 0,
    initializer_range: 0.02,
    tie_word_embeddings: true,
    use_cache: true,
    torch_dtype: "float32",
    bos_token_id: tokenizer.bos_id,
    eos_token_id: tokenizer.eos_id,
    ...(bitnet && config.quant !== "none"
      ? {
          quantization_config: {
            quant_method: "bitnet",
            linear_class: "autobitlinear",
            quantization_mode: "online",
          },
        }
      : {}),
    magnet: { schema: "magnet.model/1", model: config, tokenizer_hash: tokenizer.hash },
  };
}

function tokenizerConfig(config: ModelConfig, tokenizer: Tokenizer): Record<string, unknown> {
  const textOf = (id: number | null) =>
    tokenizer.specials.find((special) => special.id === id)?.content ?? null;
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    bos_token: textOf(tokenizer.bos_id),
    eos_token: textOf(tokenizer.eos_id),
    model_max_length: config.context,
    clean_up_tokenization_spaces: false,
    chat_template: CHAT_TEMPLATE,
  };
}

function generationConfig(tokenizer: Tokenizer): Record<string, unknown> {
  return {
    bos_token_id: tokenizer.bos_id,
    eos_token_id: tokenizer.eos_id,
    do_sample: true,
    temperature: 0.8,
    top_k: 40,
    top_p: 0.95,
  };
}

/**
 * Writes the folder beside its place and renames it there. Throws EXISTS, TOKENIZER_MISMATCH,
 * SHAPE_MISMATCH or the disk's errors; a failed export leaves nothing behind.
 */
export async function exportHf(options: ExportHfOptions): Promise<void> {
  const { config, params, tokenizer, disk = hostFileSystem } = options;
  const folder = path.resolve(options.folder);
  const infos = tensorInfos(config);
  const last = infos.at(-1)!;
  if (params.length !== last.offset + last.rows * last.cols)
    throw new MagnetError("SHAPE_MISMATCH", "the parameters are not those of this configuration");
  if (tokenizer.vocab_size !== config.vocab_size)
    throw new MagnetError(
      "TOKENIZER_MISMATCH",
      `the tokenizer has ${tokenizer.vocab_size} tokens, the model ${config.vocab_size}`,
      { hint: "use the tokenizer that the model was trained with" },
    );
  const temporary = path.join(path.dirname(folder), `.${path.basename(folder)}.new`);
  const writeText = (name: string, text: string) =>
    writeDurably(disk, path.join(temporary, name), (file) =>
      file.write(new TextEncoder().encode(text)),
    );
  const writeJson = (name: string, value: unknown) =>
    writeText(name, `${JSON.stringify(value, null, 2)}\n`);
  try {
    if (await disk.exists(folder))
      throw new MagnetError("EXISTS", `${folder} already exists`, {
        hint: "choose another folder, or remove this one",
      });
    await disk.remove(temporary);
    await disk.makeFolder(temporary);
    const tensors = infos.map(({ name, offset, rows, cols, is_matrix }) => ({
      name,
      dtype: "F32" as const,
      shape: is_matrix ? [rows, cols] : [cols],
      data: bytesOf(params.subarray(offset, offset + rows * cols)),
    }));
    await writeDurably(disk, path.join(temporary, "model.safetensors"), (file) =>
      writeSafetensors(file, tensors, { format: "pt" }),
    );
    await writeText("tokenizer.json", tokenizer.toJson());
    await writeJson("config.json", hfConfig(config, tokenizer));
    await writeJson("tokenizer_config.json", tokenizerConfig(config, tokenizer));
    await writeJson("generation_config.json", generationConfig(tokenizer));
    await disk.syncFolder(temporary);
    await disk.rename(temporary, folder);
    await disk.syncFolder(path.dirname(folder));
  } catch (error) {
    await disk.remove(temporary).catch(() => undefined); // the first failure is the one to report
    throw toMagnetError(error);
  }
}
