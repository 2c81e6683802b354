/**
 * Model configuration (paper 4, 8): one schema, presets by name, and the order of tensors in the
 * parameter arena. The native library checks the same limits and is the authority on the layout.
 */
import fs from "node:fs";
import { z } from "zod";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import { cString } from "../native/ffi.ts";
import { model } from "../native/model.ts";

/** A configuration file is a few hundred bytes; anything larger is something else. */
const CONFIG_FILE_BYTES_MAX = 64 * 1024;

/** How the linear layers of the blocks compute; `none` is the float32 twin of a ternary model. */
export const QUANTIZATIONS = ["ternary", "none"] as const;
export type Quantization = (typeof QUANTIZATIONS)[number];

/** Longest sequence of any model, in tokens. */
export const CONTEXT_MAX = 2 ** 17;

const size = (low: number, high: number) => z.int().min(low).max(high);

/** Limits as in cpp/cpu/model.cpp, so that a file is refused with the field's name. */
export const modelConfigSchema = z
  .strictObject({
    /** "bitnet" has a sub-norm before o_proj and down_proj, "llama" has none. */
    variant: z.enum(["bitnet", "llama"]),
    vocab_size: size(2, 2 ** 20),
    d_model: size(2, 2 ** 16),
    n_layers: size(1, 512),
    n_heads: size(1, 512),
    n_kv_heads: size(1, 512),
    head_dim: size(2, 512),
    d_ff: size(2, 2 ** 16),
    /** Longest sequence, in tokens. */
    context: size(1, CONTEXT_MAX),
    rope_theta: z.number().min(1).max(1e9).default(10_000),
    norm_eps: z.number().positive().max(0.1).default(1e-5),
    /** "ternary" (BitLinear) unless given. */
    quant: z.enum(QUANTIZATIONS).optional(),
  })
  .refine((c) => c.head_dim % 2 === 0, {
    path: ["head_dim"],
    message: "must be even (RoPE rotates pairs)",
  })
  .refine((c) => c.n_heads % c.n_kv_heads === 0, {
    path: ["n_kv_heads"],
    message: "must divide n_heads",
  })
  .refine((c) => c.n_heads * c.head_dim <= 2 ** 16, {
    path: ["head_dim"],
    message: "n_heads * head_dim must be at most 65536",
  })
  // "ternary" is left out, so that one model has one configuration, and one hash.
  .transform(({ quant, ...rest }): Omit<typeof rest, "quant"> & { quant?: "none" } =>
    quant === "none" ? { ...rest, quant } : rest,
  );

export type ModelConfig = z.output<typeof modelConfigSchema>;

type Shape = Omit<ModelConfig, "variant" | "rope_theta" | "norm_eps" | "head_dim" | "quant">;
/** Heads share the width evenly; RoPE and norms at their defaults. */
const preset = (shape: Shape): ModelConfig => ({
  variant: "bitnet",
  ...shape,
  head_dim: shape.d_model / shape.n_heads,
  rope_theta: 10_000,
  norm_eps: 1e-5,
});

/**
 * Configurations by name. Every row length of `demo` and larger is a multiple of 256, as the
 * ternary GGUF formats need; `tiny` is for tests and exports as F16 or I2_S only. Paper: 8.3 gives
 * 362.9M for d=1024, L=12 without the feed-forward width; 5,376 is the multiple of 256 that comes
 * nearest (361.0M). 8.4 fixes all of 618M.
 */
export const PRESETS: Record<string, ModelConfig> = {
  tiny: preset({
    vocab_size: 512,
    d_model: 64,
    n_layers: 2,
    n_heads: 4,
    n_kv_heads: 2,
    d_ff: 176,
    context: 64,
  }),
  demo: preset({
    vocab_size: 2048,
    d_model: 256,
    n_layers: 2,
    n_heads: 4,
    n_kv_heads: 2,
    d_ff: 256,
    context: 128,
  }),
  small: preset({
    vocab_size: 8192,
    d_model: 512,
    n_layers: 6,
    n_heads: 8,
    n_kv_heads: 4,
    d_ff: 1792,
    context: 512,
  }),
  "genkidama-363m": preset({
    vocab_size: 128_256,
    d_model: 1024,
    n_layers: 12,
    n_heads: 16,
    n_kv_heads: 4,
    d_ff: 5376,
    context: 2048,
  }),
  "genkidama-618m": preset({
    vocab_size: 128_256,
    d_model: 1536,
    n_layers: 17,
    n_heads: 16,
    n_kv_heads: 4,
    d_ff: 4096,
    context: 1024,
  }),
};

