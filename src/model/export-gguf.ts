/**
 * Export to GGUF v3: arch `bitnet` for the variant with sub-norms, arch `llama` (rotary pairs
 * interleaved) for the plain one. Ternary weights as TQ2_0, TQ1_0 (both load in llama.cpp), I2_S
 * (bitnet.cpp, x86) or F16; those of a float model (quant "none") as F16 in either arch, whose graphs
 * in llama.cpp compute what a weight's type says: arch bitnet multiplies with a scale only where a
 * file has one. The embedding, which is also the head, as F16 or Q6_K; norms as F32. Streamed
 * tensor by tensor.
 */
import { MagnetError } from "../core/errors.ts";
import { packingAsync } from "../native/infer.ts";
import { type ModelConfig, type TensorInfo, tensorInfos } from "./config.ts";
import { type FileDigest, type FileSystem, hostFileSystem, replaceFile } from "./file-system.ts";
import { GGML_TYPES, type GgmlType } from "./gguf-file.ts";
import { tokenizerEntries } from "./gguf-tokenizer.ts";
import { type GgufEntry, type GgufTensorSource, writeGguf } from "./gguf-writer.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Types that ternary weights are exported in. */
export const EXPORT_TYPES = ["TQ2_0", "TQ1_0", "I2_S", "F16"] as const;
export type ExportType = (typeof EXPORT_TYPES)[number];

/**
 * Types that the embedding is exported in. Q6_K has 6.56 bits a weight: with a vocabulary of 128,256
 * the embedding is most of a small model's file and of the bytes read for a token.
 */
export const EMBEDDING_TYPES = ["F16", "Q6_K"] as const;
export type EmbeddingType = (typeof EMBEDDING_TYPES)[number];

/** general.file_type of each type. */
const FILE_TYPES: Record<ExportType, number> = { F16: 1, TQ1_0: 36, TQ2_0: 37, I2_S: 40 };
/** Columns must be a multiple of this. */
const COLUMN_MULTIPLES = { F16: 1, Q6_K: 256, TQ1_0: 256, TQ2_0: 256, I2_S: 128 } as const;
const BLOCK_BYTES = { F16: 2, Q6_K: 210, TQ1_0: 54, TQ2_0: 66, I2_S: 32 } as const;

export interface ExportGgufOptions {
  config: ModelConfig;
  /** Latent weights, in the order of `tensorInfos`; they must not change meanwhile. */
  params: Float32Array;
  tokenizer: Tokenizer;
  type: ExportType;
  /** F16 unless given. */
  embedding?: EmbeddingType;
  /** general.name */
  name: string;
  /** The file; replaced in one step if it exists. */
  path: string;
  disk?: FileSystem;
  onTensor?: (done: number, total: number) => void;
}

/** GGUF name of a tensor by its last part in the Hugging Face name. */
const LAYER_NAMES: Record<string, string> = {
  "input_layernorm.weight": "attn_norm.weight",
  "self_attn.q_proj.weight": "attn_q.weight",
  "self_attn.k_proj.weight": "attn_k.weight",
  "self_attn.v_proj.weight": "attn_v.weight",
  "self_attn.o_proj.weight": "attn_output.weight",
  "self_attn.attn_sub_norm.weight": "attn_sub_norm.weight",
  "post_attention_layernorm.weight": "ffn_norm.weight",
  "mlp.gate_proj.weight": "ffn_gate.weight",
  "mlp.up_proj.weight": "ffn_up.weight",
  "mlp.down_proj.weight": "ffn_down.weight",
  "mlp.ffn_sub_norm.weight": "ffn_sub_norm.weight",
};

/** GGUF name of a tensor by its Hugging Face name. */
export function ggufTensorName(name: string): string {
  if (name === "model.embed_tokens.weight") return "token_embd.weight";
  if (name === "model.norm.weight") return "output_norm.weight";
  const [, layer, rest] = /^model\.layers\.(\d+)\.(.+)$/.exec(name) ?? [];
  return `blk.${layer}.${LAYER_NAMES[rest ?? ""]}`;
}

/**
 * Throws EXPORT_TYPE where a float model is to become ternary, and EXPORT_SHAPE where the model's shape does not fit the type: the ternary blocks of
 * llama.cpp hold 256 columns, those of bitnet.cpp 128.
 */
export function checkExportType(config: ModelConfig, type: ExportType): void {
  if (config.quant === "none" && type !== "F16")
    throw new MagnetError("EXPORT_TYPE", `${type} holds ternary weights; this model has none`, {
      hint: "it was trained with --quant none; take --type f16",
      exit: "usage",
    });
  const widths = { d_model: config.d_model, d_ff: config.d_ff };
  const columns = { ...widths, "n_heads * head_dim": config.n_heads * config.head_dim };
  const multiple = COLUMN_MULTIPLES[type];
  const misfit = Object.entries(columns).find(([, width]) => width % multiple !== 0);
  if (misfit) {
    const fits = (t: ExportType) =>
      Object.values(columns).every((w) => w % COLUMN_MULTIPLES[t] === 0);
    const others = (["I2_S", "F16"] as const).filter((t) => t !== type && fits(t));
    throw new MagnetError(
      "EXPORT_SHAPE",
      `${type} needs rows of a multiple of ${multiple} weights, but ${misfit[0]} is ${misfit[1]}`,
      {
        hint: `export as ${others.join(" or ")}, or train a shape whose widths are multiples of 256`,
      },
    );
  }
  // llama.cpp's graph of arch bitnet has square query and output projections.
  if (config.variant === "bitnet" && config.n_heads * config.head_dim !== config.d_model)
    throw new MagnetError(
      "EXPORT_SHAPE",
      `GGUF arch bitnet needs n_heads * head_dim = d_model, not ${config.n_heads * config.head_dim} and ${config.d_model}`,
      { hint: "export as hf instead" },
    );
}

/**
 * What `magnet export` takes where nobody chooses: Q6_K beside the ternary types that llama.cpp reads
 * (it makes the same choice for them), F16 where rows are no whole blocks and where the export is to
 * lose nothing.
 */
export function defaultEmbedding(config: ModelConfig, type: ExportType): EmbeddingType {
  const is_ternary = type === "TQ1_0" || type === "TQ2_0";
  return is_ternary && config.d_model % COLUMN_MULTIPLES.Q6_K === 0 ? "Q6_K" : "F16";
}

function checkEmbedding(config: ModelConfig, embedding: EmbeddingType): void {
  const multiple = COLUMN_MULTIPLES[embedding];
  if (config.d_model % multiple === 0) return;
  throw new MagnetError(
    "EXPORT_SHAPE",
    `an embedding of ${embedding} needs a multiple of ${multiple} columns, but d_model is ${config.d_model}`,
    { hint: "export with --embedding f16" },
  );
}

/** The file's metadata but for the tokenizer. */
export function ggufConfigEntries(
  config: ModelConfig,
  type: ExportType,
  name: string,
): GgufEntry[] {
  const arch = config.variant;
  const u32 = (key: string, value: number): GgufEntry => ({ key, type: "u32", value });
  const f32 = (key: string, value: number): GgufEntry => ({ key, type: "f32", value });
  return [
    { key: "general.architecture", type: "string", value: arch },
    { key: "general.name", type: "string", value: name },
    u32("general.file_type", FILE_TYPES[type]),
    u32("general.quantization_version", 2),
    u32("general.alignment", 32),
    u32(`${arch}.context_length`, config.context),
    u32(`${arch}.embedding_length`, config.d_model),
    u32(`${arch}.block_count`, config.n_layers),
    u32(`${arch}.feed_forward_length`, config.d_ff),
    u32(`${arch}.attention.head_count`, config.n_heads),
    u32(`${arch}.attention.head_count_kv`, config.n_kv_heads),
    u32(`${arch}.attention.key_length`, config.head_dim),
    u32(`${arch}.attention.value_length`, config.head_dim),
    f32(`${arch}.attention.layer_norm_rms_epsilon`, config.norm_eps),
    u32(`${arch}.rope.dimension_count`, config.head_dim),
    f32(`${arch}.rope.freq_base`, config.rope_theta),
    u32(`${arch}.vocab_size`, config.vocab_size),
  ];
}

/** Heads whose rows are regrouped for interleaved rotary pairs; 0 = rows as they are. */
function rotaryHeads(config: ModelConfig, name: string): number {
  if (config.variant === "bitnet") return 0;
  if (name.endsWith("q_proj.weight")) return config.n_heads;
  return name.endsWith("k_proj.weight") ? config.n_kv_heads : 0;
}

function tensorSource(options: ExportGgufOptions, info: TensorInfo): GgufTensorSource {
  const { config, params, type: ternaryType } = options;
  const { name, offset, rows, cols, is_matrix, is_ternary } = info;
  const layout = is_ternary ? ternaryType : (options.embedding ?? "F16");
  const type: GgmlType = is_matrix ? layout : "F32";
  const size_bytes = is_matrix
    ? (rows * cols * BLOCK_BYTES[layout]) / COLUMN_MULTIPLES[layout] + (type === "I2_S" ? 32 : 0)
    : 4 * cols;
  const weights = params.subarray(offset, offset + rows * cols);
  return {
    name: ggufTensorName(name),
    type,
    dims: is_matrix ? [cols, rows] : [cols],
    size_bytes,
    bytes: async () => {
      const out = new Uint8Array(size_bytes);
      await packingAsync.mg_pack_tensor(
        undefined,
        GGML_TYPES[type],
        is_ternary && config.quant !== "none" ? 1 : 0,
        rotaryHeads(config, name),
        weights,
        rows,
        cols,
        out,
        out.length,
        null,
      );
      return out;
    },
  };
}

/**
 * Writes the file (a temporary one, fsynced, renamed). Returns its size and SHA-256. Throws
 * EXPORT_SHAPE, TOKENIZER_MISMATCH, or the disk's errors; what was at `path` is then still there.
 */
export async function exportGguf(options: ExportGgufOptions): Promise<FileDigest> {
  const { config, params, tokenizer, type, name, path, disk = hostFileSystem } = options;
  checkExportType(config, type);
  checkEmbedding(config, options.embedding ?? "F16");
  if (tokenizer.vocab_size !== config.vocab_size)
    throw new MagnetError(
      "TOKENIZER_MISMATCH",
      `the tokenizer has ${tokenizer.vocab_size} tokens, the model ${config.vocab_size}`,
      { hint: "use the tokenizer that the model was trained with" },
    );
  const infos = tensorInfos(config);
  const last = infos.at(-1)!;
  if (params.length !== last.offset + last.rows * last.cols)
    throw new MagnetError("SHAPE_MISMATCH", "the parameters are not those of this configuration");
  const entries = [...ggufConfigEntries(config, type, name), ...tokenizerEntries(tokenizer)];
  const tensors = infos.map((info) => tensorSource(options, info));
  return replaceFile(disk, path, (file) => writeGguf(file, entries, tensors, options.onTensor));
}