/** Checks a parsed JSON value; BAD_MODEL_CONFIG names the fields that do not fit. */
export function parseModelConfig(value: unknown, where = "model config"): ModelConfig {
  const result = modelConfigSchema.safeParse(value);
  if (result.success) return result.data;
  const problems = result.error.issues.map((i) => `${i.path.join(".") || "value"}: ${i.message}`);
  throw new MagnetError("BAD_MODEL_CONFIG", `${where}: ${problems.slice(0, 5).join("; ")}`, {
    hint: `name a preset instead: ${Object.keys(PRESETS).join(", ")}`,
    exit: "config",
  });
}

function readConfigFile(file: string): unknown {
  try {
    const stat = fs.statSync(file);
    if (!stat.isFile() || stat.size > CONFIG_FILE_BYTES_MAX)
      throw new MagnetError("BAD_MODEL_CONFIG", `${file}: not a model configuration file`, {
        hint: `a JSON file of at most ${CONFIG_FILE_BYTES_MAX} bytes is expected`,
        exit: "config",
      });
    return JSON.parse(fs.readFileSync(file, "utf8"));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw toMagnetError(error);
    throw new MagnetError("BAD_MODEL_CONFIG", `${file}: not JSON (${error.message})`, {
      exit: "config",
    });
  }
}

/**
 * A preset by name, or a JSON file by path (something with a "/" or ending in ".json"); `overrides`
 * replace single fields. Throws UNKNOWN_PRESET, NOT_FOUND or BAD_MODEL_CONFIG.
 */
export function resolveModelConfig(
  nameOrFile: string,
  overrides: Partial<z.input<typeof modelConfigSchema>> = {},
): ModelConfig {
  const isFile = nameOrFile.includes("/") || nameOrFile.endsWith(".json");
  const base = isFile ? readConfigFile(nameOrFile) : PRESETS[nameOrFile];
  if (base === undefined)
    throw new MagnetError("UNKNOWN_PRESET", `there is no model preset "${nameOrFile}"`, {
      hint: `choose one of ${Object.keys(PRESETS).join(", ")}, or give a .json file`,
      exit: "usage",
    });
  if (Object.keys(overrides).length === 0) return parseModelConfig(base, nameOrFile);
  return parseModelConfig({ ...(base as object), ...overrides }, nameOrFile);
}

/** The 48 bytes of mg_model_config. */
export function packModelConfig(config: ModelConfig): Uint8Array {
  const bytes = new Uint8Array(48);
  const view = new DataView(bytes.buffer);
  const integers = [
    config.variant === "bitnet" ? 1 : 0,
    config.vocab_size,
    config.d_model,
    config.n_layers,
    config.n_heads,
    config.n_kv_heads,
    config.head_dim,
    config.d_ff,
    config.context,
  ];
  for (const [i, value] of integers.entries()) view.setUint32(4 * i, value, true);
  view.setFloat32(36, config.rope_theta, true);
  view.setFloat32(40, config.norm_eps, true);
  view.setUint32(44, config.quant === "none" ? 1 : 0, true);
  return bytes;
}

/** Number of parameters, all tensors. */
export function paramCount(config: ModelConfig): number {
  const out = new BigUint64Array(1);
  model.mg_model_param_count(packModelConfig(config), out);
  return Number(out[0]);
}

/** Place and shape of one tensor in the arena; `rows` is 1 for a norm vector. */
export interface TensorInfo {
  /** Hugging Face name. */
  name: string;
  /** First element in the arena. */
  offset: number;
  rows: number;
  cols: number;
  /** Two-dimensional: weight decay applies. */
  is_matrix: boolean;
  /** A weight of a block's linear layers: ternary unless the model's `quant` is "none". */
  is_ternary: boolean;
}

/** All tensors in canonical order; they cover the arena without gaps. */
export function tensorInfos(config: ModelConfig): TensorInfo[] {
  const packed = packModelConfig(config);
  const count = new Uint32Array(1);
  model.mg_model_tensor_count(packed, count);
  const bytes = new Uint8Array(128);
  const view = new DataView(bytes.buffer);
  return Array.from({ length: count[0]! }, (_, index) => {
    model.mg_model_tensor_info(packed, index, bytes);
    return {
      name: cString(bytes.subarray(0, 96)),
      offset: Number(view.getBigUint64(96, true)),
      rows: view.getUint32(104, true),
      cols: view.getUint32(108, true),
      is_matrix: view.getUint32(112, true) === 1,
      is_ternary: view.getUint32(116, true) === 1,
    };
  });
}
